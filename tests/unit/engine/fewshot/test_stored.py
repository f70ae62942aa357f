"""The adapter in the weight file: a round trip, what stays, and what damage does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coder_engine.errors import WeightsError
from coder_engine.fewshot import CoderAdapter, search_adapter
from coder_engine.weights import load_weights, save_weights, update_weights
from helpers_weights import PLAIN, D, make_tensors, place

RNG = np.random.default_rng(8)


def unit(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = RNG.normal(size=(count, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


SUPPORT, LABELS, TEXTS, IMAGES = unit(9), np.array([0, 3, 1, 2, 0, 1, 3, 3, 2]), unit(30), unit(5)


def fit(**options: Any) -> CoderAdapter:
    return CoderAdapter.fit(SUPPORT, LABELS, TEXTS, classes=4, **options)


def load(path: Path) -> CoderAdapter:
    found = CoderAdapter.load(load_weights(path))
    assert found is not None
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_weights(file, PLAIN, make_tensors("dense"))
    return file


@pytest.mark.parametrize("norm", ["minmax", "l2"])
def test_round_trip(path: Path, norm: str) -> None:
    adapter = replace(fit(norm=norm, alpha=3, beta=7.5, temperature=2, ridge=0.25), source={"views": 8})
    before = load_weights(path)
    assert CoderAdapter.load(before) is None
    adapter.save(path)
    found = load(path)
    assert np.array_equal(found.logits(IMAGES), adapter.logits(IMAGES))
    assert (found.form, found.norm, found.texts, found.source) == (adapter.form, norm, 30, {"views": 8})
    assert (found.alpha, found.beta, found.temperature) == (3, 7.5, 2)
    after = load_weights(path)
    assert np.array_equal(after.bank, before.bank)
    assert after.pair_rows is not None
    assert replace(after.meta, adapter={}, digests=before.meta.digests) == before.meta
    assert after.meta.adapter["shots"] == [2, 2, 2, 3]


def test_the_search_record_is_kept(path: Path) -> None:
    search = search_adapter(SUPPORT, LABELS, TEXTS, classes=4)
    search.adapter.save(path)
    assert load(path).search["chosen_on"] == "folds"
    assert load(path).search["accuracy"] == search.record["accuracy"]


def test_another_norm_leaves_no_factor_behind(path: Path) -> None:
    fit(norm="l2").save(path)
    assert load_weights(path).adapter_factor is not None
    fit(norm="minmax").save(path)
    assert load_weights(path).adapter_factor is None


def test_out_leaves_the_first_file_alone(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    written = fit().save(path, out=tmp_path / "other.safetensors")
    assert written.path == tmp_path / "other.safetensors"
    assert path.read_bytes() == before
    assert load(written.path).classes == 4


@pytest.mark.parametrize("name", ["adapter_keys", "adapter_labels", "adapter_mean", "adapter_factor"])
def test_the_digest_covers_the_tensors(path: Path, name: str) -> None:
    fit(norm="l2").save(path)
    content = bytearray(path.read_bytes())
    start, _ = place(path, name)
    content[start + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="edited or damaged after export"):
        load_weights(path).check()


def meta_of(adapter: CoderAdapter, path: Path) -> dict[str, Any]:
    return dict(adapter.save(path).meta.adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "max"}, "norm must be one of minmax, l2, got 'max'"),
        ({"alpha": -1}, "alpha must be above 0 and finite, got -1"),
        ({"beta": "5"}, "'<' not supported"),
        ({"classes": 5}, "it is for 5 classes, the file has 4"),
        ({"form": {"exponent": 2}}, "exponent must be from 0"),
        ({"form": {"power": 2}}, "unexpected keyword argument 'power'"),
        ({"form": None}, "argument after \\*\\* must be a mapping"),
        ({"search": None, "texts": None, "alpha": None}, "'<' not supported"),
    ],
)
def test_wrong_parameters(path: Path, changes: dict[str, Any], message: str) -> None:
    meta = meta_of(fit(), path)
    update_weights(path, adapter={**meta, **changes})
    with pytest.raises(WeightsError, match=f"its few-shot adapter is malformed .*{message}.*fit it again"):
        load(path)


def test_a_missing_parameter(path: Path) -> None:
    meta = meta_of(fit(), path)
    del meta["beta"]
    update_weights(path, adapter=meta)
    with pytest.raises(WeightsError, match=r"malformed .*'beta'"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("adapter_labels", np.array([0, 0, 1, 1, 2, 2, 3, 3, 4], np.int32), "class ids from 0 to 3"),
        ("adapter_labels", np.array([0, 0, 1, 1, 2, 2, 3, 2, 3], np.int32), "ascending order"),
        ("adapter_mean", np.full(D, np.inf, np.float32), "must be finite and 8 wide"),
        ("adapter_factor", np.eye(D, dtype=np.float32), "factor must be there for the l2 norm and only for it"),
    ],
)
def test_wrong_tensors(path: Path, name: str, value: np.ndarray[Any, Any], message: str) -> None:
    fit().save(path)
    update_weights(path, tensors={name: value})
    with pytest.raises(WeightsError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"adapter_keys": None}, r"adapter_keys must be \[9, 8\] for 4 classes, got none"),
        ({"adapter_labels": None}, r"adapter_keys must be \[0, 8\] for 4 classes, got \[9, 8\]"),
        ({"adapter_mean": np.zeros(3, np.float32)}, r"adapter_mean must be \[8\] for 4 classes, got \[3\]"),
        ({"adapter_keys": np.zeros((9, 3), np.float32)}, r"adapter_keys must be \[9, 8\]"),
        ({"adapter_factor": np.zeros((8, 3), np.float32)}, r"adapter_factor must be \[8, 8\]"),
        ({"generic_texts": np.zeros((3, D), np.float32)}, r"generic_texts must be \[None, 8\]"),
    ],
)
def test_shapes_that_do_not_fit(path: Path, tensors: dict[str, Any], message: str) -> None:
    fit().save(path)
    with pytest.raises(WeightsError, match=message):
        update_weights(path, tensors=tensors)


def test_no_support_at_all(path: Path) -> None:
    meta = meta_of(fit(), path)
    before = path.read_bytes()
    none = {"adapter_keys": np.zeros((0, D), np.float32), "adapter_labels": np.zeros(0, np.int32)}
    with pytest.raises(WeightsError, match=r"adapter_keys must be float32 \[NM, D\], got \[0, 8\]"):
        update_weights(path, tensors=none, adapter=meta)
    assert path.read_bytes() == before


def test_an_adapter_of_another_model_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    wide = np.eye(16, dtype=np.float32)
    with pytest.raises(WeightsError, match=r"adapter_keys must be \[16, 8\]"):
        CoderAdapter.fit(wide, np.arange(16) % 4, wide).save(path)
    assert path.read_bytes() == before
