"""Votes, changes and coverage by counting."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import reference
from coder_engine.evaluate.rerank import coverage, votes, what_changed
from coder_engine.head import Head
from helpers_evaluate import images_of, label_set


@pytest.mark.parametrize("pairs", ["all", "sparse"])
def test_votes_count_won_duels(tmp_path: Path, pairs: str) -> None:
    found = label_set(tmp_path, pairs=pairs)
    features = images_of(found, 40).features
    got = votes(Head(found.weights).rank(features))
    differ = 0
    for i, x in enumerate(features):
        first = reference.top_five(reference.stage_one(x, found.class_texts))
        won = (reference.pair_gaps(x, first, found.pairs) > 0).sum(axis=1)
        wanted = [int(first[c]) for c in sorted(range(5), key=lambda c, won=won: (-won[c], c))]  # type: ignore[misc]
        assert got[i].tolist() == wanted
        differ += wanted != reference.two_stage(x, found.class_texts, found.pairs).order[:5].tolist()
    assert differ  # else votes and gaps could not be told apart here


def test_changes_are_counted(tmp_path: Path) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 60)
    got = what_changed(Head(found.weights).rank(data.features), data.labels, found.weights)
    counts = {"better": 0, "worse": 0, "otherwise": 0}
    for x, label in zip(data.features, data.labels, strict=True):
        before = reference.one_stage(x, found.class_texts).order[0]
        after = reference.two_stage(x, found.class_texts, found.pairs).order[0]
        if before != after:
            counts["better" if after == label else "worse" if before == label else "otherwise"] += 1
    assert vars(got) == {**counts, "coverage": 1.0}
    assert counts["better"]
    assert counts["worse"]


@pytest.mark.parametrize("classes", [1, 2, 3, 9])
def test_coverage_counts_candidate_pairs(tmp_path: Path, classes: int) -> None:
    found = label_set(tmp_path, classes=classes, pairs="sparse", seed=5)
    features = images_of(found, 20).features
    have = []
    for x in features:
        first = reference.top_five(reference.stage_one(x, found.class_texts))
        have += [reference.has_texts(found.pairs, int(a), int(b)) for a, b in combinations(first, 2)]
    assert coverage(Head(found.weights).rank(features), found.weights) == pytest.approx(np.mean(have) if have else 0)
