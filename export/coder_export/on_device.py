"""Stage 7 of the pipeline, where the engine will run: what its runtimes on this machine compute, beside torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coder_engine.backends import Backend, Unavailable, open_backend
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.errors import BackendError, CoderError, EngineError, ModelError
from coder_engine.machine.cpus import usable_cpus
from coder_engine.weightfile.metadata import Metadata
from coder_export.config import ExportConfig
from coder_export.engine_graph import EngineGraph
from coder_export.gate import LEAST_COSINE
from coder_export.report import Report
from coder_export.verify import BATCHES


def check_on_cpu(
    engine: Path, precision: str, graph: EngineGraph, pixels: NDArray[np.uint8], report: Report
) -> dict[str, Any] | None:
    """Run an engine in OpenVINO, which computes it in bf16 where that is fast, beside torch; a bad one is warned of.

    Args:
        engine: an .onnx in ``precision``.
        pixels: uint8 [8, H, W, 3].

    Returns:
        The smallest cosine and what ran it; None where OpenVINO is not installed, or fails.
    """
    instead = "--precision fp32" if precision == "fp32" else "--backend onnxruntime"
    try:
        OpenVinoCpu.require()
        backend = OpenVinoCpu(engine, threads=usable_cpus())
        cosine = _least_cosine(backend, graph, pixels)
        backend.close()
    except Unavailable:
        return None
    except CoderError as err:
        report.warn(
            f"OpenVINO, which comes first on CPUs, does not run it ({err}); give coder-infer --backend onnxruntime"
        )
        return None
    if cosine < LEAST_COSINE["bf16"]:
        report.warn(
            f"OpenVINO, which comes first on CPUs, gives features with a cosine of only {cosine:.6f} with torch's "
            f"({backend.description}), good is {LEAST_COSINE['bf16']}; give coder-infer {instead}"
        )
    else:
        report.say(f"torch against OpenVINO: cosine >= {cosine:.6f} ({backend.description})")
    return {"cosine": cosine, "by": backend.description}


def check_on_gpu(
    config: ExportConfig,
    engine: Path,
    meta: Metadata,
    precision: str,
    graph: EngineGraph,
    pixels: NDArray[np.uint8],
    report: Report,
) -> dict[str, Any] | None:
    """Run what is for GPUs beside torch; gives the smallest cosine and what ran it, None where it cannot run here.

    Args:
        engine: a plan, or the .onnx of ``--format cuda``, in ``precision``.
        meta: of the weight file to be, with the plan's record.
        pixels: uint8 [8, H, W, 3].

    Raises:
        ModelError: the cosine is below ``min_cosine``, or what its precision may cost.
    """
    what, not_here = ("plan", (BackendError, EngineError)) if config.format == "plan" else ("engine", (BackendError,))
    try:
        backend = open_backend(engine, threads=usable_cpus(), device="cuda", meta=meta)
    except not_here as err:
        report.say(f"the {what} was built, but not run: {err.short if isinstance(err, Unavailable) else err}")
        return None
    cosine = _least_cosine(backend, graph, pixels)
    backend.close()
    wanted = config.min_cosine or LEAST_COSINE[precision]
    if not cosine >= wanted:
        raise ModelError(
            f"the {what} does not compute what torch does: cosine {cosine:.6f}, wanted at least {wanted} "
            f"(--min-cosine); give another --precision ({backend.description})"
        )
    report.say(f"torch against the {what}: cosine >= {cosine:.6f} ({backend.description})")
    return {"cosine": cosine, "by": backend.description}


def _least_cosine(backend: Backend, graph: EngineGraph, pixels: NDArray[np.uint8]) -> float:
    """Smallest cosine between torch's feature of an image and a backend's, at every batch size of ``BATCHES``."""
    with torch.inference_mode():
        wanted = graph(torch.from_numpy(pixels), torch.zeros(1, backend.width))[0].numpy()
    return min(float((wanted[:count] * backend.encode(pixels[:count])).sum(axis=1).min()) for count in BATCHES)
