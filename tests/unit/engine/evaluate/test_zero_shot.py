"""Every zero-shot method against its formula or the oracle, image by image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.errors import DataError
from coder_engine.evaluate.zero_shot import (
    ABLATION,
    TITLES,
    ablation,
    attribute_features,
    by_blocks,
    name_features,
    stage_one,
    zero_shot,
)
from coder_engine.general_texts import TENSORS
from helpers_evaluate import COUNTS, SCALE, LabelSet, images_of, label_set


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> LabelSet:
    return label_set(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def features(texts: LabelSet) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return images_of(texts, 40).features


def test_stage_one_with_any_kinds_is_equation_8(texts: LabelSet, features: np.ndarray) -> None:
    for kinds in ABLATION.values():
        own = [{kind: rows for kind, rows in one.items() if kind in kinds} for one in texts.class_texts]
        none = dict.fromkeys(("attribute", "analogous", "synonym"), np.empty((0, 12)))
        own = [{**none, **one} for one in own]
        wanted = [reference.stage_one(x, own) for x in features]
        assert_allclose(stage_one(features, texts.weights, kinds), wanted, atol=1e-6)


def test_clip_takes_one_name_sentence_and_the_ensemble_their_mean(texts: LabelSet) -> None:
    first = np.stack([own["name"][0] for own in texts.class_texts])
    mean = reference.unit(np.stack([own["name"].mean(axis=0) for own in texts.class_texts]))
    assert_allclose(name_features(texts.weights, ensemble=False), first, atol=1e-6)
    assert_allclose(name_features(texts.weights, ensemble=True), mean, atol=1e-6)


def test_vcd_is_the_mean_over_attribute_texts(texts: LabelSet, features: np.ndarray) -> None:
    wanted = [[np.mean(own["attribute"] @ x) for own in texts.class_texts] for x in features.astype(np.float64)]
    assert_allclose(features @ attribute_features(texts.weights).T, wanted, atol=1e-6)


def test_vcd_of_a_class_without_attributes_is_its_name(tmp_path: Path) -> None:
    found = label_set(tmp_path, counts={**COUNTS, "attribute": 0})
    assert_allclose(attribute_features(found.weights), name_features(found.weights, ensemble=False), atol=1e-6)


def test_coder_is_the_oracles_one_stage_and_coder_star_its_two(texts: LabelSet, features: np.ndarray) -> None:
    one, two = zero_shot(("coder", "coder-star"), features, texts.weights, margin=0.2)
    for i, x in enumerate(features):
        first, second = (
            reference.one_stage(x, texts.class_texts),
            reference.two_stage(x, texts.class_texts, texts.pairs),
        )
        assert one.ids[i].tolist() == first.order[:5].tolist()
        assert two.ids[i].tolist() == second.order[:5].tolist()
        scores = reference.softmax(first.logits, SCALE)
        assert_allclose([one.confidence[i], two.confidence[i]], scores[[one.first[i], two.first[i]]], rtol=1e-4)
    assert (one.first != two.first).any()


def test_gated_is_the_oracles_gate(texts: LabelSet, features: np.ndarray) -> None:
    found = zero_shot(("gated", "coder", "coder-star"), features, texts.weights, margin=0.1)
    assert found[0].method == "CODER*, gated 0.1"
    for i, x in enumerate(features):
        wanted = reference.two_stage_gated(x, texts.class_texts, texts.pairs, scale=SCALE, margin=0.1)
        assert found[0].ids[i].tolist() == wanted.order[:5].tolist()
    assert not (found[0].ids == found[1].ids).all()
    assert not (found[0].ids == found[2].ids).all()


def test_the_temperature_moves_scores_and_not_answers(texts: LabelSet, features: np.ndarray) -> None:
    warm = replace(texts.weights, meta=replace(texts.weights.meta, temperature=2.0))
    before, after = (zero_shot(("coder",), features, weights, margin=0.2)[0] for weights in (texts.weights, warm))
    assert (before.ids == after.ids).all()
    wanted = [reference.softmax(reference.stage_one(x, texts.class_texts), SCALE / 2).max() for x in features]
    assert_allclose(after.confidence, wanted, rtol=1e-4)


def test_ablation_ends_with_both_stages(texts: LabelSet, features: np.ndarray) -> None:
    found = ablation(features, texts.weights)
    assert [one.method for one in found] == [*ABLATION, "P+Att+Ana+Syn+1v1"]
    one, two = zero_shot(("coder", "coder-star"), features, texts.weights, margin=0.2)
    assert (found[-2].ids == one.ids).all()
    assert (found[-1].ids == two.ids).all()


def test_without_pairs_there_is_no_last_row(tmp_path: Path) -> None:
    found = label_set(tmp_path, pairs="none")
    features = images_of(found, 3).features
    assert [one.method for one in ablation(features, found.weights)] == list(ABLATION)


def test_methods_that_need_texts_say_so(texts: LabelSet, features: np.ndarray) -> None:
    bare = replace(texts.weights, **dict.fromkeys(TENSORS))
    assert len(zero_shot(("coder", "coder-star", "votes", "gated"), features, bare, margin=0.2)) == 4
    for name in ("clip", "clip-ensemble", "vcd"):
        with pytest.raises(DataError, match="has no general texts, which CLIP, VCD, the ablation and few-shot need"):
            zero_shot((name,), features, bare, margin=0.2)


def test_blocks_change_nothing(texts: LabelSet, features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stage_one(features, texts.weights, ABLATION["P+Att"])
    monkeypatch.setattr("coder_engine.evaluate.zero_shot._BLOCK", 7)
    blocks = by_blocks(features, lambda block: stage_one(block, texts.weights, ABLATION["P+Att"]))
    assert_allclose(blocks, whole, atol=1e-6)


def test_every_title_runs(texts: LabelSet, features: np.ndarray) -> None:
    found = zero_shot(tuple(TITLES), features, texts.weights, margin=0.3)
    assert [one.method for one in found] == [*list(TITLES.values())[:-1], "CODER*, gated 0.3"]
    assert all(one.ids.shape == (40, 5) for one in found)
