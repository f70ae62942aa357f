"""The kernels' inputs, collapsed from the same texts that the oracle reads one by one.

A second derivation, from the algebra (the sums of Eq. 8 and Eq. 13 are linear in x), in float64, which shares
no code with the exporter or the oracle. Only the last step rounds, to float32 and, for pair rows, to float16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Half = NDArray[np.float16]
PairTexts = Mapping[tuple[int, int], Array]  # (a, b) -> [K1, D], the texts of a against b


@dataclass(frozen=True, kw_only=True)
class Collapsed:
    """Arguments of ``_kernels.Head``, in its order: C classes, R name rows, P pairs, D width."""

    bank: NDArray[np.float32]  # [C + R, D]
    name_offsets: NDArray[np.int32]  # [C + 1]
    name_weight: NDArray[np.float32]  # [C]
    pair_rows: Half | None  # [P, D]
    pair_starts: NDArray[np.int64] | None  # [C + 1]
    pair_others: NDArray[np.int32] | None  # [P]

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of ``_kernels.Head``."""
        pairs = (self.pair_rows, self.pair_starts, self.pair_others)
        return (self.bank, self.name_offsets, self.name_weight, *pairs)


def collapse(
    class_texts: Sequence[Mapping[str, Array]],
    pairs: PairTexts,
    layout: str,
) -> Collapsed:
    """C classes' texts and the ordered pairs' texts -> what the kernels read.

    ``layout`` "none" drops the pairs, "dense" has one row for every a < b (zeros where texts lack on a side),
    "sparse" lists the pairs that have texts on both sides, row by row of the lower class id.
    """
    general, names, weight = zip(*(_collapse_class(texts) for texts in class_texts), strict=True)
    rows, starts, others = _pair_rows(pairs, len(class_texts), general[0].shape[0], layout)
    return Collapsed(
        bank=np.concatenate([np.stack(general), *names]).astype(np.float32),
        name_offsets=np.cumsum([0, *(len(block) for block in names)]).astype(np.int32),
        name_weight=np.array(weight, np.float32),
        pair_rows=rows,
        pair_starts=starts,
        pair_others=others,
    )


def _collapse_class(
    texts: Mapping[str, Array],
) -> tuple[Array, Array, float]:
    """One class's q [D], name rows [n, D] and w."""
    names = np.concatenate([texts["name"], texts["synonym"]])
    described = np.concatenate([texts["attribute"], texts["analogous"]])
    weight = 1.0 / (len(described) + 1)
    return described.sum(axis=0) * weight, names, weight


def _pair_row(pairs: PairTexts, a: int, b: int) -> Array | None:
    """g_ab [D], or None where a side of the pair has no texts."""
    ours, theirs = pairs.get((a, b)), pairs.get((b, a))
    if ours is None or theirs is None or not len(ours) or not len(theirs):
        return None
    return ours.mean(axis=0) - theirs.mean(axis=0)


def _pair_rows(
    pairs: PairTexts, classes: int, width: int, layout: str
) -> tuple[Half | None, NDArray[np.int64] | None, NDArray[np.int32] | None]:
    if layout == "none":
        return None, None, None
    rows: list[Array] = []
    starts, others = [0], []
    for a in range(classes):
        for b in range(a + 1, classes):
            row = _pair_row(pairs, a, b)
            if row is not None or layout == "dense":
                rows.append(np.zeros(width) if row is None else row)
                others.append(b)
        starts.append(len(rows))
    half = np.array(rows, np.float64).reshape(-1, width).astype(np.float16)
    half.setflags(write=False)  # at run time the rows are a read-only mapping of the weight file
    if layout == "dense":
        return half, None, None
    return half, np.array(starts, np.int64), np.array(others, np.int32)


def stored_gaps(x: Array, ids: Sequence[int], collapsed: Collapsed) -> Array:
    """x . float64(fp16 row) for every two of the ids, 0 where no row is stored: x [D], ids [k] -> [k, k]."""
    gaps = np.zeros((len(ids), len(ids)))
    for i, j in combinations(range(len(ids)), 2):
        row = _stored_row(collapsed, min(ids[i], ids[j]), max(ids[i], ids[j]))
        if row is not None:
            gaps[i, j] = (x @ row.astype(np.float64)) * (1 if ids[i] < ids[j] else -1)
            gaps[j, i] = -gaps[i, j]
    return gaps


def _stored_row(collapsed: Collapsed, a: int, b: int) -> Half | None:
    classes = len(collapsed.name_weight)
    if collapsed.pair_rows is None:
        return None
    if collapsed.pair_starts is None or collapsed.pair_others is None:
        return collapsed.pair_rows[a * (2 * classes - a - 1) // 2 + (b - a - 1)]
    for place in range(collapsed.pair_starts[a], collapsed.pair_starts[a + 1]):
        if collapsed.pair_others[place] == b:
            return collapsed.pair_rows[place]
    return None
