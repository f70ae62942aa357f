"""After stage 7: engine and weight file to one ONNX graph that gives classes, for languages without ``coder_engine``.

Input: ``pixels`` uint8 [B, H, W, 3], resized and cropped as ``coder.preprocess`` in the metadata says. Outputs, best
class first, k = min(5, C):

    ids     int64   [B, k]  the candidates, reranked
    scores  float32 [B, k]  their stage-1 probabilities, softmax(logit scale * o / temperature)
    gaps    float32 [B, k]  their S of Eq. 15; 0 where the image was not reranked

The graph is the engine's own, with the frozen texts as initializers and the head of ``kernels/include/coder/head.h``
behind it, in standard operators. Ties fall as there: TopK promises the lower index first, which is the lower class id
in stage 1 and the better stage-1 rank in stage 2. Margin and temperature are the weight file's as it is at export. A
graph cannot raise: where ``Engine`` reports a feature that is not finite, this one gives NaN scores.

Metadata, all strings: ``coder.standalone`` (version of this interface), ``coder.labels`` (JSON list in id order),
``coder.preprocess`` (JSON, see ``coder_engine.preprocess``), ``coder.model``, ``coder.pretrained``, ``coder.tower``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from coder_engine.errors import WeightsError
from coder_engine.files import put
from coder_engine.head import CANDIDATES
from coder_engine.weights import Weights, load_weights
from coder_export.onnx_model import save_graph
from coder_export.report import Report
from coder_export.standalone_check import compare
from coder_export.standalone_head import Builder, append_head

VERSION = "1"


def export_standalone(engine: Path, weights: Path, path: Path, pixels: NDArray[np.uint8], report: Report) -> None:
    """Write the standalone graph of ``engine`` and ``weights`` to ``path``, if it answers as they do.

    Args:
        pixels: photographs for that comparison, uint8 [8, H, W, 3].

    Raises:
        WeightsError: the weight file is damaged, of another image tower, or has a few-shot adapter.
        EngineError: ONNX Runtime cannot load the graph on the CPU, or it cannot be written.
        ModelError: the graph answers otherwise; nothing is then written.
    """
    loaded = load_weights(weights)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        with report.stage("standalone graph"):
            files = save_graph(build_standalone(onnx.load(engine), loaded), Path(folder) / path.name)
            near = compare(files[0], engine, loaded, pixels)
        ties = f", but for near ties in {near}" if near else ""
        report.say(f"standalone graph against Engine: the same answers on {len(pixels)} photographs{ties}")
        # Reversed: a graph is never there without its data.
        report.wrote(*[put(file, path.with_name(file.name)) for file in reversed(files)])


def build_standalone(engine: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """The standalone graph of an engine's graph and a weight file of the same image tower.

    ``engine`` becomes the result: large models do not fit into memory twice.

    Raises:
        WeightsError: the weight file is of another image tower, or has a few-shot adapter.
    """
    if weights.adapter_keys is not None:
        raise WeightsError(
            f"{weights.path}: has a few-shot adapter, by which Engine ranks and a standalone graph cannot; "
            "export the labels anew without one"
        )
    meta = weights.meta
    props = {item.key: item.value for item in engine.metadata_props}
    if props.get("coder.tower") != meta.tower:
        raise WeightsError(
            f"{weights.path} (from {meta.model}, {meta.pretrained}) and the engine come from different image towers; "
            "export the labels with the model of the engine"
        )
    graph = engine.graph
    kept = [item for item in graph.input if item.name == "pixels"]
    del graph.input[:], graph.output[:]
    graph.input.extend(kept)
    append_head(Builder(graph), weights)
    batch, k = kept[0].type.tensor_type.shape.dim[0].dim_param, min(CANDIDATES, len(meta.labels))
    for name, kind in (("ids", TensorProto.INT64), ("scores", TensorProto.FLOAT), ("gaps", TensorProto.FLOAT)):
        graph.output.append(helper.make_tensor_value_info(name, kind, [batch, k]))
    facts = {
        "coder.standalone": VERSION,
        "coder.labels": json.dumps(meta.labels, ensure_ascii=False),
        "coder.preprocess": json.dumps(dict(meta.preprocess), sort_keys=True),
        "coder.model": meta.model,
        "coder.pretrained": meta.pretrained,
        "coder.tower": meta.tower,
    }
    del engine.metadata_props[:]
    helper.set_model_props(engine, facts)
    return engine
