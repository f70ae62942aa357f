"""The head on a weight file of its own: memory stays bounded, errors are the project's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coder_engine import EngineError, WeightsError
from coder_engine.head import Head
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import load_weights, save_weights

C, D = 500, 512


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 classes of one name and no text, all 124,750 pairs: 128 MB of pair rows."""
    rng = np.random.default_rng(0)
    block = (rng.standard_normal((C, D), np.float32) / 64).astype(np.float16)
    meta = Metadata(
        labels=tuple(f"class {i}" for i in range(C)),
        model="m",
        pretrained="p",
        tower="t",
        preprocess={},
        logit_scale=100.0,
    )
    tensors = {
        "bank": np.concatenate([np.zeros((C, D), np.float32), rng.standard_normal((C, D), np.float32) / 22]),
        "name_offsets": np.arange(C + 1, dtype=np.int32),
        "name_weight": np.ones(C, np.float32),
        "pair_rows": np.resize(block, (C * (C - 1) // 2, D)),
    }
    file = tmp_path_factory.mktemp("head") / "five-hundred.safetensors"
    save_weights(file, meta, tensors)
    return file


def unit_features(count: int) -> np.ndarray:
    found = np.random.default_rng(1).standard_normal((count, D), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_stays_bounded_over_many_images(path: Path) -> None:
    head = Head(load_weights(path))
    head.rank(unit_features(1))
    before = resident_mb()
    for feature in unit_features(600):
        head.rank(feature[None])
    assert resident_mb() - before < 64


def test_columns(path: Path) -> None:
    head, features = Head(load_weights(path)), unit_features(3)
    assert head.rank(features).ids.shape == (3, 5)
    assert head.rank(features, top=1).ids.shape == (3, 5)
    full = head.rank(features, top=10_000)
    assert full.ids.shape == (3, C)
    assert sorted(full.ids[0].tolist()) == list(range(C))
    np.testing.assert_allclose(full.scores.sum(axis=1), 1, atol=1e-4)
    assert head.rank(features[:0]).ids.shape == (0, 5)


def test_gate_and_stage_one_only(path: Path) -> None:
    head, features = Head(load_weights(path)), unit_features(4)
    assert head.rank(features).reranked.all()
    assert not head.rank(features, margin=0.0).reranked.any()
    assert not head.rank(features, rerank=False).gaps.any()


def test_a_feature_that_is_not_finite_is_an_error(path: Path) -> None:
    features = unit_features(3)
    features[1, 7] = np.nan
    with pytest.raises(EngineError, match="image row 1 cannot be ranked: its feature holds a NaN"):
        Head(load_weights(path)).rank(features)


def test_blocks_give_what_the_whole_gives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, features = Head(load_weights(path)), unit_features(7)
    whole = head.rank(features)
    monkeypatch.setattr("coder_engine.head.BLOCK", 3)
    found = head.rank(features)
    for name, array in whole.__dict__.items():
        np.testing.assert_allclose(getattr(found, name), array, atol=1e-6)
    features[5, 7] = np.inf
    with pytest.raises(EngineError, match=r"^image row 5 cannot be ranked: its feature holds a NaN or an infinity"):
        head.rank(features)


def test_threads_that_cannot_be_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("Resource temporarily unavailable")

    monkeypatch.setattr("coder_engine.head._kernels.Head", refused)
    wanted = r"^900 threads cannot be started \(Resource temporarily unavailable\); use fewer \(--threads\)"
    with pytest.raises(EngineError, match=wanted):
        Head(load_weights(path), threads=900)


def test_weights_the_kernels_refuse_are_named(path: Path) -> None:
    weights = load_weights(path)
    weights.name_weight[3] = 2.0
    with pytest.raises(WeightsError, match=r"five-hundred\.safetensors: name_weight must be in \(0, 1\]"):
        Head(weights)
