"""What is fitted on labelled images and stored in the weight file: margin, temperature, threshold for the unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.adapter_head import open_adapter
from coder_engine.errors import DataError
from coder_engine.evaluate.calibration import calibrate, choose_threshold, confidences
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.margin import fit_margin
from coder_engine.head import Head
from coder_engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was fitted.

    Attributes:
        changes: for ``update_weights``.
        lines: what it buys, in words.
    """

    changes: dict[str, Any]
    lines: tuple[str, ...]


def fit(
    data: Labelled,
    weights: Weights,
    *,
    margin: bool = False,
    temperature: bool = False,
    outside: NDArray[np.float32] | None = None,
    false_accepts: float = 0.05,
    threads: int = 1,
) -> Fitted:
    """Fit what is asked for, in the order in which one rests on the other, on the answers that an Engine would give.

    Args:
        data: labelled images, all of which are fitted on.
        weights: the label set; what it stored of earlier fits is not used for what is fitted now.
        margin, temperature: whether to fit them.
        outside: float32 [N, D], features of images of no class, for the threshold; None fits none.
        false_accepts: the share of them that may be accepted.

    Raises:
        DataError: no threshold is high enough, or a margin is asked for where a few-shot adapter ranks.
    """
    head = Head(weights, threads=threads)
    adapter = open_adapter(weights, head)
    if adapter is not None and margin:
        raise DataError(
            f"{weights.path}: its few-shot adapter ranks without a rerank, so there is no margin to fit; fit it on a "
            "weight file without an adapter"
        )
    scale, hashed = weights.meta.logit_scale, data.digest
    changes: dict[str, Any] = {}
    lines: list[str] = []
    gate, t = weights.meta.margin, weights.meta.temperature
    full = head.rank(data.features) if adapter is None else adapter.rank(data.features)
    if margin:
        gated = fit_margin(full.logits, full.ids[:, 0], data.labels, scale, data=hashed)
        changes |= gated.changes()
        gate = gated.best.margin
        said = "no gate is better than reranking every image" if gate is None else f"gate below {gate:g}"
        lines.append(
            f"margin: {said}; {gated.best.accuracy:.2%} right with {gated.best.reranked:.1%} of the images reranked, "
            f"{gated.always.accuracy:.2%} with all of them, on the {gated.images:,} images it was chosen on"
        )
    answers = full.ids[:, 0] if adapter is not None else head.rank(data.features, margin=gate).ids[:, 0]
    logits = scale * full.logits.astype(np.float64)
    if temperature:
        found = calibrate(logits, data.labels, answers, data=hashed)
        changes |= found.changes()
        t = found.temperature
        lines.append(
            f"temperature {t:.3f}: calibration error {found.error_before:.2%} before, {found.error_after:.2%} after, "
            f"on the {found.images:,} images it was fitted on"
        )
    if outside is not None:
        ranked = head.rank(outside, margin=gate) if adapter is None else adapter.rank(outside)
        strange = confidences(scale * ranked.logits.astype(np.float64), ranked.ids[:, 0], t)
        try:
            chosen = choose_threshold(confidences(logits, answers, t), strange, false_accepts, data=hashed)
        except ValueError as err:
            raise DataError(str(err)) from err
        changes |= chosen.changes()
        lines.append(
            f"unknown below {chosen.unknown_below:.4f}: {chosen.accepted_in:.1%} of {chosen.images_in:,} images of the "
            f"classes pass, and {chosen.accepted_out:.1%} of {chosen.images_out:,} others, on which it was chosen"
        )
    return Fitted(changes=changes, lines=tuple(lines))
