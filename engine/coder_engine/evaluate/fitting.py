"""What is fitted on labelled images and stored in the weight file: margin, temperature, threshold for the unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.adapter_head import open_adapter
from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.evaluate.calibration import HIGHEST, LOWEST, calibrate
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.margin import fit_margin
from coder_engine.evaluate.reliability import confidences
from coder_engine.evaluate.threshold import Threshold, choose_threshold
from coder_engine.head import Head
from coder_engine.weights import Weights

_ENOUGH_PASS = 0.9
"""Of the classes' own images: a threshold that stops more of them costs more answers than most would give."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was fitted.

    Attributes:
        changes: for ``update_weights``.
        lines: what it buys, in words.
        notes: what makes it doubtful, in words.
    """

    changes: dict[str, Any]
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


def fit(
    data: Labelled,
    weights: Weights,
    *,
    margin: bool = False,
    temperature: bool = False,
    outside: Labelled | None = None,
    false_accepts: float = 0.05,
    threads: int = 1,
) -> Fitted:
    """Fit what is asked for, in the order in which one rests on the other, on the answers that an Engine would give.

    Args:
        data: labelled images, all of which are fitted on.
        weights: the label set; what it stored of earlier fits is not used for what is fitted now.
        margin, temperature: whether to fit them.
        outside: images of no class, for the threshold; their labels are not used. None fits none.
        false_accepts: the share of them that may be accepted.

    Raises:
        DataError: no temperature is the likeliest, no threshold is high enough, or a margin is asked for where a
            few-shot adapter ranks.
    """
    steps = _Steps(data, weights, threads)
    if margin:
        steps.margin()
    if temperature:
        steps.temperature()
    if outside is not None:
        steps.threshold(outside, false_accepts)
    elif weights.meta.unknown_below is not None:
        steps.void_threshold()
    return Fitted(changes=steps.changes, lines=tuple(steps.lines), notes=tuple(steps.notes))


class _Steps:
    """Each step goes by what those before it have found, else by the weight file."""

    def __init__(self, data: Labelled, weights: Weights, threads: int) -> None:
        self.changes: dict[str, Any] = {}
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._data, self._weights = data, weights
        self._head = Head(weights, threads=threads)
        self._adapter = open_adapter(weights, self._head)
        self._gate, self._t = weights.meta.margin, weights.meta.temperature

    def margin(self) -> None:
        if self._adapter is not None:
            raise DataError(
                f"{self._weights.path}: its few-shot adapter ranks without a rerank, so there is no margin to fit; fit "
                "it on a weight file without an adapter"
            )
        always = self._head.rank(self._data.features)
        scale, truth = self._weights.meta.logit_scale, self._data.labels
        found = fit_margin(always.logits, always.ids[:, 0], truth, scale, data=self._data.digest)
        self._gate = found.best.margin
        none = "no gate is clearly better than reranking every image"
        said = none if self._gate is None else f"gate below {self._gate:g}"
        self.changes |= found.changes()
        self.lines.append(
            f"margin: {said}; {found.best.accuracy:.2%} right with {found.best.reranked:.1%} of the images reranked, "
            f"{found.always.accuracy:.2%} with all of them, on the {found.images:,} images it was chosen on"
        )

    def temperature(self) -> None:
        logits, answers = self._answered(self._data.features)
        found = calibrate(logits, self._data.labels, answers, data=self._data.digest)
        if found.temperature in (LOWEST, HIGHEST):
            raise DataError(self._no_temperature(logits, found.temperature))
        self._t = found.temperature
        self.changes |= found.changes()
        self.lines.append(
            f"temperature {self._t:.3f}: calibration error {found.error_before:.2%} before, {found.error_after:.2%} "
            f"after, on the {found.images:,} images it was fitted on"
        )
        if found.error_after >= found.error_before:
            self.notes.append(
                "the temperature makes the labels likelier, which is how it is fitted, and the calibration error no "
                "smaller: see whether it helps on other images, or fit it on more"
            )

    def _no_temperature(self, logits: NDArray[np.float64], bound: float) -> str:
        """Why the likelihood of the labels rises up to a bound of the temperatures, and what to do."""
        by = "stage 1" if self._adapter is None else "the adapter"
        right, images = int((logits.argmax(axis=1) == self._data.labels).sum()), len(self._data)
        said = (
            f"no temperature can be fitted on {count_of(images, 'image')}, of which {by} has {right:,} right: the "
            f"likelihood of the labels still rises at {bound:g}, the "
        )
        if bound == LOWEST:
            return (
                f"{said}lowest that is tried, with which wrong answers would score 1, too; fit it on harder images, or "
                "more, some of which are answered wrongly"
            )
        return (
            f"{said}highest that is tried: the scores say nothing of the labels; see whether the labels are right "
            "(--by-order takes folders in order), or fit it on other images, or more"
        )

    def void_threshold(self) -> None:
        """Take the stored threshold out where the scores that it was chosen on are others by now."""
        meta = self._weights.meta
        if (self._gate, self._t) != (meta.margin, meta.temperature):
            self.changes |= {"unknown_below": None, "unknown_record": {}}
            self.notes.append(
                "the threshold for the unknown was chosen on other scores and is taken out; --unknown-from chooses one "
                "anew"
            )

    def threshold(self, outside: Labelled, false_accepts: float) -> None:
        inner, strange = (confidences(*self._answered(one.features), self._t) for one in (self._data, outside))
        try:
            found = choose_threshold(inner, strange, false_accepts, data=self._data.digest, data_out=outside.digest)
        except ValueError as err:
            raise DataError(str(err)) from err
        self.changes |= found.changes()
        self.lines.append(
            f"unknown below {found.unknown_below:.4f}: {found.accepted_in:.1%} of {found.images_in:,} images of the "
            f"classes pass, and {found.accepted_out:.1%} of {found.images_out:,} others, on which it was chosen"
        )
        self.notes += _doubts(found)

    def _answered(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Scaled logits [N, C] and final answers [N]."""
        rank = partial(self._head.rank, margin=self._gate) if self._adapter is None else self._adapter.rank
        ranked = rank(features)
        return self._weights.meta.logit_scale * ranked.logits.astype(np.float64), ranked.ids[:, 0]


def _doubts(found: Threshold) -> list[str]:
    """Whether there are too few images for the rate asked for, and whether too little is let through."""
    notes = []
    if 0 < found.false_accepts * found.images_out < 1:
        notes.append(
            f"{count_of(found.images_out, 'image')} of no class cannot show a share of {found.false_accepts:.3g} false "
            f"accepts: {math.ceil(1 / found.false_accepts):,} or more can; none of them passes"
        )
    if found.accepted_in < _ENOUGH_PASS:
        notes.append(
            f"the threshold lets only {found.accepted_in:.1%} of the classes' own images pass, all others become "
            "unknown; allow more with --false-accepts, or see whether images of the classes are among the others"
        )
    return notes
