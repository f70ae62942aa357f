"""Ranking by the few-shot adapter: Eq. 20 over stage 1, against plain NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from coder_engine import adapter_head
from coder_engine.adapter_head import AdapterHead
from coder_engine.errors import EngineError
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import Head
from coder_engine.weights import Weights, load_weights, save_weights, update_weights
from helpers_weights import PLAIN, D, make_tensors

RNG = np.random.default_rng(4)


def unit(count: int) -> NDArray[np.float32]:
    rows = RNG.normal(size=(count, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


SUPPORT, LABELS, TEXTS, IMAGES = unit(9), np.array([0, 3, 1, 2, 0, 1, 3, 3, 2]), unit(30), unit(6)


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    path = tmp_path / "model.safetensors"
    save_weights(path, replace(PLAIN, logit_scale=30.0), make_tensors("dense"))
    return load_weights(path)


@pytest.mark.parametrize("norm", ["minmax", "l2"])
def test_equation_20_over_stage_one(weights: Weights, norm: str) -> None:
    adapter = CoderAdapter.fit(SUPPORT, LABELS, TEXTS, norm=norm, alpha=4, beta=3)
    head = Head(weights, threads=2)
    found = AdapterHead(head, adapter, logit_scale=30.0).rank(IMAGES)
    stage_one = head.rank(IMAGES, rerank=False).logits
    logits = adapter.logits(IMAGES) + 30 * stage_one
    assert_allclose(found.logits * 30, logits, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found.ids, np.argsort(-logits, axis=1, kind="stable"))
    powers = np.exp(np.sort(logits, axis=1)[:, ::-1].astype(np.float64))
    assert_allclose(found.scores, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-30)
    assert not found.reranked.any()
    assert not found.gaps.any()


@pytest.mark.parametrize(
    "numbers", [{"beta": 40, "temperature": 0.3}, {"alpha": 1e38, "beta": 5.5, "temperature": 0.5}]
)
def test_votes_beyond_all_numbers(weights: Weights, numbers: dict[str, float]) -> None:
    adapter = CoderAdapter.fit(SUPPORT, LABELS, TEXTS, norm="minmax", **numbers)
    with pytest.raises(EngineError, match=r"votes are beyond all numbers, with alpha .*; fit it again with coder-fit$"):
        AdapterHead(Head(weights), adapter, logit_scale=30.0).rank(IMAGES)


def test_an_image_does_not_depend_on_its_batch(weights: Weights) -> None:
    head = AdapterHead(Head(weights), CoderAdapter.fit(SUPPORT, LABELS, TEXTS, norm="l2"), logit_scale=30.0)
    together = head.rank(IMAGES)
    for row in range(len(IMAGES)):
        assert np.array_equal(head.rank(IMAGES[row : row + 1]).logits[0], together.logits[row])


def test_keys_that_are_not_finite_are_told_when_they_are_used(weights: Weights) -> None:
    adapter = CoderAdapter.fit(SUPPORT, LABELS, TEXTS)
    adapter.save(weights.path)
    keys = adapter.keys.copy()
    keys[4, 2] = np.nan
    found = CoderAdapter.load(update_weights(weights.path, tensors={"adapter_keys": keys}))
    assert found is not None
    with pytest.raises(EngineError, match=r"adapter is damaged: .*in a key .*again with coder-fit"):
        AdapterHead(Head(weights), found, logit_scale=30.0).rank(IMAGES)
    with pytest.raises(ValueError, match="a NaN or an infinity in a key or a feature"):
        found.logits(IMAGES)
    with pytest.raises(ValueError, match="keys, mean and factor must be finite"):
        replace(adapter, keys=keys)


def test_the_keys_are_in_memory_from_the_first_image_on(weights: Weights) -> None:
    CoderAdapter.fit(SUPPORT, LABELS, TEXTS).save(weights.path)
    opened = load_weights(weights.path)
    adapter = CoderAdapter.load(opened)
    assert adapter is not None
    head = AdapterHead(Head(opened), adapter, logit_scale=30.0)
    wanted = head.rank(IMAGES)
    weights.path.write_bytes(b"")  # a read through the map would end this process
    np.testing.assert_array_equal(head.rank(IMAGES).logits, wanted.logits)


def test_equal_logits_by_the_lower_class_id(weights: Weights) -> None:
    flat = replace(weights, bank=np.zeros_like(weights.bank))
    same = np.repeat(SUPPORT[:1], 4, axis=0)
    adapter = CoderAdapter.fit(same, np.arange(4), TEXTS, exponent=0, centre=False)
    assert AdapterHead(Head(flat), adapter, logit_scale=30.0).rank(IMAGES).ids.tolist() == [[0, 1, 2, 3]] * 6


def test_top_and_no_images(weights: Weights) -> None:
    head = AdapterHead(Head(weights), CoderAdapter.fit(SUPPORT, LABELS, TEXTS), logit_scale=30.0)
    assert head.rank(IMAGES, top=2).ids.shape == (6, 4)  # k = min(5, C)
    assert head.rank(IMAGES[:0]).ids.shape == (0, 4)


def test_a_feature_that_is_no_number(weights: Weights) -> None:
    head = AdapterHead(Head(weights), CoderAdapter.fit(SUPPORT, LABELS, TEXTS), logit_scale=30.0)
    with pytest.raises(EngineError, match="image row 1 cannot be ranked"):
        head.rank(np.array([IMAGES[0], np.full(D, np.nan)], np.float32))


def test_many_images_are_ranked_in_blocks(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    head = AdapterHead(Head(weights), CoderAdapter.fit(SUPPORT, LABELS, TEXTS, norm="l2"), logit_scale=30.0)
    together, at_once = head.rank(IMAGES), []
    votes = head._votes
    monkeypatch.setattr(adapter_head, "BLOCK", 4)
    monkeypatch.setattr(head, "_votes", lambda part: at_once.append(len(part)) or votes(part))
    assert np.array_equal(head.rank(IMAGES).logits, together.logits)
    assert at_once == [4, 2]
    assert head.rank(IMAGES[:0]).ids.shape == (0, 4)
