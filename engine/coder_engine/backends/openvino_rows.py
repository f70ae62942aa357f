"""Cut a transformer's tokens where OpenVINO would leave threads waiting; what is computed stays the same.

oneDNN deals the rows of a product to threads in blocks of 64. ViT-B/16 has 197 tokens: three blocks and five rows,
which take as long as a fourth block, since whoever has them then waits for the others. Here all that goes row by row,
products with weights and what lies between them, is done for the first 192 rows and for the last 5 apart; attention,
which mixes rows, gets them back together. docs/benchmarks.md has what that gains.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from coder_engine.machine.cpus import fast_bf16

BLOCK = 64
"""Rows that a thread takes at once."""
FEW = 8
"""The most rows past whole blocks that are cut off; more of them fill a block well enough."""
THREADS = range(2, 9)
"""How many threads it pays with: one waits for nobody, and many get no fewer blocks each by one block less."""

_ROW_BY_ROW = frozenset(
    {"Add", "Convert", "Divide", "Erf", "FakeQuantize", "Gelu", "MVN", "MatMul", "Multiply", "Relu", "Sigmoid"}
    | {"Subtract", "Swish", "Tanh"}
)
_ROWS = 1
"""The axis of rows in [B, rows, columns]."""

_Key = tuple[str, int]


def pays(precision: str, threads: int, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether cutting is known to make single images faster: in bf16 (int8 files, too) by AVX512_BF16.

    fp32 is dealt otherwise, and loses some 3 % by it. With AMX it has not been measured.
    """
    return precision == "bf16" and threads in THREADS and fast_bf16(cpuinfo) == "AVX512_BF16"


def cut_rows(model: Any) -> int:
    """Cut the rows in ``model`` (an ``openvino.Model``, changed in place), where few are left past whole blocks.

    Returns:
        How many products were cut.
    """
    cutting = _Cutting()
    products = sum(cutting.visit(node) for node in model.get_ordered_ops())
    model.validate_nodes_and_infer_types()
    return products


class _Cutting:
    """What has become of the outputs of one model, whose nodes are visited inputs first."""

    def __init__(self) -> None:
        self._weights: set[str] = set()  # names of the nodes that no input of the model reaches
        self._parts: dict[_Key, list[Any]] = {}  # outputs as two, computed so or cut
        self._computed: set[_Key] = set()  # those that are only there as two
        self._whole: dict[_Key, Any] = {}  # the same, joined

    def visit(self, node: Any) -> bool:
        """Cut ``node``, or give it whole inputs; whether it is a product that was cut."""
        kind, sources = node.get_type_name(), node.input_values()
        if kind != "Parameter" and all(self._is_weight(source) for source in sources):
            self._weights.add(node.get_name())
            return False
        product = bool(kind == "MatMul")
        if (product or any(_key(source) in self._computed for source in sources)) and self._goes_row_by_row(node):
            self._cut(node)
            return product
        for taken in node.inputs():
            if _key(taken.get_source_output()) in self._computed:
                taken.replace_source_output(self._joined(taken.get_source_output()))
        return False

    def _is_weight(self, output: Any) -> bool:
        return output.get_node().get_name() in self._weights

    def _goes_row_by_row(self, node: Any) -> bool:
        """Whether each row of its output takes weights and the same row of its inputs, and there are rows to cut."""
        kind, sources = node.get_type_name(), node.input_values()
        if kind not in _ROW_BY_ROW or not (rows := _rows_to_cut(node.output(0))):
            return False
        if kind == "MatMul":
            matrix = self._is_weight(sources[1]) and len(sources[1].get_partial_shape()) == 2
            return matrix and not node.get_attributes()["transpose_a"] and _rows_to_cut(sources[0]) == rows
        if kind == "MVN":
            return _numbers(sources[1]) in ([2], [-1]) and _rows_to_cut(sources[0]) == rows
        return all(
            _same_for_all_rows(source) if self._is_weight(source) else _rows_to_cut(source) == rows
            for source in sources
        )

    def _cut(self, node: Any) -> None:
        attributes, sources, output = node.get_attributes(), node.input_values(), node.output(0)
        if node.get_type_name() == "MatMul" and not attributes["transpose_b"]:
            sources[1], attributes["transpose_b"] = self._transposed(sources[1]), True
        both = [[item] * 2 if self._is_weight(item) else self._in_parts(item) for item in sources]
        opset = node.get_type_info().version_id
        made = [_new(node.get_type_name(), [item[part] for item in both], attributes, opset) for part in (0, 1)]
        self._parts[_key(output)] = [part.output(0) for part in made]
        self._computed.add(_key(output))

    def _transposed(self, weight: Any) -> Any:
        """[K, N] weights as [N, K], once for both products, which then share what OpenVINO lays out of them.

        It transposes weights itself, but for each product anew. The two reshapes keep it from seeing this one, which
        it would make part of the products and so undo.
        """
        before, after = list(weight.get_shape()), list(weight.get_shape())[::-1]
        column = _new("Reshape", [weight, _constant([*before, 1])], {"special_zero": False})
        turned = _new("Transpose", [column.output(0), _constant([1, 0, 2])], {})
        made = _new("Reshape", [turned.output(0), _constant(after)], {"special_zero": False})
        self._weights.add(made.get_name())
        return made.output(0)

    def _in_parts(self, output: Any) -> list[Any]:
        if _key(output) not in self._parts:
            rows = _rows_to_cut(output)
            lengths = _constant([rows - rows % BLOCK, rows % BLOCK])
            self._parts[_key(output)] = _new("VariadicSplit", [output, _constant(_ROWS), lengths], {}).outputs()
        return self._parts[_key(output)]

    def _joined(self, output: Any) -> Any:
        if _key(output) not in self._whole:
            self._whole[_key(output)] = _new("Concat", self._parts[_key(output)], {"axis": _ROWS}).output(0)
        return self._whole[_key(output)]


def _key(output: Any) -> _Key:
    return output.get_node().get_name(), output.get_index()


def _rows_to_cut(output: Any) -> int:
    """Rows of an output [B, rows, columns] that has a few past whole blocks, else 0."""
    shape = output.get_partial_shape()
    if shape.rank.is_dynamic or shape.rank.get_length() != 3 or shape[_ROWS].is_dynamic:
        return 0
    rows = int(shape[_ROWS].get_length())
    return rows if rows > BLOCK and 0 < rows % BLOCK <= FEW else 0


def _same_for_all_rows(weight: Any) -> bool:
    shape = weight.get_partial_shape()
    return bool(shape.is_static and (len(shape) < 2 or shape[len(shape) - 2] == 1))


def _numbers(output: Any) -> list[int]:
    """A constant's numbers, or those of a range of constants, which the ONNX reader makes of axes; else none."""
    node = output.get_node()
    if node.get_type_name() == "Constant":
        return [int(number) for number in node.data.reshape(-1)]
    ends = [_numbers(source) for source in node.input_values()] if node.get_type_name() == "Range" else []
    return list(range(*(end[0] for end in ends))) if ends and all(ends) else []


def _constant(value: int | list[int]) -> Any:
    from openvino.op import Constant

    return Constant(np.array(value, np.int64)).output(0)


def _new(kind: str, sources: list[Any], attributes: dict[str, Any], opset: str = "opset1") -> Any:
    return _factory(opset).create(kind, sources, attributes)


@functools.cache
def _factory(opset: str) -> Any:
    from openvino.utils.node_factory import NodeFactory

    return NodeFactory(opset)
