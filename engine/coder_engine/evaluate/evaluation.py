"""One evaluation: what was measured on which images, and what the tables and the report are made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.evaluate.answers import ROUNDS, Answers, Measured, measure
from coder_engine.evaluate.few_shot import FewShot, Task
from coder_engine.evaluate.labelled import Labelled, shared_images
from coder_engine.evaluate.methods import RERANKING
from coder_engine.evaluate.rerank import Rerank, what_changed
from coder_engine.evaluate.zero_shot import ablation, answered_by, title_of, zero_shot
from coder_engine.head import Head
from coder_engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        source: the data, as the user named it.
        engine: one line about what made the features; empty where they came from a file.
        labels: the C class names; their numbers where only features are known.
        test: the images.
        notes: what a user should know of the data, a line each.
        failed: (path, why) of images that could not be read.
        answers: of the zero-shot methods and the stored adapter, and ``zero_shot`` how good they are, in that order.
        answered_by: which of them the engine answers by, by its title; empty where that is none of them.
        margin: of the gate of the method gated; None where no zero-shot method was measured.
        ablation: stage 1 as the kinds of text come in.
        rerank: what stage 2 changed; None where no method was measured that reranks.
        few_shot: every method, norm and number of shots.
        fitted: what was fitted and stored, a line each.
        made: how it was made, by what it is called: the command, the files and their digests.
        weights: the label set; None where only features are known.
        texts: W, float32 [T, D]; None where there are none.
    """

    source: str
    engine: str
    labels: tuple[str, ...]
    test: Labelled
    notes: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    answers: tuple[Answers, ...] = ()
    zero_shot: tuple[Measured, ...] = ()
    answered_by: str = ""
    margin: float | None = None
    ablation: tuple[Measured, ...] = ()
    rerank: Rerank | None = None
    few_shot: tuple[FewShot, ...] = ()
    fitted: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    weights: Weights | None = None
    texts: NDArray[np.float32] | None = None

    @property
    def images(self) -> int:
        """B."""
        return len(self.test)


@dataclass(frozen=True, kw_only=True)
class ZeroShotResult:
    """The zero-shot part of an ``Evaluation``, whose attributes these are."""

    answers: tuple[Answers, ...]
    zero_shot: tuple[Measured, ...]
    answered_by: str
    margin: float
    ablation: tuple[Measured, ...]
    rerank: Rerank | None


def evaluate_zero_shot(
    methods: Sequence[str],
    test: Labelled,
    weights: Weights,
    *,
    margin: float,
    with_ablation: bool = False,
    rounds: int = ROUNDS,
    seed: int = 0,
    threads: int = 1,
) -> ZeroShotResult:
    """Zero-shot methods on labelled features; arguments as in ``zero_shot`` and ``measure``."""
    ranking = Head(weights, threads=threads).rank(test.features)
    answers = zero_shot(methods, test.features, ranking, weights, margin=margin, threads=threads)
    rows = ablation(test.features, ranking, weights) if with_ablation else []
    own, classes = answered_by(weights, margin), len(weights.meta.labels)
    reranks = weights.pair_rows is not None and (with_ablation or not RERANKING.isdisjoint(methods))
    return ZeroShotResult(
        answers=tuple(answers),
        zero_shot=tuple(measure(answers, test.labels, classes, rounds=rounds, seed=seed)) if answers else (),
        answered_by=title_of(own, margin) if own in methods else "",
        margin=margin,
        ablation=tuple(measure(rows, test.labels, classes, rounds=rounds, seed=seed)) if rows else (),
        rerank=what_changed(ranking, test.labels, weights) if reranks else None,
    )


def without_test(task: Task) -> tuple[Task, list[str]]:
    """The task without the validation images that are test images, too, by hash, and what to tell of them.

    Parameters chosen on the data under test would be those that suit it. Without supports none are chosen.

    Raises:
        DataError: no validation image is left; parameters would be chosen on others than was asked for.
    """
    if task.val is None or not task.supports:
        return task, []
    rest = _rows_outside(task.val, set(task.test.digests))
    if len(rest) == len(task.val):
        return task, []
    images = count_of(len(task.val) - len(rest), "validation image")
    shared = f"in the data under test too, by hash, and left out: {images}"
    if not len(rest):
        raise DataError(f"{shared}, which is all: none is left to choose on; give --val images that are not in DATA")
    return replace(task, val=task.val.take(rest)), [shared]


def without_support(task: Task) -> tuple[Task, list[str]]:
    """The task without the validation images that are support, too, by hash, and what to tell of them.

    Parameters chosen on what the adapter has learned would be those that learn it by heart.
    """
    if task.val is None:
        return task, []
    rest = _rows_outside(task.val, _in_support(task))
    if len(rest) == len(task.val):
        return task, []
    shared = f"in the support too, by hash, and left out: {count_of(len(task.val) - len(rest), 'validation image')}"
    if not len(rest):
        return replace(task, val=None), [f"{shared}, which is all: parameters are chosen as without"]
    return replace(task, val=task.val.take(rest)), [shared]


def duplicate_notes(task: Task) -> list[str]:
    """Test images that are in the support too, by hash: what they score says nothing."""
    support = _in_support(task)
    if not (found := sum(digest in support for digest in task.test.digests)):
        return []
    return [f"in the support too, by hash: {count_of(found, 'test image')}{_example(task)}; leave them out of one"]


def _rows_outside(images: Labelled, digests: Collection[bytes]) -> NDArray[np.int64]:
    return np.array([row for row, digest in enumerate(images.digests) if digest not in digests], np.int64)


def _in_support(task: Task) -> set[bytes]:
    return {digest for sets in task.supports.values() for one in sets for digest in one.digests}


def _example(task: Task) -> str:
    for sets in task.supports.values():
        for support in sets:
            for row, other in shared_images(task.test, support)[:1]:
                if task.test.paths and support.paths:
                    return f" (such as {task.test.paths[row]} and {support.paths[other]})"
                return f" (such as test row {row} and support row {other})"
    return ""
