"""What is fitted together rests on one another, and the weight file takes it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from coder_engine.adapter_head import open_adapter
from coder_engine.errors import DataError
from coder_engine.evaluate import fitting
from coder_engine.evaluate.fitting import fit
from coder_engine.evaluate.labelled import Labelled, labelled
from coder_engine.evaluate.reliability import calibration_error, confidences
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import Head
from coder_engine.weights import update_weights
from helpers_evaluate import SCALE, images_of, label_set
from parity.cases import unit_rows


def others(features: NDArray[Any]) -> Labelled:
    """Images of no class."""
    return labelled(features, np.zeros(len(features), np.int64), where="others")


def test_nothing_asked_for_changes_nothing(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    got = fit(images_of(found, 30), found.weights)
    assert (got.changes, got.lines) == ({}, ())


def test_all_three_are_stored_and_in_force(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 200)
    outside = others(unit_rows(np.random.default_rng(3), 100, 12))
    got = fit(data, found.weights, margin=True, temperature=True, outside=outside, false_accepts=0.1)
    assert [line.split()[0] for line in got.lines] == ["margin:", "temperature", "unknown"]
    meta = update_weights(found.weights.path, **got.changes).meta
    assert meta.calibration["error_after"] < meta.calibration["error_before"]
    assert meta.calibration["data"] == meta.margin_record["data"] == meta.unknown_record["data"] == data.digest
    assert meta.unknown_record["data_out"] == outside.digest
    ranked = Head(found.weights).rank(outside.features, margin=meta.margin)
    strange = confidences(SCALE * ranked.logits.astype(np.float64), ranked.ids[:, 0], meta.temperature)
    assert meta.unknown_below is not None
    assert_allclose((strange >= meta.unknown_below).mean(), 0.1, atol=0.011)


def test_a_temperature_that_does_not_help_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 60)
    assert fit(data, found.weights, temperature=True).notes == ()
    real = fitting.calibrate
    monkeypatch.setattr(fitting, "calibrate", lambda *args, **kw: replace(real(*args, **kw), error_after=0.9))
    (note,) = fit(data, found.weights, temperature=True).notes
    assert "the calibration error no smaller: see whether it helps on other images, or fit it on more" in note


def test_a_temperature_without_a_likeliest_is_refused(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    easy = images_of(found, 20, noise=0.0)
    with pytest.raises(
        DataError, match=r"no temperature .* on 20 images, of which stage 1 has 20 right: .* at 0\.01, "
    ):
        fit(easy, found.weights, temperature=True)
    wrong = images_of(found, 40)
    wrong = replace(wrong, labels=(wrong.labels + 3) % 7)
    with pytest.raises(DataError, match=r"still rises at 100, the highest .* the scores say nothing of the labels"):
        fit(wrong, found.weights, temperature=True)
    texts = unit_rows(np.random.default_rng(5), 40, 12)
    weights = CoderAdapter.fit(easy.features, easy.labels, texts, classes=7).save(found.weights.path)
    with pytest.raises(DataError, match=r"of which the adapter has 20 right: .* fit it on harder images, or more"):
        fit(easy, weights, temperature=True)


def test_no_gate_is_told(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    got = fit(images_of(found, 60), found.weights, margin=True)
    assert got.changes["margin"] is None
    assert got.lines[0].startswith("margin: no gate is clearly better than reranking every image; ")


def test_a_stored_temperature_is_no_part_of_the_next_fit(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 100)
    first = fit(data, found.weights, temperature=True)
    again = fit(data, update_weights(found.weights.path, **first.changes), temperature=True)
    assert first.changes == again.changes


def test_a_stored_temperature_is_what_a_threshold_is_on(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data, outside = images_of(found, 50), others(unit_rows(np.random.default_rng(3), 60, 12))
    cold = fit(data, found.weights, outside=outside).changes["unknown_below"]
    warm = fit(data, update_weights(found.weights.path, temperature=3.0), outside=outside).changes["unknown_below"]
    assert warm < cold


@pytest.mark.parametrize("step", ["margin", "temperature"])
def test_a_threshold_on_other_scores_is_void(tmp_path: Path, step: str) -> None:
    found = label_set(tmp_path)
    data, outside = images_of(found, 50), others(unit_rows(np.random.default_rng(3), 60, 12))
    weights = update_weights(found.weights.path, **fit(data, found.weights, outside=outside).changes)
    assert weights.meta.unknown_below is not None
    got = fit(data, weights, **{step: True})
    assert (got.changes["unknown_below"], got.changes["unknown_record"]) == (None, {})
    assert "the threshold for the unknown was chosen on other scores and is taken out" in got.notes[0]
    both = fit(data, weights, **{step: True}, outside=outside)
    assert both.changes["unknown_below"] is not None
    assert not any("taken out" in note for note in both.notes)


def test_a_threshold_on_scores_that_stayed_as_they_were_is_kept(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data, outside = images_of(found, 50), others(unit_rows(np.random.default_rng(3), 60, 12))
    first = fit(data, found.weights, temperature=True, margin=True, outside=outside)
    weights = update_weights(found.weights.path, **first.changes)
    for step in ("margin", "temperature"):
        got = fit(data, weights, **{step: True})
        meta = update_weights(found.weights.path, **got.changes).meta
        assert (meta.unknown_below, meta.unknown_record) == (weights.meta.unknown_below, weights.meta.unknown_record)
        assert not any("taken out" in note for note in got.notes)


def test_a_threshold_on_few_images_or_that_lets_few_pass_is_told(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 50)
    few = fit(data, found.weights, outside=others(data.features[:12]), false_accepts=0.05).notes
    assert (
        few[0] == "12 images of no class cannot show a share of 0.05 false accepts: 20 or more can; none of them passes"
    )
    assert re.fullmatch(
        r"the threshold lets only \d+\.\d% of the classes' own images pass, all others become unknown; "
        r"allow more with --false-accepts, or see whether images of the classes are among the others",
        few[1],
    )
    far = others(-data.features)
    assert fit(data, found.weights, temperature=True, outside=far, false_accepts=0.98).notes == ()
    assert fit(data, found.weights).notes == ()


def test_a_threshold_that_cannot_be(tmp_path: Path) -> None:
    found = label_set(tmp_path, classes=1)
    with pytest.raises(DataError, match=r"no threshold keeps false accepts at 0.05: 5 of 5 out-of-set images"):
        fit(images_of(found, 5), found.weights, outside=images_of(found, 5))


def test_with_an_adapter_its_answers_are_what_is_calibrated(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data, outside = images_of(found, 200), others(unit_rows(np.random.default_rng(3), 100, 12))
    support, texts = images_of(found, 24), unit_rows(np.random.default_rng(5), 40, 12)
    classes = len(found.weights.meta.labels)
    weights = CoderAdapter.fit(support.features, support.labels, texts, classes=classes, alpha=20.0).save(
        found.weights.path
    )
    plain = fit(data, found.weights, temperature=True).changes
    changes = fit(data, weights, temperature=True, outside=outside, false_accepts=0.1).changes
    assert changes["temperature"] != plain["temperature"]
    after = update_weights(found.weights.path, **changes)
    adapter = open_adapter(after, Head(after))
    assert adapter is not None
    passed = adapter.rank(outside.features).scores[:, 0] >= changes["unknown_below"]
    assert_allclose(passed.mean(), 0.1, atol=0.011)
    ranked = adapter.rank(data.features)
    error = calibration_error(ranked.scores[:, 0], ranked.ids[:, 0] == data.labels)
    assert_allclose(error, changes["calibration"]["error_after"], atol=1e-4)


def test_an_adapter_has_no_margin(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    support, texts = images_of(found, 24), unit_rows(np.random.default_rng(5), 40, 12)
    classes = len(found.weights.meta.labels)
    weights = CoderAdapter.fit(support.features, support.labels, texts, classes=classes).save(found.weights.path)
    with pytest.raises(DataError, match="its few-shot adapter ranks without a rerank, so there is no margin to fit"):
        fit(support, weights, margin=True)
