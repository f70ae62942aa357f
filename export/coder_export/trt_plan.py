"""Stage 6 of the pipeline, for NVIDIA GPUs: an engine graph to a plan, by TensorRT or TensorRT-RTX on one code path.

A plan is plain, with no prefix of ours, so that trtexec and Triton read it. It runs on the kind of GPU and with the
version it was built for. Precision is what the graph says (strongly typed networks only).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from coder_engine.errors import BackendError, EngineError
from coder_engine.files import replacing

LIBRARIES = ("tensorrt", "tensorrt_rtx")
"""Modules that build plans, the first that is installed is taken."""


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What a plan was built by and for.

    Attributes:
        library: "tensorrt" or "tensorrt_rtx".
        version: of the library; a plan runs with this one only.
        gpu: name and compute capability of the GPU it was built on; None where it was built without one.
        max_batch: the largest B of its second profile; the first is for B = 1.
    """

    library: str
    version: str
    gpu: str | None
    max_batch: int


def open_library(name: str | None = None) -> ModuleType:
    """TensorRT by module name, or the first of ``LIBRARIES`` that is installed.

    Raises:
        BackendError: there is none.
    """
    for candidate in LIBRARIES if name is None else (name,):
        with contextlib.suppress(ImportError):
            return importlib.import_module(candidate)
    wanted = name or " or ".join(LIBRARIES)
    raise BackendError(
        f"{wanted} is not installed; on a machine with an RTX GPU: pip install tensorrt-rtx; on servers: pip install "
        "tensorrt; on a Jetson it comes with JetPack"
    )


def build_plan(
    graph: Path,
    plan: Path,
    *,
    width: int,
    max_batch: int = 64,
    library: str | None = None,
    timing_cache: Path | None = None,
    progress: Callable[[str, int, int], object] = lambda phase, step, steps: None,
) -> PlanFacts:
    """Build a plan with two profiles: B = 1, and B = 1 to ``max_batch``.

    The bank has one row in both: the head's own kernel does that matmul in fp32, whatever the plan's precision.

    Args:
        graph: an engine's .onnx, fp32 or a typed copy.
        plan: the file to write.
        width: D, the bank's width.
        timing_cache: a file of measured kernels, used and renewed: the next build of a like graph is faster. For
            TensorRT only.
        progress: called with (phase, steps done, steps) as the builder goes on.

    Raises:
        BackendError: no TensorRT.
        EngineError: it does not parse the graph or does not build it; the message has its own words.
        ValueError: ``max_batch`` is below 1.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, got {max_batch}")
    trt = open_library(library)
    log = _Log(trt)
    builder = trt.Builder(log.logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(graph)):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"{graph}: {trt.__name__} {trt.__version__} does not parse it ({faults[:500]})")
    config = builder.create_builder_config()
    for batches in ((1, 1, 1), (1, min(8, max_batch), max_batch)):
        config.add_optimization_profile(_profile(builder, network, batches, width))
    config.progress_monitor = _monitor(trt, progress)
    keep = timing_cache if trt.__name__ == "tensorrt" else None  # RTX tunes its kernels at run time
    if keep is not None:
        cache = config.create_timing_cache(keep.read_bytes() if keep.exists() else b"")
        config.set_timing_cache(cache, ignore_mismatch=True)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineError(f"{graph}: {trt.__name__} {trt.__version__} does not build it ({log.worst()})")
    with replacing(plan) as scratch:
        scratch.write_bytes(memoryview(serialized))
    if keep is not None:
        with replacing(keep) as scratch:
            scratch.write_bytes(memoryview(config.get_timing_cache().serialize()))
    return PlanFacts(library=trt.__name__, version=trt.__version__, gpu=_gpu(), max_batch=max_batch)


def _strongly_typed(trt: ModuleType) -> int:
    """The creation flags: TensorRT 10 asks for strong types, 11 and RTX know nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: Any, network: Any, batches: tuple[int, int, int], width: int) -> Any:
    profile = builder.create_optimization_profile()
    inputs = {network.get_input(i).name: network.get_input(i) for i in range(network.num_inputs)}
    picture = tuple(inputs["pixels"].shape)[1:]
    profile.set_shape("pixels", *((batch, *picture) for batch in batches))
    profile.set_shape("bank", (1, width), (1, width), (1, width))
    return profile


class _Log:
    """TensorRT's messages: errors are kept for ours, the rest is dropped."""

    def __init__(self, trt: ModuleType) -> None:
        errors = self.errors = []  # type: list[str]

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    errors.append(message)

        self.logger = Logger()

    def worst(self) -> str:
        return "; ".join(self.errors[-3:])[:500] or "it gave no reason"


def _monitor(trt: ModuleType, progress: Callable[[str, int, int], object]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps
            progress(phase, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, step + 1, self.steps.get(phase, 0))
            return True

        def phase_finish(self, phase: str) -> None:
            progress(phase, self.steps.get(phase, 0), self.steps.get(phase, 0))

    return Monitor()


def _gpu() -> str | None:
    """Name and compute capability of the first GPU, by torch where it sees one."""
    import torch

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} (sm_{major}{minor})"
