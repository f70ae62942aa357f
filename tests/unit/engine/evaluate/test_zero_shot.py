"""Every zero-shot method against its formula or the oracle, image by image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.adapter_head import open_adapter
from coder_engine.errors import DataError
from coder_engine.evaluate.answers import Answers
from coder_engine.evaluate.zero_shot import (
    ABLATION,
    TITLES,
    ablation,
    answered_by,
    attribute_features,
    name_features,
    runnable,
    stage_one,
    zero_shot,
)
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import Head
from coder_engine.weightfile.general_texts import TENSORS
from coder_engine.weights import Weights, update_weights
from helpers_evaluate import COUNTS, SCALE, LabelSet, images_of, label_set


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> LabelSet:
    return label_set(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def features(texts: LabelSet) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return images_of(texts, 40).features


def run(methods: tuple[str, ...], features: np.ndarray, weights: Weights, margin: float = 0.2) -> list[Answers]:
    return zero_shot(methods, features, Head(weights).rank(features), weights, margin=margin)


def with_adapter(folder: Path) -> LabelSet:
    found = label_set(folder)
    support, texts = images_of(found, 24), np.asarray(found.weights.texts)
    adapter = CoderAdapter.fit(support.features, support.labels, texts, classes=7, alpha=20.0)
    return replace(found, weights=adapter.save(found.weights.path))


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
    one, two = run(("coder", "coder-star"), features, texts.weights)
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
    found = run(("gated", "coder", "coder-star"), features, texts.weights, margin=0.1)
    assert found[0].method == "CODER*, gated 0.1"
    for i, x in enumerate(features):
        wanted = reference.two_stage_gated(x, texts.class_texts, texts.pairs, scale=SCALE, margin=0.1)
        assert found[0].ids[i].tolist() == wanted.order[:5].tolist()
    assert not (found[0].ids == found[1].ids).all()
    assert not (found[0].ids == found[2].ids).all()


@pytest.mark.parametrize(("margin", "own"), [(None, "coder-star"), (0.2, "gated"), (0.3, "")])
def test_a_stored_temperature_is_of_the_method_the_engine_answers_by(
    texts: LabelSet, features: np.ndarray, margin: float | None, own: str
) -> None:
    warm = replace(texts.weights, meta=replace(texts.weights.meta, temperature=2.0, margin=margin))
    names = tuple(name for name in TITLES if name != "adapter")
    assert answered_by(warm, 0.2) == own
    for name, before, after in zip(names, run(names, features, texts.weights), run(names, features, warm), strict=True):
        assert (before.ids == after.ids).all()
        assert (before.confidence == after.confidence).all() == (name != own)
        if name == own:
            logits = [reference.stage_one(x, texts.class_texts) for x in features]
            wanted = [reference.softmax(o, SCALE / 2)[i] for o, i in zip(logits, after.first, strict=True)]
            assert_allclose(after.confidence, wanted, rtol=1e-4)
    ranking = Head(warm).rank(features)
    plain, other = (ablation(features, ranking, weights) for weights in (texts.weights, warm))
    assert all((one.confidence == two.confidence).all() for one, two in zip(plain, other, strict=True))


def test_a_stored_adapter_has_a_row_with_the_answers_and_scores_of_the_engine(tmp_path: Path) -> None:
    found = with_adapter(tmp_path)
    features = images_of(found, 40, seed=4).features
    weights = update_weights(found.weights.path, temperature=1.7)
    assert answered_by(weights, 0.2) == "adapter"
    assert runnable(weights) == list(TITLES)
    star, stored = run(("coder-star", "adapter"), features, weights)
    adapter = open_adapter(weights, Head(weights))
    assert adapter is not None
    wanted = adapter.rank(features)
    assert (stored.ids == wanted.ids[:, :5]).all()
    assert_allclose(stored.confidence, wanted.scores[:, 0])
    assert stored.method == "CODER-Adapter, stored"
    assert not (stored.ids == star.ids).all()
    scores = [reference.softmax(reference.stage_one(x, found.class_texts), SCALE) for x in features]
    assert_allclose(star.confidence, [own[i] for own, i in zip(scores, star.first, strict=True)], rtol=1e-4)


def test_an_adapter_that_is_not_there(texts: LabelSet, features: np.ndarray) -> None:
    assert "adapter" not in runnable(texts.weights)
    with pytest.raises(DataError, match="has no few-shot adapter; coder-fit writes one, else leave adapter out of"):
        run(("adapter",), features, texts.weights)


def test_ablation_ends_with_both_stages(texts: LabelSet, features: np.ndarray) -> None:
    found = ablation(features, Head(texts.weights).rank(features), texts.weights)
    assert [one.method for one in found] == [*ABLATION, "P+Att+Ana+Syn+1v1"]
    one, two = run(("coder", "coder-star"), features, texts.weights)
    assert (found[-2].ids == one.ids).all()
    assert (found[-1].ids == two.ids).all()


def test_without_pairs_there_is_no_last_row(tmp_path: Path) -> None:
    found = label_set(tmp_path, pairs="none")
    features = images_of(found, 3).features
    rows = ablation(features, Head(found.weights).rank(features), found.weights)
    assert [one.method for one in rows] == list(ABLATION)


def test_methods_that_need_texts_say_so(texts: LabelSet, features: np.ndarray) -> None:
    bare = replace(texts.weights, **dict.fromkeys(TENSORS))
    assert len(run(("coder", "coder-star", "votes", "gated"), features, bare)) == 4
    for name in ("clip", "clip-ensemble", "vcd"):
        with pytest.raises(DataError, match="has no general texts, which CLIP, VCD and the ablation need"):
            run((name,), features, bare)


def test_every_title_runs(tmp_path: Path) -> None:
    found = with_adapter(tmp_path)
    features = images_of(found, 40).features
    got = run(tuple(TITLES), features, found.weights, margin=0.3)
    assert [one.method for one in got] == [*list(TITLES.values())[:-2], "CODER*, gated 0.3", "CODER-Adapter, stored"]
    assert all(one.ids.shape == (40, 5) for one in got)
