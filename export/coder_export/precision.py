"""Typed copies of an engine graph: fp16 or bf16 where the time goes, fp32 where the accuracy is lost.

TensorRT from 11 on takes a graph's types as they stand, so precision is decided here. The rules:

- matrix products and convolutions run in the low type;
- LayerNormalization, Softmax, reductions, powers and all that touches the bank run in fp32, and so does what ONNX does
  not define for the low type at the graph's opset (Conv in bf16: a ViT has one);
- ONNX Runtime's own operators run low; those of attention and LayerNormalization sum in fp32;
- every other operator stays low while all of its activations are low, and goes to fp32 where one of them is fp32.

So the residual stream, which begins with a LayerNormalization, stays in fp32 throughout (but within such operators), as
do the final norm and the bank matmul; pixels are scaled in fp32. Inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from coder_export.fused import DOMAIN as FUSED

PRECISION_KEY = "coder.precision"
"""In the file's metadata; a file without it is fp32."""

LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""The low precisions by name."""

_NUMPY: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
_LARGE = 1 << 16
"""Bytes of a weight that no shape depends on."""
_FAST = {"Conv", "Gemm", "MatMul"}
_EXACT = {
    "LayerNormalization", "Softmax", "LogSoftmax", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow",
    "Sqrt", "Exp", "Range",
}  # fmt: skip


def typed_copy(model: onnx.ModelProto, precision: str, *, emulate: bool = False) -> onnx.ModelProto:
    """A copy of an engine graph in ``precision``, with the same inputs and outputs.

    Args:
        model: fp32, as ``export_onnx`` wrote it.
        precision: a name of ``LOW``.
        emulate: round every low tensor to ``precision`` but compute and keep it in fp32, as units that accumulate in
            fp32 do: for runtimes that lack the type, to measure what it would cost in accuracy.

    Raises:
        ValueError: no such precision.
    """
    if precision not in LOW:
        raise ValueError(f"precision must be one of {', '.join(LOW)}, got {precision!r}")
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = onnx.shape_inference.infer_shapes(_skeleton(found)).graph
    types = {item.name: item.type.tensor_type.elem_type for item in (*graph.value_info, *graph.input, *graph.output)}
    types.update({item.name: item.data_type for item in graph.initializer})
    caster = _Caster(
        low=LOW[precision], opset=_opset(found), emulate=emulate, types=types, weights=_weights(found.graph)
    )
    outputs = {item.name for item in found.graph.output}
    nodes = list(found.graph.node)
    del found.graph.node[:]
    for node in nodes:
        found.graph.node.extend(caster.place(node, outputs))
    used = {name for node in found.graph.node for name in node.input}
    kept = [item for item in (*found.graph.initializer, *caster.made) if item.name in used]
    del found.graph.initializer[:]
    found.graph.initializer.extend(kept)
    del found.graph.value_info[:]  # types have changed
    if not emulate:
        mark(found, precision)
    onnx.checker.check_model(_skeleton(found), full_check=True)
    return found


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large weights as inputs: what checks it serialises it, which no weights past 2 GB survive."""
    graph = model.graph
    large = [item for item in graph.initializer if len(item.raw_data) > _LARGE]
    inputs = [helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in large]
    names = {item.name for item in large}
    bare = helper.make_graph(
        graph.node,
        graph.name,
        [*graph.input, *inputs],
        graph.output,
        [item for item in graph.initializer if item.name not in names],
        value_info=graph.value_info,
    )
    return helper.make_model(bare, opset_imports=model.opset_import, ir_version=model.ir_version)


def mark(model: onnx.ModelProto, precision: str) -> None:
    """Record the precision in the graph's own metadata, where the run side looks for it."""
    props = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(model, {**props, PRECISION_KEY: precision})


def _weights(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    return {item.name: item for item in graph.initializer if item.data_type == TensorProto.FLOAT}


def _opset(model: onnx.ModelProto) -> int:
    return next(int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx"))


@cache
def _defined(op_type: str, opset: int, low: int) -> bool:
    """Whether ONNX has an operator for a type."""
    schema = onnx.defs.get_schema(op_type, opset)
    wanted = "tensor(float16)" if low == TensorProto.FLOAT16 else "tensor(bfloat16)"
    allowed = {group.type_param_str: group.allowed_type_strs for group in schema.type_constraints}
    return all(
        wanted in allowed[item.type_str]
        for item in (*schema.inputs, *schema.outputs)
        if item.type_str in allowed and "tensor(float)" in allowed[item.type_str]
    )


@dataclass(kw_only=True)
class _Caster:
    """Places nodes one after the other, with the casts between types.

    Attributes:
        low: the low type.
        types: element type by tensor name, as in the fp32 graph.
        weights: the fp32 initializers.
        made: low copies of those that low nodes read.
        is_low: the tensors that have been placed in the low type.
        of_bank: the tensors that depend on the bank.
    """

    low: int
    opset: int
    emulate: bool
    types: dict[str, int]
    weights: dict[str, TensorProto]
    made: list[TensorProto] = field(default_factory=list)
    is_low: set[str] = field(default_factory=set)
    of_bank: set[str] = field(default_factory=lambda: {"bank"})
    _casts: dict[tuple[str, bool], str] = field(default_factory=dict)

    def place(self, node: onnx.NodeProto, outputs: set[str]) -> Iterator[onnx.NodeProto]:
        """The node itself, with casts before it where its inputs have another type, and after it at the graph's end."""
        if not self.of_bank.isdisjoint(node.input):
            self.of_bank.update(node.output)
        low = self._runs_low(node) and outputs.isdisjoint(node.output)  # the interface is fp32
        inputs = []
        for name in node.input:
            if self.types.get(name) == TensorProto.FLOAT and self._is_low(name) is not low:
                yield from self._cast(name, low)
                name = self._casts[name, low]
            inputs.append(name)
        node.input[:] = inputs
        floats = [name for name in node.output if self.types.get(name) == TensorProto.FLOAT]
        if low and self.emulate:
            yield from self._rounded(node, floats)
        else:
            yield node
        if low:
            self.is_low.update(floats)

    def _runs_low(self, node: onnx.NodeProto) -> bool:
        if not self.of_bank.isdisjoint(node.output) or node.op_type in _EXACT:
            return False
        if node.domain == FUSED:
            return True
        if not _defined(node.op_type, self.opset, self.low):
            return False
        if node.op_type in _FAST:
            return True
        activations = [
            name for name in node.input if self.types.get(name) == TensorProto.FLOAT and name not in self.weights
        ]
        return bool(activations) and all(name in self.is_low for name in activations)

    def _is_low(self, name: str) -> bool:
        return name in self.is_low

    def _cast(self, name: str, low: bool) -> Iterator[onnx.NodeProto]:
        """Make ``name`` known in the other type: weights are converted here and now, activations by nodes."""
        if (name, low) in self._casts:
            return
        other = self._casts[name, low] = f"{name}.{'low' if low else 'fp32'}"
        if name in self.weights and low:
            self.made.append(self._converted(self.weights[name], other))
        elif low and self.emulate:
            yield from self._round(name, other)
        elif self.emulate:
            self._casts[name, low] = name  # it is fp32 already, with fewer digits
        else:
            to = self.low if low else TensorProto.FLOAT
            yield helper.make_node("Cast", [name], [other], name=f"cast.{other}", to=to)

    def _converted(self, weight: TensorProto, name: str) -> TensorProto:
        low = numpy_helper.to_array(weight).astype(_NUMPY[self.low])
        return numpy_helper.from_array(low.astype(np.float32) if self.emulate else low, name)

    def _rounded(self, node: onnx.NodeProto, floats: list[str]) -> Iterator[onnx.NodeProto]:
        names = list(node.output)
        node.output[:] = [f"{name}.exact" if name in floats else name for name in names]
        yield node
        for name in floats:
            yield from self._round(f"{name}.exact", name)

    def _round(self, name: str, rounded: str) -> Iterator[onnx.NodeProto]:
        between = f"{rounded}.rounded"
        yield helper.make_node("Cast", [name], [between], name=f"cast.{between}", to=self.low)
        yield helper.make_node("Cast", [between], [rounded], name=f"cast.{rounded}", to=TensorProto.FLOAT)
