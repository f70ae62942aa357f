"""Feature files: the layouts, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coder_engine.errors import DataError
from coder_engine.evaluate.feature_file import load_features, load_pool, load_texts, load_val

RNG = np.random.default_rng(0)


def rows(count: int, width: int = 4) -> np.ndarray[Any, Any]:
    return RNG.standard_normal((count, width)).astype(np.float16)


def whole() -> dict[str, Any]:
    return {
        "test_features": rows(5), "test_labels": np.array([0, 1, 2, 0, 1], np.int16),
        "val_features": rows(3), "val_labels": np.array([2, 1, 0]),
        "support1_features": rows(3), "support1_labels": np.array([0, 1, 2]),
        "support2_features": rows(6), "support2_labels": np.array([2, 1, 0, 0, 1, 2]),
    }  # fmt: skip


def saved(folder: Path, arrays: dict[str, Any]) -> Path:
    np.savez(folder / "features.npz", **arrays)
    return folder / "features.npz"


def test_splits_and_supports(tmp_path: Path) -> None:
    found = load_features(saved(tmp_path, whole()))
    assert found.classes == 3
    assert found.val is not None
    assert (len(found.test), len(found.val), {m: len(one) for m, one in found.supports.items()}) == (5, 3, {1: 3, 2: 6})
    assert_allclose(np.linalg.norm(found.supports[2].features, axis=1), 1, rtol=1e-6)


def test_plain_features_are_the_test_split(tmp_path: Path) -> None:
    found = load_features(saved(tmp_path, {"features": rows(2), "labels": np.array([0, 3])}))
    assert (len(found.test), found.val, dict(found.supports), found.classes) == (2, None, {}, 4)


def test_what_chooses_is_the_val_split_or_plain_features(tmp_path: Path) -> None:
    arrays, plain = whole(), {"features": rows(2), "labels": np.array([0, 3])}
    assert load_val(saved(tmp_path, arrays)).labels.tolist() == [2, 1, 0]
    assert load_val(saved(tmp_path, arrays | plain)).labels.tolist() == [2, 1, 0]
    assert load_val(saved(tmp_path, plain)).labels.tolist() == [0, 3]
    tests = {name: array for name, array in arrays.items() if name.startswith("test_")}
    with pytest.raises(DataError, match="nothing is chosen on a test split: give --val a file with val_features, or"):
        load_val(saved(tmp_path, tests))
    with pytest.raises(DataError, match="no array 'features', got other"):
        load_val(saved(tmp_path, {"other": rows(1)}))


def test_support_is_drawn_from_plain_features_alone(tmp_path: Path) -> None:
    arrays, plain = whole(), {"features": rows(2), "labels": np.array([0, 3])}
    assert load_pool(saved(tmp_path, plain)).labels.tolist() == [0, 3]
    assert load_pool(saved(tmp_path, arrays | plain)).labels.tolist() == [0, 3]
    with pytest.raises(
        DataError, match=r"a test split is no support: its support\{M\}_ arrays are read where it is DATA"
    ):
        load_pool(saved(tmp_path, arrays))


def test_class_features_say_how_many_classes_there_are(tmp_path: Path) -> None:
    found = load_features(saved(tmp_path, {**whole(), "class_features": rows(3)}))
    assert found.class_features is not None
    assert found.class_features.shape == (3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, "no array 'test_labels', got test_features"),
        ({"test_features": None, "test_labels": None}, "no array 'test_features'"),
        ({"val_labels": None}, "no array 'val_labels'"),
        ({"val_features": rows(3, 5)}, "val is 5 wide, the test split is 4 wide"),
        ({"class_features": rows(3, 5)}, "class_features is 5 wide"),
        ({"class_features": rows(2)}, r"test: labels must be class ids, 0 to 1, got 2"),
        ({"support2_labels": np.array([2, 1, 0, 0, 1, 1])}, "support2: wanted 2 support images a class, got class 1 3"),
        ({"support1_labels": np.array([0, 0, 1])}, "support1: no support image for 1 class"),
        ({"test_features": np.full((5, 4), np.nan)}, "test: features: 5 of 5 rows"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in {**whole(), **changes}.items() if array is not None}
    with pytest.raises(DataError, match=message):
        load_features(saved(tmp_path, arrays))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {**whole(), "val_labels": np.array([{"a": 1}, None, 0], object)})
    with pytest.raises(DataError, match="holds pickled objects, which could run code and are never loaded"):
        load_features(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"path,label\na.jpg,cat\n"])
def test_files_that_are_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "features.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"features\.npz: no whole \.npz file"):
        load_features(path)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.99])
def test_truncated_files(tmp_path: Path, cut: float) -> None:
    path = saved(tmp_path, whole())
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(DataError, match=r"no whole \.npz file"):
        load_features(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, whole())
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no whole \.npz file"):
        load_features(path)


def test_a_header_that_asks_for_more_than_there_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "features.npz", "w") as file, file.open("features.npy", "w") as entry:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**13, 512)}
        np.lib.format.write_array_header_1_0(entry, header)
    with pytest.raises(DataError, match=r"no whole \.npz file"):
        load_features(tmp_path / "features.npz")


def test_an_encrypted_entry(tmp_path: Path) -> None:
    path = saved(tmp_path, whole())
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no whole \.npz file \(.*encrypted"):
        load_features(path)


def test_a_bare_array_and_a_missing_file(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", rows(2))
    with pytest.raises(DataError, match=r"one\.npy: no whole \.npz file; save one with numpy\.savez"):
        load_features(tmp_path / "one.npy")
    with pytest.raises(DataError, match="no such file"):
        load_features(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); wanted an .npz file"):
        load_features(tmp_path)


def test_what_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "texts.npz", a=rows(3))
    with zipfile.ZipFile(tmp_path / "texts.npz", "a") as file:
        file.writestr("notes.txt", "by hand")
    with pytest.raises(DataError, match=r"holds 'notes\.txt', which is no array; save plain arrays"):
        load_texts(tmp_path / "texts.npz")


def test_texts_are_every_float_array(tmp_path: Path) -> None:
    first, second = rows(3), rows(2)
    np.savez(tmp_path / "texts.npz", a=first, ids=np.arange(3), b=second)
    found = load_texts(tmp_path / "texts.npz")
    both = np.concatenate([first, second]).astype(np.float64)
    assert_allclose(found, both / np.linalg.norm(both, axis=1, keepdims=True), rtol=1e-6)


def test_some_of_the_texts_are_drawn_by_seed(tmp_path: Path) -> None:
    np.savez(tmp_path / "texts.npz", a=rows(20))
    every = load_texts(tmp_path / "texts.npz")
    some = load_texts(tmp_path / "texts.npz", count=5, seed=1)
    assert (every[:, None] == some).all(axis=2).any(axis=0).all()
    assert len(np.unique(some, axis=0)) == 5
    assert (some == load_texts(tmp_path / "texts.npz", count=5, seed=1)).all()
    assert not (some == load_texts(tmp_path / "texts.npz", count=5, seed=2)).all()
    with pytest.raises(DataError, match="has 20 texts, cannot take 21"):
        load_texts(tmp_path / "texts.npz", count=21)


def test_texts_of_two_widths(tmp_path: Path) -> None:
    np.savez(tmp_path / "texts.npz", a=rows(2), b=rows(2, 3))
    with pytest.raises(DataError, match=r"of one width, got a \[2, 4\], b \[2, 3\]"):
        load_texts(tmp_path / "texts.npz")
    np.savez(tmp_path / "none.npz", ids=np.arange(3))
    with pytest.raises(DataError, match="got no float array"):
        load_texts(tmp_path / "none.npz")
