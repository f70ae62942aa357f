"""The head of the standalone graph: ``kernels/include/coder/head.h`` in standard ONNX operators."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from coder_engine.head import CANDIDATES
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import Weights

Indices = NDArray[np.int64]


class Builder:
    """Appends nodes and initializers to a graph under names of their own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def constant(self, array: NDArray[Any] | np.generic, name: str | None = None) -> str:
        name = name or self._fresh("constant")
        # Filled in place: appending a tensor serialises it, which protobuf refuses past 2 GB.
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        little = np.asarray(array, array.dtype.newbyteorder("<"))
        self._graph.initializer.add(name=name, data_type=kind, dims=array.shape, raw_data=little.tobytes())
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or self._fresh(kind)
        self._graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def top(self, values: str, k: int) -> tuple[str, str]:
        """The k largest of each row and their places: values [B, n] -> [B, k] both, ties by lower place."""
        names = [self._fresh("TopValues"), self._fresh("TopPlaces")]
        count = self.constant(np.array([k]))
        self._graph.node.append(helper.make_node("TopK", [values, count], names, axis=1, largest=1, sorted=1))
        return names[0], names[1]

    def pick(self, values: str, columns: Sequence[int] | Indices) -> str:
        """Columns of values [B, n]; the result's shape is [B, *columns.shape]."""
        return self.node("Gather", values, self.constant(np.asarray(columns, np.int64)), axis=1)

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"head.{what}.{self._count}"


def append_head(to: Builder, weights: Weights) -> None:
    """Both stages behind the engine's outputs ``features`` [B, D] and ``coder`` [B, C + R], with the frozen texts.

    Names follow the kernels: logits [B, C] -> candidates [B, k] -> duels -> S -> ids, scores, gaps; k = min(5, C).
    """
    logits = _stage_one(to, weights)
    k = min(CANDIDATES, len(weights.meta.labels))
    best, candidates = to.top(logits, k)
    leader = to.pick(best, [0])
    # From the leader, as in the kernels: scale * o alone would round away part of what a small difference says.
    behind = to.node("Sub", logits, leader)
    powers, total = _softmax(to, behind, weights.meta.logit_scale / weights.meta.temperature)
    probabilities = to.node("Div", to.node("GatherElements", powers, candidates, axis=1), total)
    if weights.pair_rows is None or k == 1:
        to.node("Identity", candidates, output="ids")
        to.node("Identity", probabilities, output="scores")
        to.node("Sub", best, best, output="gaps")
        return
    sums = _sums(to, _gaps(to, weights, candidates, k), k)
    if weights.meta.margin is not None:
        sums = to.node("Where", _gate(to, weights.meta, best, behind), sums, to.constant(np.float32(0)))
    gaps, places = to.top(sums, k)
    to.node("Identity", gaps, output="gaps")
    to.node("GatherElements", candidates, places, axis=1, output="ids")
    to.node("GatherElements", probabilities, places, axis=1, output="scores")


def _stage_one(to: Builder, weights: Weights) -> str:
    """o_j = x.q_j + w_j * max over the names n of j of x.n (Eq. 8): the engine's own matmul with the bank [B, C].

    Equal rows of the bank become one row. A matmul may round equal columns differently, and a tie must stay one.
    """
    classes = len(weights.meta.labels)
    rows, places = np.unique(weights.bank, axis=0, return_inverse=True)
    places = places.reshape(-1)
    to.constant(rows, "bank")  # what was an input of the engine
    names = _best_names(to, places[classes:], weights.name_offsets.astype(np.int64))
    weighted = to.node("Mul", names, to.constant(weights.name_weight[None]))
    return to.node("Add", to.pick("coder", places[:classes]), weighted)


def _best_names(to: Builder, places: Indices, offsets: Indices) -> str:
    """The segment max: for each class the largest cosine of its names [B, C].

    Classes are taken together by the power of two that holds their names, the last name repeated to fill it: a few
    operators, and less than twice the reads, however unequal the classes are.
    """
    counts = np.diff(offsets)
    widths = np.array([1 << int(count - 1).bit_length() for count in counts])
    parts, order = [], []
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        filled = np.minimum(np.arange(width), counts[members, None] - 1)
        cosines = to.pick("coder", places[offsets[members, None] + filled])
        parts.append(to.node("ReduceMax", cosines, to.constant(np.array([2])), keepdims=0))
        order.extend(members.tolist())
    return to.pick(to.node("Concat", *parts, axis=1), np.argsort(order))


def _gaps(to: Builder, weights: Weights, candidates: str, k: int) -> str:
    """gap_ab = x.g_ab of every two candidates, of the better over the worse in stage 1: [B, k (k - 1) / 2]."""
    first, second = (to.pick(candidates, side) for side in zip(*combinations(range(k), 2), strict=True))
    low, high = to.node("Min", first, second), to.node("Max", first, second)
    rows, row = _pair_rows(to, weights, low, high)
    halves = to.node("Gather", rows, row, axis=0)
    wide = to.node("Cast", halves, to=TensorProto.FLOAT)  # float16 is how rows are stored, not how they are multiplied
    products = to.node("Mul", wide, to.node("Unsqueeze", "features", to.constant(np.array([1]))))
    dots = to.node("ReduceSum", products, to.constant(np.array([2])), keepdims=0)
    return to.node("Where", to.node("Less", first, second), dots, to.node("Neg", dots))


def _pair_rows(to: Builder, weights: Weights, low: str, high: str) -> tuple[str, str]:
    """The pair rows as an initializer, and which of them holds each pair low < high."""
    assert weights.pair_rows is not None
    classes = np.arange(len(weights.meta.labels), dtype=np.int64)
    if weights.pair_starts is None or weights.pair_others is None:
        # Dense: (a, b) is row a (2C - a - 1) / 2 + (b - a - 1).
        before = classes * (2 * len(classes) - classes - 1) // 2 - classes - 1
        row = to.node("Add", to.node("Gather", to.constant(before), low), high)
        return to.constant(weights.pair_rows), row
    lower = np.repeat(classes, np.diff(weights.pair_starts))
    keys = lower * len(classes) + weights.pair_others
    key = to.node("Add", to.node("Mul", low, to.constant(np.int64(len(classes)))), high)
    nothing = np.zeros((1, weights.width), np.float16)  # what a missing pair contributes
    return to.constant(np.concatenate([weights.pair_rows, nothing])), _search(to, keys, key)


def _search(to: Builder, keys: Indices, key: str) -> str:
    """Where each of ``key`` stands in the ascending ``keys``; their number where it does not.

    A binary search, unrolled: some 4 log2 P small operators, where a table of all pairs would take 4 C^2 bytes.
    """
    steps = len(keys).bit_length()
    table = np.full((1 << steps) + 1, np.iinfo(np.int64).max)
    table[0] = -1
    table[1 : len(keys) + 1] = keys
    sorted_keys = to.constant(table)
    below = to.node("Mul", key, to.constant(np.int64(0)))  # how many keys are known to be less
    for bit in reversed(range(steps)):
        further = to.node("Add", below, to.constant(np.int64(1 << bit)))
        less = to.node("Less", to.node("Gather", sorted_keys, further), key)
        below = to.node("Where", less, further, below)
    at = to.node("Gather", sorted_keys, to.node("Add", below, to.constant(np.int64(1))))
    return to.node("Where", to.node("Equal", at, key), below, to.constant(np.int64(len(keys))))


def _sums(to: Builder, gaps: str, k: int) -> str:
    """S_c = sum of the gaps of c over the other candidates (Eq. 15): [B, k (k - 1) / 2] -> [B, k].

    Added one opponent after the other for all candidates alike, so that equal gaps give equal sums.
    """
    either = to.node("Concat", gaps, to.node("Neg", gaps), axis=1)
    place = {pair: i for i, pair in enumerate(combinations(range(k), 2))}
    ways = {**place, **{(b, a): i + len(place) for (a, b), i in place.items()}}
    turns = [[ways[i, [j for j in range(k) if j != i][turn]] for i in range(k)] for turn in range(k - 1)]
    return to.node("Sum", *(to.pick(either, turn) for turn in turns))


def _softmax(to: Builder, behind: str, scale: float) -> tuple[str, str]:
    """exp(scale * (o - best o)) and its sum over the classes: [B, C] -> [B, C], [B, 1]."""
    powers = to.node("Exp", to.node("Mul", behind, to.constant(np.array(scale, np.float32))))
    return powers, to.node("ReduceSum", powers, to.constant(np.array([1])), keepdims=1)


def _gate(to: Builder, meta: Metadata, best: str, behind: str) -> str:
    """Whether softmax(scale * o) top-1 minus top-2 is less than the margin: bool [B, 1], in float64 as in the kernels.

    Without the temperature, as there.
    """
    _, total = _softmax(to, behind, meta.logit_scale)
    lead = to.node("Cast", to.node("Sub", to.pick(best, [1]), to.pick(best, [0])), to=TensorProto.DOUBLE)
    second = to.node("Exp", to.node("Mul", lead, to.constant(np.float64(meta.logit_scale))))
    over = to.node("Sub", to.constant(np.float64(1)), second)
    difference = to.node("Div", over, to.node("Cast", total, to=TensorProto.DOUBLE))
    return to.node("Less", difference, to.constant(np.float64(meta.margin)))
