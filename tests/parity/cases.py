"""Label sets for the parity tests: texts of each kind, pairs and switches, drawn by Hypothesis.

Hypothesis draws shapes and switches, which shrink well; a seeded generator fills in the coordinates. There
are two kinds of number:

``unit``  random directions, as features are in practice. Sums round, so ids may differ from the oracle's at
          near ties.

``grid``  coordinates in {-1, -1/2, 0, 1/2, 1}, m_j + 1 and the counts of one-to-one texts powers of two.
          Then q rows are multiples of 1/16, pair rows of 1/8 and at most 2 in size, logits and gaps multiples
          of 1/32, at most 2^9: float16 holds every row and float32 every sum exactly, in whatever order they
          are added. Ties are real ties, and the kernels must agree with the oracle to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import hypothesis.strategies as st
import numpy as np
from numpy.typing import NDArray

from reference import unit

Array = NDArray[np.float64]
Rows = Callable[[np.random.Generator, int, int], Array]  # (generator, n, D) -> [n, D]

WIDTHS = (1, 3, 8, 16, 17, 64)  # below, at and past the vector lengths of every instruction set
PAIRS = ("all", "none", "sparse", "one-sided")
MARGINS = (-1.0, 0.0, 0.05, 0.3, 2.0, float("inf"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """B images against C classes; ``places`` is n, the number of ids asked for, k <= n <= C."""

    features: NDArray[np.float32]  # [B, D]
    class_texts: list[dict[str, Array]]  # C times kind -> [n, D]
    pairs: dict[tuple[int, int], Array]  # (a, b) -> [K1, D]
    layout: str = "sparse"
    threads: int = 1
    scale: float = 100.0
    temperature: float = 1.0
    margin: float = -1.0
    rerank: bool = True
    places: int


def unit_rows(rng: np.random.Generator, count: int, width: int) -> Array:
    """Random directions [count, width]."""
    return unit(rng.standard_normal((count, width))) if count else np.empty((0, width))


def grid_rows(rng: np.random.Generator, count: int, width: int) -> Array:
    """Small dyadic coordinates [count, width], mostly 0, so that equal sums are common."""
    values = rng.choice([-1.0, -0.5, 0.5, 1.0], (count, width))
    return values * (rng.random((count, width)) < rng.choice([0.1, 0.3, 1.0]))


def kinds(rng: np.random.Generator, rows: Rows, width: int, *, dyadic: bool) -> dict[str, Array]:
    """One class's texts: a name, 0..3 synonyms, and attribute and analogous texts."""
    if dyadic:
        described = int(rng.choice([0, 1, 3, 7]))
        attribute = int(rng.integers(max(0, described - 3), min(4, described) + 1))
        analogous = described - attribute
    else:
        attribute, analogous = int(rng.integers(0, 5)), int(rng.integers(0, 4))
    counts = {"name": 1, "attribute": attribute, "analogous": analogous, "synonym": int(rng.integers(0, 4))}
    return {kind: rows(rng, count, width) for kind, count in counts.items()}


def one_to_one(
    rng: np.random.Generator, rows: Rows, classes: int, width: int, mode: str
) -> dict[tuple[int, int], Array]:
    """The pairs' texts: ``all``, ``none``, a ``sparse`` third, or ``one-sided``, where most lack a side."""
    counts = (1, 2, 4) if rows is grid_rows else (1, 2, 3)
    pairs: dict[tuple[int, int], Array] = {}
    for a, b in combinations(range(classes), 2):
        if mode == "none" or (mode == "sparse" and rng.random() < 2 / 3):
            continue
        sides = {(a, b): int(rng.choice(counts)), (b, a): int(rng.choice(counts))}
        if mode == "one-sided" and rng.random() < 2 / 3:
            sides[(a, b) if rng.random() < 0.5 else (b, a)] = 0
        for key, count in sides.items():
            if count or rng.random() < 0.5:  # no texts: no entry, or an empty one
                pairs[key] = rows(rng, count, width)
    return pairs


@st.composite
def cases(draw: st.DrawFn, *, dyadic: bool) -> Case:
    """A whole case; ``dyadic`` chooses the grid numbers, where classes are also often copies of others."""
    classes, width = draw(st.integers(1, 12)), draw(st.sampled_from(WIDTHS))
    mode = draw(st.sampled_from(PAIRS))
    layout = draw(st.sampled_from(("sparse", "dense", "none") if mode == "none" else ("sparse", "dense")))
    copies = draw(st.booleans()) and dyadic
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = grid_rows if dyadic else unit_rows
    texts = [kinds(rng, rows, width, dyadic=dyadic) for _ in range(classes)]
    if copies:
        texts = [texts[int(rng.integers(0, 1 + j // 2))] for j in range(classes)]
    return Case(
        features=rows(rng, draw(st.integers(0, 9)), width).astype(np.float32),
        class_texts=texts,
        pairs=one_to_one(rng, rows, classes, width, mode),
        layout=layout,
        threads=draw(st.integers(1, 3)),
        scale=draw(st.sampled_from((100.0, 14.0, 1.0))),
        temperature=draw(st.sampled_from((1.0, 1.0, 0.8, 1.7, 5.0))),
        margin=draw(st.sampled_from(MARGINS)),
        rerank=draw(st.sampled_from((True, True, True, False))),
        places=draw(st.integers(min(5, classes), classes)),
    )


def grid_case(classes: int, images: int, mode: str, seed: int, **changes: object) -> Case:
    """A grid case of width 8 without Hypothesis, all ids asked for."""
    rng = np.random.default_rng(seed)
    case = Case(
        features=grid_rows(rng, images, 8).astype(np.float32),
        class_texts=[kinds(rng, grid_rows, 8, dyadic=True) for _ in range(classes)],
        pairs=one_to_one(rng, grid_rows, classes, 8, mode),
        places=classes,
    )
    return replace(case, **changes)
