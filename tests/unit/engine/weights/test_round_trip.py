"""What was saved, or updated, is what is loaded: tensors, metadata, texts, and the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from coder_engine.errors import WeightsError
from coder_engine.weightfile import general_texts
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import load_weights, save_weights, update_weights
from helpers_weights import (
    CLASS_TEXTS,
    MAPPED,
    META,
    PLAIN,
    WITH_ALL,
    D,
    damage,
    header_of,
    make_tensors,
    normal,
    seal,
    sha256,
    split,
    with_all,
    with_digests,
    with_large_bank,
    with_pair_texts,
    with_texts,
)


@pytest.mark.parametrize("kind", ["no pairs", "dense", "sparse"])
def test_all_tensors_come_back(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    found = load_weights(path)
    for name in ("bank", "name_offsets", "name_weight", "pair_rows", "pair_starts", "pair_others", "texts"):
        array = getattr(found, name)
        if name in tensors:
            assert array.dtype == tensors[name].dtype
            assert_array_equal(array, tensors[name], strict=True)
        else:
            assert array is None
    assert (found.path, found.width) == (path, D)
    found.check()


@pytest.mark.parametrize("kind", ["no pairs", "dense", "sparse"])
def test_an_update_keeps_all_else(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    texts = with_texts({})
    after = update_weights(path, tensors=texts, margin=0.5)
    assert after.meta == with_digests(replace(PLAIN, margin=0.5), tensors | texts)
    for name, array in (tensors | texts).items():
        assert_array_equal(getattr(after, name), array, strict=True)
    after.check()


def test_an_update_takes_texts_out(path: Path) -> None:
    tensors = make_tensors("dense")
    save_weights(path, PLAIN, with_texts(tensors))
    after = update_weights(path, tensors=dict.fromkeys(general_texts.TENSORS))
    assert after.meta == with_digests(PLAIN, tensors)
    assert after.general_texts is None


def test_an_update_that_does_not_fit_changes_nothing(saved: Path) -> None:
    content = saved.read_bytes()
    with pytest.raises(WeightsError, match=r"text_starts must be \[5\] for 4 classes, got none"):
        update_weights(saved, tensors={"texts": normal(2, D)})
    assert saved.read_bytes() == content


def test_an_update_does_not_seal_damaged_pairs(saved: Path) -> None:
    damage(saved, "pair_rows")
    content = saved.read_bytes()
    with pytest.raises(WeightsError, match="tensor 'pair_rows' was edited or damaged"):
        update_weights(saved, margin=0.5)
    assert saved.read_bytes() == content


def test_all_metadata_comes_back(path: Path) -> None:
    tensors = with_texts(make_tensors("dense"))
    save_weights(path, META, tensors)
    assert load_weights(str(path)).meta == with_digests(META, tensors)


def test_general_texts_come_back_by_class(path: Path) -> None:
    tensors = with_texts(make_tensors("dense"))
    save_weights(path, META, tensors)
    found = load_weights(path).general_texts
    assert found is not None
    assert_array_equal(found.texts, tensors["texts"])
    rows = np.split(tensors["texts"], [2, 2, 2])
    for label_id, own in enumerate(CLASS_TEXTS):
        kinds, sentences, features = found.of_class(label_id)
        assert list(zip(kinds, sentences, strict=True)) == own
        assert_array_equal(features, rows[label_id])
    assert found.rows_by_kind() == [{"name": [0], "attribute": [1]}, {}, {}, {"synonym": [2]}]


def test_metadata_has_defaults(path: Path) -> None:
    meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=1)
    tensors = {"bank": normal(2, D), "name_offsets": np.array([0, 1], np.int32), "name_weight": np.ones(1, np.float32)}
    save_weights(path, meta, tensors)
    found = load_weights(path).meta
    assert found == meta
    assert (found.margin, found.digests, found.adapter) == (None, {}, {})
    assert (found.temperature, found.calibration, found.unknown_below) == (1.0, {}, None)


@pytest.mark.parametrize("kind", ["no pairs", "sparse", "large"])
def test_the_format_is_the_documented_one(path: Path, kind: str) -> None:
    tensors = with_large_bank(make_tensors("dense")) if kind == "large" else make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    header, _ = split(path)
    told = header.pop("__metadata__")
    seal(path.with_name("sealed"), header_of(with_digests(PLAIN, tensors)), tensors)
    assert told == split(path.with_name("sealed"))[0]["__metadata__"]
    dtypes = {"F32": "float32", "F16": "float16", "I32": "int32", "I64": "int64"}
    assert {name: dtypes[entry["dtype"]] for name, entry in header.items()} == {
        name: str(array.dtype) for name, array in tensors.items()
    }


def test_arrays_are_converted_to_the_types_of_the_format(path: Path) -> None:
    tensors = make_tensors("sparse")
    given = {
        name: np.asfortranarray(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))
        for name, array in tensors.items()
    }
    save_weights(path, PLAIN, given)
    found = load_weights(path)
    assert found.bank.flags.c_contiguous
    for name, array in tensors.items():
        assert_array_equal(getattr(found, name), array, strict=True)


def test_the_same_content_gives_the_same_bytes(path: Path) -> None:
    meta = replace(PLAIN, labels=("tab\t \x01\x1f\x7f", 'quote " \\ /', "büffel \u2028 フ", "😀 \b\f\r\n"))
    tensors = make_tensors("sparse")
    found = set()
    for _ in range(8):  # by chance alone, once in 24^7 runs
        save_weights(path, meta, tensors)
        found.add(path.read_bytes())
    assert len(found) == 1
    opened = load_weights(path)
    assert opened.meta.labels == meta.labels
    assert_array_equal(opened.bank, tensors["bank"])


def test_saving_replaces_the_file(saved: Path) -> None:
    tensors = make_tensors("dense")
    save_weights(saved, PLAIN, tensors)
    assert_array_equal(load_weights(saved).bank, tensors["bank"])
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_all_that_is_mapped_is_kept_by_updates(path: Path, kind: str) -> None:
    tensors = with_all(make_tensors(kind))
    save_weights(path, WITH_ALL, tensors)
    for found in (load_weights(path), update_weights(path, margin=0.5)):
        assert found.meta.digests == {name: sha256(tensors[name]) for name in MAPPED}
        for name, array in tensors.items():
            assert_array_equal(getattr(found, name), array, strict=True)
        found.check()


def test_a_file_without_a_tensor_has_no_digest_of_it(path: Path) -> None:
    save_weights(path, PLAIN, with_pair_texts(make_tensors("dense")))
    save_weights(path, load_weights(path).meta, make_tensors("dense"))
    assert list(load_weights(path).meta.digests) == ["pair_rows"]
