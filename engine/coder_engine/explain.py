"""Why an image got its label: what stage 1 said, and which duels decided the rerank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coder_engine.head import Ranking


@dataclass(frozen=True, kw_only=True)
class Duel:
    """``gap`` = score of ``label`` minus score of ``other`` by their one-to-one texts (Eq. 14); above 0."""

    label: str
    other: str
    gap: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The ranking of one image, taken apart. ``str()`` tells it in words.

    Attributes:
        stage_one: (label, o of Eq. 8, its probability) of the candidates, best first by stage 1.
        duels: every duel with a winner, the widest gap first.
        sums: (label, S of Eq. 15) in the final order; the parts of S are the signed gaps of ``duels``.
        reranked: whether stage 2 ran.
    """

    stage_one: tuple[tuple[str, float, float], ...]
    duels: tuple[Duel, ...]
    sums: tuple[tuple[str, float], ...]
    reranked: bool

    @property
    def label(self) -> str:
        """The answer."""
        return self.sums[0][0]

    def __str__(self) -> str:
        said = ", ".join(f"{label} {o:.4f} ({score:.0%})" for label, o, score in self.stage_one)
        lines = [f"stage 1 said {said}"]
        if not self.reranked:
            return "\n".join([*lines, f"no rerank; the answer is {self.label}"])
        lines += [f"  {duel.label} beats {duel.other} by {duel.gap:.4f}" for duel in self.duels]
        lines.append("sums of gaps: " + ", ".join(f"{label} {total:+.4f}" for label, total in self.sums))
        first = self.stage_one[0][0]
        verdict = "keeps" if first == self.label else f"goes from {first} to"
        return "\n".join([*lines, f"the rerank {verdict} {self.label}"])


def explain(ranking: Ranking, row: int, labels: Sequence[str]) -> Explanation:
    """Take apart row ``row`` of a ranking."""
    k = ranking.gaps.shape[1]
    names = [labels[i] for i in ranking.ids[row, :k]]
    logits = ranking.logits[row, ranking.ids[row, :k]]
    before = np.lexsort((ranking.ids[row, :k], -logits))
    gaps = ranking.duels[row]
    duels = [
        Duel(label=names[i], other=names[j], gap=float(gaps[i, j]))
        for i in range(k)
        for j in range(k)
        if gaps[i, j] > 0
    ]
    return Explanation(
        stage_one=tuple((names[i], float(logits[i]), float(ranking.scores[row, i])) for i in before),
        duels=tuple(sorted(duels, key=lambda duel: -duel.gap)),
        sums=tuple(zip(names, map(float, ranking.gaps[row]), strict=True)),
        reranked=bool(ranking.reranked[row]),
    )
