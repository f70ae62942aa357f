"""An engine graph to a plan, by TensorRT or TensorRT-RTX on one code path.

A plan is plain, with no prefix of ours, so that trtexec and Triton read it. Precision is what the graph says: networks
are strongly typed, and fp32 is fp32 (no TF32).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from coder_engine.errors import EngineError
from coder_engine.files import replacing, sha256_of
from coder_engine.machine.available import Unavailable
from coder_engine.machine.caches import cache_folder
from coder_engine.machine.cuda_driver import Gpu, first_gpu
from coder_engine.plans.library import Log, exclusive, open_library, title_of
from coder_engine.plans.progress import OnProgress, monitor
from coder_engine.plans.record import SUFFIX, PlanRecord

MAX_BATCH = 64
"""B of the second profile unless somebody asks for another."""

LARGEST_BATCH = 4096
"""More than any GPU gains from, and a bound for slips of the keyboard."""


def build_plan(
    graph: Path,
    plan: Path,
    *,
    precision: str,
    max_batch: int = MAX_BATCH,
    library: str | None = None,
    progress: OnProgress = lambda done, phase: None,
) -> PlanRecord:
    """Build a plan with two profiles: B = 1, and B = 1 to ``max_batch``.

    The bank has one row in both: the head does that matmul in fp32, whatever the plan's precision. TensorRT times its
    kernels on the GPU it builds for, and keeps the times in the user's cache folder for the next build; TensorRT-RTX
    needs no GPU, and its plans run on compute capability 8.0, 8.6, 8.9 and from 12 on.

    Args:
        graph: an engine's .onnx, fp32 or a typed copy.
        plan: the file to write.
        precision: the graph's, for the record.
        library: a name of ``LIBRARIES``; by default the first that is installed.
        progress: called with how much is done, 0 to 1, and the name of the builder's phase.

    Raises:
        Unavailable: no TensorRT, or no GPU for it.
        EngineError: it does not parse the graph or does not build it; the message has its own words.
        OSError: the plan cannot be written.
        ValueError: ``max_batch`` is out of range.
    """
    if not 1 <= max_batch <= LARGEST_BATCH:
        raise ValueError(f"max_batch must be from 1 to {LARGEST_BATCH}, got {max_batch}")
    trt, gpu = find_builder(graph, library)
    with exclusive():
        serialized = _build(trt, gpu, graph, max_batch, progress)
    with replacing(plan) as scratch:
        scratch.write_bytes(memoryview(serialized))
    return PlanRecord(
        library=trt.__name__,
        version=trt.__version__,
        gpu=gpu.name if gpu else None,
        compute_capability=gpu.capability if gpu else None,
        max_batch=max_batch,
        precision=precision,
        onnx_sha256=sha256_of(graph),
    )


def _build(trt: ModuleType, gpu: Gpu | None, graph: Path, max_batch: int, progress: OnProgress) -> Any:
    log = Log(trt)
    builder = trt.Builder(log.logger)
    config = builder.create_builder_config()
    network, _parser = parse(trt, builder, log, graph)
    for profile in profiles(builder, network, graph, max_batch):
        config.add_optimization_profile(profile)
    _set_flags(trt, config)
    watch = config.progress_monitor = monitor(trt, progress)
    with _timing_cache(trt, config, gpu):
        serialized = builder.build_serialized_network(network, config)
        watch.reraise()
        if serialized is None:
            raise EngineError(f"{graph}: {title_of(trt.__name__, trt.__version__)} does not build it ({log.take()})")
    return serialized


def parse(trt: ModuleType, builder: Any, log: Log, graph: Path) -> tuple[Any, Any]:
    """The network of a graph, and the parser, which must outlive it: it owns the weights.

    Raises:
        EngineError: the library does not parse it.
    """
    # TensorRT 10 asks for strong types, 11 and RTX know nothing else.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(graph)):
        faults = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)) or log.take()
        library = title_of(trt.__name__, trt.__version__)
        raise EngineError(f"{graph}: {library} does not parse it ({faults[:500]})")
    return network, parser


def find_builder(graph: Path, library: str | None = None) -> tuple[ModuleType, Gpu | None]:
    """What would build a plan of ``graph`` here, and the GPU it would be for; None for RTX, which builds for all.

    Raises:
        Unavailable: no TensorRT, or no GPU for it.
    """
    trt = open_library(library)
    if trt.__name__ != "tensorrt":
        return trt, None
    try:
        return trt, first_gpu()
    except Unavailable as err:
        weights, plan = (graph.with_suffix(suffix).name for suffix in (".safetensors", SUFFIX))
        raise Unavailable(
            err.short,
            f"TensorRT builds plans on the GPU they are for ({err}). Export without --format plan, copy {graph.name} "
            f"and {weights} to that machine, and there: coder-infer IMAGES --engine {plan} --rebuild",
        ) from err


def profiles(builder: Any, network: Any, graph: Path, max_batch: int) -> list[Any]:
    """For B = 1 alone, and for B = 1 to ``max_batch``.

    Raises:
        EngineError: the network has other inputs than ours.
    """
    inputs = {network.get_input(i).name: tuple(network.get_input(i).shape) for i in range(network.num_inputs)}
    if set(inputs) != {"pixels", "bank"}:
        raise EngineError(
            f"{graph}: not an engine of coder-export (inputs {sorted(inputs)}, wanted pixels and bank); "
            "make one with coder-export"
        )
    picture, row = inputs["pixels"][1:], (1, inputs["bank"][1])
    made = []
    for batches in ((1, 1, 1), (1, min(8, max_batch), max_batch)):
        profile = builder.create_optimization_profile()
        profile.set_shape("pixels", *((batch, *picture) for batch in batches))
        profile.set_shape("bank", row, row, row)
        made.append(profile)
    return made


def _set_flags(trt: ModuleType, config: Any) -> None:
    config.clear_flag(trt.BuilderFlag.TF32)  # else fp32 would keep 10 bits of mantissa
    # RTX: all memory is given by the caller, without which a run cannot be captured into a CUDA graph.
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


@contextlib.contextmanager
def _timing_cache(trt: ModuleType, config: Any, gpu: Gpu | None) -> Iterator[None]:
    """What kernels took in earlier builds with this version on this GPU, read before and renewed after a build.

    For TensorRT only: RTX times nothing while it builds.
    """
    folder = None if gpu is None else cache_folder("tensorrt")
    if gpu is None or folder is None:
        yield
        return
    known = folder / f"{trt.__version__}-{gpu.capability}-{gpu.name.replace(' ', '-').replace('/', '-')}.timing"
    content = b""
    with contextlib.suppress(OSError):
        content = known.read_bytes()
    # A file that is damaged or of another version gives no cache; an empty one always does.
    cache = config.create_timing_cache(content) or config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    with contextlib.suppress(OSError), replacing(known) as scratch:  # the next build measures again
        scratch.write_bytes(memoryview(config.get_timing_cache().serialize()))
