"""Running a plan: what one thread holds for it, and one batch size's buffers and CUDA graph within that.

A context is not to be shared between threads, and a captured graph is bound to its context and its buffers. So a worker
has a stream of its own and, for each batch size it has met, a context, buffers and a graph. The memory for what is
between the layers, the largest part, is one block a profile: a worker runs one batch at a time.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.available import first_line
from coder_engine.backends.buckets import bucket_of
from coder_engine.backends.cuda_memory import Cuda, DeviceMemory, Graph, Mirrored, OutOfDeviceMemory, Stream
from coder_engine.errors import BackendError
from coder_engine.plans.library import Log, exclusive

_NO_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "alloc_failed")


@dataclass(frozen=True, kw_only=True)
class OpenPlan:
    """A plan in GPU memory, shared by all workers.

    Attributes:
        engine: the library's ICudaEngine.
        size: (H, W) of the pixels.
        width: D of the features.
        max_batch: the largest B of the second profile.
    """

    trt: ModuleType
    cuda: Cuda
    log: Log
    engine: Any
    size: tuple[int, int]
    width: int
    max_batch: int

    def context(self) -> Any:
        """A context that is given its memory.

        Raises:
            OutOfDeviceMemory, BackendError: the library makes none.
        """
        with exclusive():
            return self._context()

    def _context(self) -> Any:
        managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        specialize = getattr(self.trt, "DynamicShapesKernelSpecializationStrategy", None)
        if specialize is None:
            return self.checked(self.engine.create_execution_context(managed), "make a context")
        # RTX compiles kernels when it meets a shape; in the background by default, which no graph would ever hold.
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(managed)
        config.dynamic_shapes_kernel_specialization_strategy = specialize.EAGER
        return self.checked(self.engine.create_execution_context(config), "make a context")

    def checked(self, result: Any, what: str) -> Any:
        """The result of a call that tells by None or False that it failed, and by the log why."""
        if result is None or result is False:
            said = self.log.take()
            if any(sign in said.lower() for sign in _NO_MEMORY):
                raise OutOfDeviceMemory(said)
            raise BackendError(f"{self.trt.__name__} {self.trt.__version__} does not {what} ({said})")
        return result


class Tail(Protocol):
    """What is asked of the stream after the encoder.

    Attributes:
        key: tails of equal keys share a graph. It is kept longer than the tail and must hold nothing of it.
    """

    @property
    def key(self) -> Hashable: ...

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        """``features`` float32 [bucket, D] are on the GPU by then; nothing may be allocated."""


class Download:
    """The features themselves, to the host."""

    key = "features"

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        features.download(stream)


GRAPHS = 2
"""Kept a batch size: of the features alone, and of one way to rank."""


class BatchRun:
    """A plan at one batch size: the first run with a tail is plain, which warms up; those after it launch the graph.

    Attributes:
        features: float32 [bucket, D].
        fault: why a run could not be recorded last; None where all could, or before the first run.
    """

    def __init__(self, plan: OpenPlan, stream: Stream, scratch: DeviceMemory, *, profile: int, bucket: int) -> None:
        self._plan, self._stream, self._bucket = plan, stream, bucket
        self._graphs: dict[Hashable, Graph | None] = {}  # the longest unused first; None could not be recorded
        self.fault: str | None = None
        with ExitStack() as owned:
            self._context = plan.context()
            self._pixels = Mirrored(plan.cuda, (bucket, *plan.size, 3), np.uint8)
            owned.callback(self._pixels.close)
            self.features = Mirrored(plan.cuda, (bucket, plan.width), np.float32)
            owned.callback(self.features.close)
            # The graph of the engine has a bank of any number of rows; here one of zeros, see Backend._no_bank.
            bank, coder = (DeviceMemory(plan.cuda, 4 * count) for count in (plan.width, bucket))
            owned.callback(bank.close)
            owned.callback(coder.close)
            self._bind(scratch, profile, bank, coder)
            self._owned = owned.pop_all()

    def run(self, pixels: NDArray[np.uint8], tail: Tail) -> None:
        """Encode up to ``bucket`` images, then do what ``tail`` says; ends when all of it is done.

        What the buffers hold beyond the images is run along, and means nothing.
        """
        self._pixels.host[: len(pixels)] = pixels
        key = tail.key
        known = key in self._graphs
        graph = self._graphs.get(key)
        if graph is not None:
            graph.launch()
        else:
            self._enqueue(tail)
        self._stream.wait()
        self._graphs[key] = self._graphs.pop(key) if known else self._captured(tail)
        self._drop_graphs(GRAPHS)

    def close(self) -> None:
        self._stream.settle()
        self._drop_graphs(0)
        self._context = None
        self._owned.close()

    def _bind(self, scratch: DeviceMemory, profile: int, bank: DeviceMemory, coder: DeviceMemory) -> None:
        plan, context, stream = self._plan, self._context, self._stream
        plan.checked(context.set_optimization_profile_async(profile, stream.handle), f"take profile {profile}")
        context.set_device_memory(scratch.address, scratch.size)
        shapes = {"pixels": (self._bucket, *plan.size, 3), "bank": (1, plan.width)}
        for name, shape in shapes.items():
            plan.checked(context.set_input_shape(name, shape), f"take {name} {list(shape)}")
        addresses = {
            "pixels": self._pixels.address,
            "bank": bank.address,
            "features": self.features.address,
            "coder": coder.address,
        }
        for name, address in addresses.items():
            plan.checked(context.set_tensor_address(name, address), f"take the address of {name}")
        bank.zero(stream)
        stream.wait()

    def _enqueue(self, tail: Tail) -> None:
        self._pixels.upload(self._stream)
        self._plan.checked(self._context.execute_async_v3(self._stream.handle), "run the plan")
        tail.enqueue(self.features, self._bucket, self._stream)

    def _captured(self, tail: Tail) -> Graph | None:
        """The run, recorded. Where the library cannot be recorded, runs stay plain, which is slower and as right."""
        capturable = getattr(self._context, "is_stream_capturable", None)  # RTX knows before it is tried
        if capturable is not None and not capturable(self._stream.handle):
            self.fault = "the library says that this plan cannot be captured"
            return None
        try:
            return Graph(self._plan.cuda, self._stream, lambda: self._enqueue(tail))
        except BackendError as err:
            self.fault = first_line(err)
            return None

    def _drop_graphs(self, kept: int) -> None:
        while len(self._graphs) > kept:
            graph = self._graphs.pop(next(iter(self._graphs)))
            if graph is not None:
                graph.close()


class Worker:
    """A stream, memory, and a :class:`BatchRun` for each batch size met so far; for one thread at a time.

    All of it is freed by :meth:`close`, or when nobody holds the worker any more; what a failed device does not free is
    left.

    Attributes:
        beside: what others keep for this worker alone, for as long as they live themselves.

    Raises:
        BackendError: the GPU has not enough memory, or failed.
    """

    def __init__(self, plan: OpenPlan) -> None:
        self.beside: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self._plan = plan
        self._scratch: dict[int, DeviceMemory] = {}
        self._runs: dict[int, BatchRun] = {}
        self._owned = ExitStack()
        self._stream = Stream(plan.cuda)
        self._owned.callback(self._stream.close)
        self._end = weakref.finalize(self, self._owned.close)
        self._end.atexit = False  # the process gives all of it back

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [B, D] of ``pixels`` uint8 [B, H, W, 3], B from 1 to the plan's ``max_batch``."""
        run = self.run(pixels, Download())
        features: NDArray[np.float32] = run.features.host[: len(pixels)].copy()
        return features

    def run(self, pixels: NDArray[np.uint8], tail: Tail) -> BatchRun:
        """Run ``pixels`` at the next batch size that has a graph; ``tail`` is as in :meth:`BatchRun.run`."""
        run = self._run_of(bucket_of(len(pixels), self._plan.max_batch))
        run.run(pixels, tail)
        return run

    def close(self) -> None:
        self._runs.clear()
        self._end()

    def _run_of(self, bucket: int) -> BatchRun:
        if bucket not in self._runs:
            profile = 0 if bucket == 1 else 1
            if profile not in self._scratch:
                size = self._plan.engine.get_device_memory_size_for_profile_v2(profile)
                self._scratch[profile] = DeviceMemory(self._plan.cuda, size)
                self._owned.callback(self._scratch[profile].close)
            run = BatchRun(self._plan, self._stream, self._scratch[profile], profile=profile, bucket=bucket)
            self._owned.callback(run.close)
            self._runs[bucket] = run
        return self._runs[bucket]
