"""Which pairs of classes are worth one-to-one texts: 1,000 classes have 499,500 of them, few are ever confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]
"""Class ids a < b."""

MANY_CLASSES = 20
"""Up to here every pair gets texts by default (190 pairs); above, each class and its ``DEFAULT_TOP`` nearest."""
DEFAULT_TOP = 8


@dataclass(frozen=True, kw_only=True)
class PairChoice:
    """The ``--pairs`` option: "all", "none", "top:K" or "seen:FOLDER".

    Raises:
        ValueError: the option is none of these.
    """

    how: str
    nearest: int = 0
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> PairChoice:
        how, _, value = text.partition(":")
        if text in ("all", "none"):
            return cls(how=text)
        if how == "top" and value.isdecimal() and int(value) > 0:
            return cls(how=how, nearest=int(value))
        if how == "seen" and value:
            return cls(how=how, folder=Path(value))
        raise ValueError(f"--pairs takes all, none, top:K (K = 1, 2, ...) or seen:FOLDER, got {text!r}")

    @classmethod
    def default(cls, classes: int) -> PairChoice:
        return cls(how="all") if classes <= MANY_CLASSES else cls(how="top", nearest=DEFAULT_TOP)


def all_pairs(classes: int) -> list[Pair]:
    """Every pair, in order."""
    return list(combinations(range(classes), 2))


def nearest_pairs(features: NDArray[np.float32], nearest: int) -> list[Pair]:
    """Each class with its ``nearest`` most similar classes, made symmetric; the most similar pairs first.

    Args:
        features: [C, D], unit length, of the class names.
        nearest: K; more than C - 1 means all.
    """
    cosines = features @ features.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(nearest, len(features) - 1)]
    chosen = {(min(a, int(b)), max(a, int(b))) for a, row in enumerate(order) for b in row}
    return sorted(chosen, key=lambda pair: (-float(cosines[pair]), pair))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The pairs that stage 1 puts among the first five of real images.

    Attributes:
        pairs: most frequent first.
        counts: in how many images each one duels.
        candidates: the distinct sets of candidates, with how many images have them.
    """

    pairs: tuple[Pair, ...]
    counts: tuple[int, ...]
    candidates: Counter[tuple[int, ...]]

    def coverage(self, most: int) -> tuple[float, float]:
        """Shares (of images whose duels all have texts, of duels that have) with texts for the first ``most`` pairs."""
        have = set(self.pairs[:most])
        images = sum(self.candidates.values())
        whole = sum(n for ids, n in self.candidates.items() if have.issuperset(combinations(ids, 2)))
        return whole / max(images, 1), sum(self.counts[:most]) / max(sum(self.counts), 1)

    def table(self) -> list[str]:
        """Lines that say what texts for the most frequent pairs would cover."""
        lines = [f"{'pairs':>9} {'images wholly covered':>22} {'duels covered':>14}"]
        for most in [*takewhile(lambda n: n < len(self.pairs), _steps()), len(self.pairs)]:
            whole, duels = self.coverage(most)
            lines.append(f"{most:>9,} {whole:>22.1%} {duels:>14.1%}")
        return lines


def count_seen(candidates: Iterable[Sequence[int]]) -> Seen:
    """Count the pairs among each image's candidates (class ids, at most five)."""
    sets = Counter(tuple(sorted(int(i) for i in ids)) for ids in candidates)
    counts: Counter[Pair] = Counter()
    for ids, images in sets.items():
        for pair in combinations(ids, 2):
            counts[pair] += images
    order = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return Seen(pairs=tuple(order), counts=tuple(counts[pair] for pair in order), candidates=sets)


def _steps() -> Iterator[int]:
    """10, 20, 50, 100, ..."""
    return (digit * 10**power for power in count(1) for digit in (1, 2, 5))
