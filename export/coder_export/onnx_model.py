"""Stage 5 of the pipeline: image tower and bank matmul to one ONNX graph.

Inputs: ``pixels`` uint8 [B, H, W, 3], resized and cropped, and ``bank`` float32 [C + R, D]. Outputs: ``features``
float32 [B, D], unit length, and ``coder`` float32 [B, C + R]. B and C + R are dynamic: labels can be swapped without
touching the graph. Scaling, mean and std are part of the graph.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import onnx
import torch

from coder_engine.errors import EngineError, ModelError
from coder_engine.machine.available import first_line
from coder_export.attention import rewritten
from coder_export.engine_graph import EngineGraph
from coder_export.fused import drop_unused_outputs, fused
from coder_export.hub import quiet

OPSET = 18
"""LayerNormalization is one operator from 17 on, so that fp16 backends can keep it in fp32; 18 is what torch writes."""

_EXTERNAL_BYTES = 1_800_000_000
"""Weights past protobuf's 2 GB go to a file of their own, beside the graph; this leaves room for the graph."""


def export_onnx(graph: EngineGraph, path: Path, *, width: int, tower: str, cuda: bool = False) -> list[Path]:
    """Write ``graph`` to ``path``; returns the files written (weights past 2 GB get a file of their own).

    Args:
        width: D of the model.
        tower: the image tower's sha256, kept in the file's metadata.
        cuda: in ONNX Runtime's own operators, for its CUDA provider, which only ONNX Runtime reads.

    Raises:
        ModelError: torch cannot write the tower as ONNX.
        EngineError: the file cannot be written.
    """
    # Either is what the fidelity check holds against ``graph``, which is the tower as open_clip has it.
    model = _traced(graph, fused(graph) if cuda else rewritten(graph), width)
    _strip(model)
    drop_unused_outputs(model)
    onnx.helper.set_model_props(
        model, {"coder.format": "1", "coder.tower": tower, **({"coder.runtime": "cuda"} if cuda else {})}
    )
    return save_graph(model, path)


def _traced(graph: EngineGraph, written: torch.nn.Module, width: int) -> onnx.ModelProto:
    batch, rows = torch.export.Dim("batch"), torch.export.Dim("rows")
    # Traced at B = 2: a dimension of 1 would be taken for a constant.
    example = (torch.zeros(2, *graph.size, 3, dtype=torch.uint8), torch.zeros(3, width))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet():
            warnings.simplefilter("ignore")  # the exporter warns of its internals; the fidelity check judges the result
            program = torch.onnx.export(
                written,
                example,
                dynamo=True,
                input_names=["pixels", "bank"],
                output_names=["features", "coder"],
                dynamic_shapes={"pixels": {0: batch}, "bank": {0: rows}},
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as err:  # the exporter's own, and what a tower of another kind raises within it
        why = first_line(err.__cause__ if isinstance(err.__cause__, Exception) else err)
        raise ModelError(
            f"{graph.name}: its image tower cannot be written as ONNX ({why}); choose another --model"
        ) from err
    assert program is not None  # what dynamo=True gives
    return program.model_proto


def save_graph(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Write a graph; returns the files written: weights past protobuf's 2 GB go to a file of their own.

    Raises:
        EngineError: it cannot be written.
    """
    data = path.with_name(path.name + ".data")
    try:
        if sum(len(item.raw_data) for item in model.graph.initializer) <= _EXTERNAL_BYTES:
            onnx.save_model(model, path)
            return [path]
        onnx.save_model(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
        return [path, data]
    except OSError as err:
        # A scratch folder, gone when this is read, stands for the one it lies in.
        folder = path.parent.parent if path.parent.name.startswith(".") else path.parent
        why = err.strerror or err
        raise EngineError(
            f"{folder / path.name}: cannot be written ({why}); free space or choose another --out"
        ) from err


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes (source paths and stack traces of this machine): equal models give equal files."""
    graph = model.graph
    for item in [graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]:
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
        item.doc_string = ""
