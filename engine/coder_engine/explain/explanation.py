"""An explanation: the numbers of one image's ranking as sums of parts, as data, as JSON and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from coder_engine.explain.words import tell


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one text adds to a number.

    Attributes:
        kind: ``name``, ``synonym``, ``attribute``, ``analogous`` or ``pair``.
        text: the sentence as the text tower read it; empty where the weight file does not keep it.
        cosine: x.t.
        share: what the number has of it: x.t / (m_j + 1) of o, plus or minus x.t / n of a gap.
    """

    kind: str
    text: str
    cosine: float
    share: float


@dataclass(frozen=True, kw_only=True)
class ClassParts:
    """o of Eq. 8 of one class, taken apart: ``o`` is the sum of the shares of ``parts``, plus ``rest``.

    Attributes:
        label: the class.
        o: as the ranking has it.
        kinds: (kind, how many texts, their share of ``o``); of the names only one counts, the one that won the maximum.
            ``texts`` is the kind of all attribute and analogous texts, where the weight file does not keep them apart.
        parts: that name first, then the texts that add most, the strongest first.
        rest: what the texts that are not listed add, and rounding.
    """

    label: str
    o: float
    kinds: tuple[tuple[str, int, float], ...]
    parts: tuple[Part, ...]
    rest: float


@dataclass(frozen=True, kw_only=True)
class Duel:
    """``gap`` = score of ``label`` minus score of ``other`` by their one-to-one texts (Eq. 14); above 0.

    Attributes:
        parts: the strongest texts of ``label`` against ``other``, with positive shares where cosines are.
        other_parts: the strongest of ``other`` against ``label``, whose shares are taken off.
        rest: ``gap`` less all shares listed: the texts that are not, and the rounding of stored rows.
    """

    label: str
    other: str
    gap: float
    parts: tuple[Part, ...] = ()
    other_parts: tuple[Part, ...] = ()
    rest: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The ranking of one image, taken apart. ``str()`` tells it in words, 76 columns wide.

    Attributes:
        stage_one: (label, o of Eq. 8, its score) of the candidates, best first by stage 1.
        classes: o of the answer, of the runner-up, and of stage 1's first where that is another.
        duels: every duel with a winner, the widest gap first.
        sums: (label, S of Eq. 15) in the final order; the parts of S are the signed gaps of ``duels``.
        reranked: whether stage 2 ran.
        no_rerank: why it did not; empty where it did.
        hint: how to get an explanation that says more; empty where this says all.
        note: what else decided, where something did.
    """

    stage_one: tuple[tuple[str, float, float], ...]
    classes: tuple[ClassParts, ...]
    duels: tuple[Duel, ...]
    sums: tuple[tuple[str, float], ...]
    reranked: bool
    no_rerank: str = ""
    hint: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """The answer."""
        return self.sums[0][0]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ``explanation`` of ``coder-infer --explain --format jsonl``; empty remarks are left out."""
        remarks = {name: getattr(self, name) for name in ("no_rerank", "hint", "note")}
        return {
            "label": self.label,
            "reranked": self.reranked,
            "stage_one": [{"label": label, "o": o, "score": score} for label, o, score in self.stage_one],
            "classes": [_class_json(one) for one in self.classes],
            "duels": [asdict(duel) for duel in self.duels],
            "sums": [{"label": label, "gap": total} for label, total in self.sums],
            **{name: text for name, text in remarks.items() if text},
        }

    def __str__(self) -> str:
        return tell(self)


def _class_json(one: ClassParts) -> dict[str, Any]:
    kinds = [{"kind": kind, "texts": count, "share": share} for kind, count, share in one.kinds]
    return {**asdict(one), "kinds": kinds}
