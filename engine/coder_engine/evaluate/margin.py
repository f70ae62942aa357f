"""Choosing the margin gate on validation images: is anything better than reranking all of them?

The paper reranks every image; the authors' code only those where softmax(scale * o) top-1 minus top-2 is below a margin
tuned by hand. Here it is chosen by accuracy, and only where it is clearly better: what may be chance goes to the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.evaluate.checks import checked_ids, checked_logits

GRID = (0.0, 0.01, 0.02, 0.05, *(round(0.1 * step, 1) for step in range(1, 10)))
"""Margins that are tried beside the paper's way. It is coarse on purpose: a finer one fits the validation images."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a margin does on the validation images.

    Attributes:
        margin: None reranks every image; 0 none.
        accuracy: of the final answers.
        reranked: the share of images under the margin.
        better, worse: images that are right here and wrong where every image is reranked, and the reverse.
    """

    margin: float | None
    accuracy: float
    reranked: float
    better: int
    worse: int


@dataclass(frozen=True, kw_only=True)
class MarginFit:
    """The margin chosen, and all that were tried.

    Attributes:
        best: the outcome of the margin chosen; its ``margin`` is None where no gate is clearly better than none.
        always: the outcome of reranking every image, the paper's way.
        outcomes: of every margin tried, ascending, ``always`` last.
        images: how many it was chosen on, and ``data`` the content hash of them that the caller gave.
    """

    best: Outcome
    always: Outcome
    outcomes: tuple[Outcome, ...]
    images: int
    data: str

    def changes(self) -> dict[str, Any]:
        """For ``update_weights``; a threshold that was chosen on other answers is the caller's to take out."""
        record = {"best": asdict(self.best), "always": asdict(self.always), "images": self.images, "data": self.data}
        return {"margin": self.best.margin, "margin_record": record}


def fit_margin(
    logits: ArrayLike,
    answers: ArrayLike,
    labels: ArrayLike,
    scale: float,
    grid: Sequence[float] | None = None,
    *,
    data: str,
) -> MarginFit:
    """Choose the margin with the best accuracy, equal ones by the widest gate; none unless it is ``clearly_better``.

    Args:
        logits: [N, C], o of Eq. 8 (``Ranking.logits``).
        answers: [N], the class ids that reranking every image gives (``Ranking.ids[:, 0]`` with margin None).
        labels: [N], the true class ids.
        scale: the logit scale; the temperature is no part of the gate.
        grid: margins to try, 0 to 1; by default ``GRID``.
        data: a content hash of the images, for the record.

    Raises:
        ValueError: shapes do not fit, there are no images, a logit is not finite, or a margin or id is out of range.
    """
    margins = sorted(set(GRID if grid is None else grid))
    o = checked_logits(logits)
    truth, final = checked_ids(labels, "labels", o), checked_ids(answers, "answers", o)
    if not all(0 <= margin <= 1 for margin in margins):
        raise ValueError(f"grid must hold differences of probabilities, 0 to 1, got {margins}")
    if not 0 < scale < np.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")
    leads = lead(o, scale)
    first = o.argmax(axis=1) == truth
    paper = final == truth
    always = _outcome(None, np.ones(len(truth), bool), first, paper)
    outcomes = (*(_outcome(margin, leads < margin, first, paper) for margin in margins), always)
    best = max(reversed(outcomes), key=lambda outcome: outcome.accuracy)
    return MarginFit(
        best=best if clearly_better(best.better, best.worse) else always,
        always=always,
        outcomes=outcomes,
        images=len(truth),
        data=data,
    )


def clearly_better(better: int, worse: int) -> bool:
    """Whether of the images that two ways answer differently so many more are right by one that it is hardly chance.

    Two standard errors of the difference, as coder-fit judges an adapter. The best of many margins is ahead by a few
    images even where none is worth anything.
    """
    return better - worse > 2 * math.sqrt(better + worse)


def _outcome(
    margin: float | None, gate: NDArray[np.bool_], first: NDArray[np.bool_], paper: NDArray[np.bool_]
) -> Outcome:
    right = np.where(gate, paper, first)
    return Outcome(
        margin=margin,
        accuracy=float(right.mean()),
        reranked=float(gate.mean()),
        better=int((right & ~paper).sum()),
        worse=int((~right & paper).sum()),
    )


def lead(logits: ArrayLike, scale: float) -> NDArray[np.float64]:
    """softmax(scale * o), the largest minus the second largest: o [N, C] -> [N]; 1 for a single class."""
    o = np.asarray(logits, np.float64)
    if o.shape[1] == 1:
        return np.ones(len(o))
    powers = np.exp(scale * (o - o.max(axis=1, keepdims=True)))
    best = np.partition(powers, -2, axis=1)[:, -2:]
    return np.asarray((best[:, 1] - best[:, 0]) / powers.sum(axis=1))
