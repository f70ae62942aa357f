"""Takes a ranking apart: its own numbers, their parts in float64, and a ``rest`` that closes each sum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from coder_engine.explain.explanation import ClassParts, Duel, Explanation, Part
from coder_engine.explain.kept import Array, Texts, duel_texts, general_texts, name_rows, pair_row
from coder_engine.head import Ranking
from coder_engine.weightfile.general_texts import NAME_KINDS
from coder_engine.weights import Weights

TEXTS = 5
"""Texts listed a class, and a side of a duel."""


def explain(
    weights: Weights,
    features: NDArray[np.float32],
    ranking: Ranking,
    row: int = 0,
    *,
    margin: float | None = None,
    rerank: bool = True,
    texts: int = TEXTS,
    note: str = "",
) -> Explanation:
    """Take apart row ``row`` of a ranking.

    Args:
        weights: what it was ranked by.
        features: float32 [B, D], what was ranked.
        margin, rerank: as they were for the ranking.
        texts: how many to list a class and a side of a duel; the others are in ``rest``.
        note: what else decided, for ``Explanation.note``.
    """
    labels, k = weights.meta.labels, ranking.gaps.shape[1]
    ids = ranking.ids[row, :k].tolist()
    x, logits = features[row].astype(np.float64), ranking.logits[row].tolist()
    before = sorted(ids, key=lambda i: (-logits[i], i))
    told = dict.fromkeys([*ids[:2], before[0]])
    scores = dict(zip(ids, ranking.scores[row].tolist(), strict=False))
    reranked = bool(ranking.reranked[row])
    return Explanation(
        stage_one=tuple((labels[i], logits[i], scores[i]) for i in before),
        classes=tuple(_class_parts(weights, x, i, logits[i], texts) for i in told),
        duels=_duels(weights, x, ids, ranking.duels[row], texts),
        sums=tuple((labels[i], gap) for i, gap in zip(ids, ranking.gaps[row].tolist(), strict=True)),
        reranked=reranked,
        no_rerank="" if reranked else _why_not(weights, ids, ranking.logits[row], margin, rerank),
        hint=_hint(weights),
        note=note,
    )


def _class_parts(weights: Weights, x: Array, label_id: int, o: float, limit: int) -> ClassParts:
    """o_j = sum over t in Q_j of x.t / (m_j + 1) + w_j * max over n in N_j of x.n (Eq. 8)."""
    weight = float(weights.name_weight[label_id])
    names = name_rows(weights, label_id) @ x
    best = int(names.argmax())
    kept = general_texts(weights, label_id)
    if kept is None:
        described = float(weights.bank[label_id].astype(np.float64) @ x)
        name = Part(kind="name", text="", cosine=float(names[best]), share=weight * float(names[best]))
        count = round(1 / weight) - 1
        kinds = [("texts", count, described)] if count else []
        parts = [name]
    else:
        named = [i for i, kind in enumerate(kept.kinds) if kind in NAME_KINDS]
        others = [i for i, kind in enumerate(kept.kinds) if kind not in NAME_KINDS]
        shares = kept.features @ x * weight
        name = _parts(kept, shares, weight, [named[best]])[0]
        kinds = [
            (kind, len(own), float(shares[own].sum()))
            for kind in dict.fromkeys(kept.kinds[i] for i in others)
            if (own := [i for i in others if kept.kinds[i] == kind])
        ]
        parts = [name, *_parts(kept, shares, weight, _strongest(shares, others, limit))]
    return ClassParts(
        label=weights.meta.labels[label_id],
        o=o,
        kinds=(*kinds, (name.kind, len(names), name.share)),
        parts=tuple(parts),
        rest=o - sum(part.share for part in parts),
    )


def _duels(weights: Weights, x: Array, ids: Sequence[int], gaps: NDArray[np.float32], limit: int) -> tuple[Duel, ...]:
    won = [(float(gaps[i, j]), ids[i], ids[j]) for i in range(len(ids)) for j in range(len(ids)) if gaps[i, j] > 0]
    return tuple(_duel(weights, x, *duel, limit) for duel in sorted(won, key=lambda duel: -duel[0]))


def _duel(weights: Weights, x: Array, gap: float, winner: int, loser: int, limit: int) -> Duel:
    """gap = mean over the winner's texts of x.t - mean over the loser's of x.t (Eq. 13-14)."""
    sides: list[list[Part]] = []
    for label_id, other, sign in ((winner, loser, 1.0), (loser, winner, -1.0)):
        kept = duel_texts(weights, label_id, other)
        if kept is None or not len(kept.sentences):
            sides.append([])
            continue
        weight = sign / len(kept.sentences)
        cosines = kept.features @ x
        chosen = _strongest(cosines, range(len(cosines)), limit)
        sides.append(_parts(kept, cosines * weight, weight, chosen))
    return Duel(
        label=weights.meta.labels[winner],
        other=weights.meta.labels[loser],
        gap=gap,
        parts=tuple(sides[0]),
        other_parts=tuple(sides[1]),
        rest=gap - sum(part.share for side in sides for part in side),
    )


def _strongest(values: Array, among: Sequence[int], limit: int) -> list[int]:
    return sorted(among, key=lambda i: -values[i])[:limit]


def _parts(kept: Texts, shares: Array, weight: float, chosen: Sequence[int]) -> list[Part]:
    return [
        Part(kind=kept.kinds[i], text=kept.sentences[i], cosine=float(shares[i]) / weight, share=float(shares[i]))
        for i in chosen
    ]


def _why_not(
    weights: Weights, ids: Sequence[int], logits: NDArray[np.float32], margin: float | None, rerank: bool
) -> str:
    if not rerank:
        return "it is switched off"
    if len(ids) < 2:
        return "one class has no other to duel with"
    if weights.pair_rows is None:
        return "the weight file has no one-to-one texts"
    if all(pair_row(weights, min(pair), max(pair)) is None for pair in combinations(ids, 2)):
        return f"no two of the first {len(ids)} have one-to-one texts"
    if margin is None:
        return "stage 2 was not asked for"
    powers = np.sort(np.exp(weights.meta.logit_scale * (logits.astype(np.float64) - float(logits.max()))))[::-1]
    lead = (powers[0] - powers[1]) / powers.sum()
    before = "" if weights.meta.text_temperature == 1 else " before the temperature"
    return f"stage 1 leads by {lead:.3g}{before}, which is not less than the margin {margin:.3g}"


def _hint(weights: Weights) -> str:
    missing = ["general"] if weights.texts is None else []
    if weights.pair_rows is not None and weights.pair_texts is None:
        missing.append("one-to-one")
    if not missing:
        return ""
    return f"the {' and '.join(missing)} texts are not in the weight file; coder-export --keep-texts keeps them"
