"""Which classes may stand as "similar to": none that, by name or in CLIP's text space, is another class of the set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coder_export.generate.similarity import TextSpace
from coder_export.labels import spoken_names
from coder_export.matching import bare_name, normal_name


@dataclass(kw_only=True)
class AnalogueFilter:
    """Sorts proposed analogues into kept and dropped.

    Attributes:
        labels: the C class names.
        synonyms: by class id, other names of the class.
        space: CLIP's text space; None judges by names alone.
        threshold: the cosine of two names above which they mean one thing.
    """

    labels: tuple[str, ...]
    synonyms: Sequence[Sequence[str]]
    space: TextSpace | None
    threshold: float
    _owner: dict[str, int] = field(init=False, default_factory=dict)
    _cosines: dict[str, NDArray[np.float32]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = [
            (name, i)
            for i, (label, others) in enumerate(zip(self.labels, self.synonyms, strict=True))
            for name in (label, *others)
        ]
        for key in (normal_name, bare_name):  # as written first: "glass" is its own class beside "glasses"
            for name, i in names:
                self._owner.setdefault(key(name), i)

    def sort(self, proposals: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[dict[str, str]]]:
        """By class id, the proposals that may stay, and those that may not with the reason.

        Args:
            proposals: by class id, names.
        """
        self._embed({name for names in proposals for name in names})
        kept: list[list[str]] = []
        dropped: list[dict[str, str]] = []
        for i, names in enumerate(proposals):
            reasons = {name: self._by_name(i, name) or self._by_space(i, name) for name in names}
            kept.append([name for name, reason in reasons.items() if reason is None])
            dropped.append({name: reason for name, reason in reasons.items() if reason is not None})
        return kept, dropped

    def _by_name(self, label_id: int, name: str) -> str | None:
        owner = self._owner.get(normal_name(name), self._owner.get(bare_name(name)))
        if owner is None:
            return None
        return (
            "another name of the class itself" if owner == label_id else f"a name of the class {self.labels[owner]!r}"
        )

    def _by_space(self, label_id: int, name: str) -> str | None:
        if self.space is None:
            return None
        cosines = self._cosines[name].copy()
        cosines[label_id] = -1.0  # near to its own class it should be
        nearest = int(cosines.argmax())
        if cosines[nearest] <= self.threshold:
            return None
        return f"as near as {cosines[nearest]:.3f} to the class {self.labels[nearest]!r}"

    def _embed(self, names: Iterable[str]) -> None:
        """Cosines of new names with every class; each name is encoded once."""
        new = sorted(set(names) - set(self._cosines))
        if self.space is not None and new:
            self._cosines.update(zip(new, self.space.between(new, spoken_names(self.labels)), strict=True))
