"""What the Engine takes from its weight file: threshold, temperature, margin, labels; and files that it refuses."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from coder_engine import Engine, EngineError, WeightsError
from coder_engine.weightfile.general_texts import TENSORS
from coder_engine.weights import load_weights, save_weights


def rewritten(tiny: Path, folder: Path, tensors: dict[str, object] | None = None, **meta: object) -> Path:
    """A copy of the weight file of ``tiny`` with some metadata and tensors changed."""
    old = load_weights(tiny.with_suffix(".safetensors"))
    names = ("bank", "name_offsets", "name_weight", "pair_rows", *TENSORS)
    content = {name: np.array(getattr(old, name)) for name in names} | (tensors or {})
    kept = {name: value for name, value in content.items() if value is not None}
    save_weights(folder / "other.safetensors", dataclasses.replace(old.meta, **meta), kept)
    return folder / "other.safetensors"


def test_unknown_by_the_weight_files_threshold_unless_told_otherwise(
    tiny: Path, tmp_path: Path, photographs: list[Path]
) -> None:
    strict = Engine(tiny, weights=rewritten(tiny, tmp_path, unknown_below=1.0))
    features = strict.embed(photographs)
    for found in (
        strict.predict(photographs),
        list(strict.predict_stream(photographs)),
        strict.predict_features(features),
    ):
        assert all(item.unknown for item in found)
    assert not any(item.unknown for item in strict.predict(photographs, unknown_below=0.0))
    assert "; unknown below 1 unless told otherwise" in strict.description


def test_the_temperature_moves_scores_and_nothing_else(tiny: Path, tmp_path: Path, photographs: list[Path]) -> None:
    plain = Engine(tiny, margin=0.3)
    mild = Engine(tiny, weights=rewritten(tiny, tmp_path, temperature=3.0), margin=0.3)
    before, after = plain.predict(photographs, top=10), mild.predict(photographs, top=10)
    assert [(item.label, item.reranked) for item in before] == [(item.label, item.reranked) for item in after]
    for old, new in zip(before, after, strict=True):
        powers = np.array([item.score for item in old.top]) ** (1 / 3)
        np.testing.assert_allclose([item.score for item in new.top], powers / powers.sum(), rtol=1e-4)
    assert "; scores calibrated, temperature 3" in mild.description
    assert "temperature" not in plain.description


def test_margin_of_the_weight_file_counts_unless_overridden(
    tiny: Path, tmp_path: Path, photographs: list[Path]
) -> None:
    gated = rewritten(tiny, tmp_path, margin=0.0)
    assert not any(item.reranked for item in Engine(tiny, weights=gated).predict(photographs))
    assert all(item.reranked for item in Engine(tiny, weights=gated, margin=1.0).predict(photographs))


def test_labels_swap_while_others_predict(tiny: Path, tmp_path: Path, photographs: list[Path]) -> None:
    engine = Engine(tiny)
    reversed_labels = tuple(reversed(engine.labels))
    other = rewritten(tiny, tmp_path, labels=reversed_labels)
    wanted = {
        engine.predict(photographs[:1])[0].label,
        reversed_labels[engine.labels.index(engine.predict(photographs[:1])[0].label)],
    }
    seen, stop = set(), threading.Event()

    def predict() -> None:
        while not stop.is_set():
            seen.add(engine.predict(photographs[:1])[0].label)

    thread = threading.Thread(target=predict)
    thread.start()
    for i in range(20):
        engine.use_labels(other if i % 2 else tiny.with_suffix(".safetensors"))
    stop.set()
    thread.join()
    assert seen <= wanted


# refusals


def test_weights_of_another_tower_are_refused_and_the_labels_kept(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    other = rewritten(tiny, tmp_path, tower="0" * 64)
    before = engine.labels
    with pytest.raises(WeightsError, match="come from different image towers"):
        engine.use_labels(other)
    assert engine.labels == before


def test_weights_with_broken_preprocessing(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="preprocessing must have the keys"):
        Engine(tiny, weights=rewritten(tiny, tmp_path, preprocess={"size": [64, 64]}))


def test_weights_for_images_of_another_size(tiny: Path, tmp_path: Path) -> None:
    preprocess = {**load_weights(tiny.with_suffix(".safetensors")).meta.preprocess, "size": [32, 32]}
    with pytest.raises(WeightsError, match=r"its images are \[32, 32\] pixels, the engine takes \[64, 64\]"):
        Engine(tiny, weights=rewritten(tiny, tmp_path, preprocess=preprocess))


def test_weights_with_a_broken_index(tiny: Path, tmp_path: Path) -> None:
    old = load_weights(tiny.with_suffix(".safetensors"))
    offsets = old.name_offsets.copy()
    offsets[1] = 0
    with pytest.raises(WeightsError, match="name_offsets must ascend"):
        Engine(tiny, weights=rewritten(tiny, tmp_path, {"name_offsets": offsets}))


def test_nan_in_a_pair_row_is_an_error_not_a_class(tiny: Path, tmp_path: Path, photographs: list[Path]) -> None:
    rows = np.array(load_weights(tiny.with_suffix(".safetensors")).pair_rows)
    rows[:] = np.nan
    broken = Engine(tiny, weights=rewritten(tiny, tmp_path, {"pair_rows": rows}))
    with pytest.raises(EngineError, match="image row 0 cannot be ranked: a pair row"):
        broken.predict(photographs[:1])


def test_coder_needs_the_texts(tiny: Path, tmp_path: Path, photographs: list[Path]) -> None:
    without = rewritten(tiny, tmp_path, dict.fromkeys(TENSORS))
    with pytest.raises(WeightsError, match="export it with coder-export --keep-texts"):
        Engine(tiny, weights=without).coder(photographs[:1])


def test_check_finds_edited_pair_rows(tiny: Path, tmp_path: Path) -> None:
    path = rewritten(tiny, tmp_path)
    content = bytearray(path.read_bytes())
    rows = np.array(load_weights(path).pair_rows).tobytes()
    content[content.index(rows) + 10] ^= 1
    path.write_bytes(content)
    engine = Engine(tiny, weights=path)
    with pytest.raises(WeightsError, match="'pair_rows' was edited or damaged"):
        engine.check()
