"""Running a plan: what one thread holds for it, and one batch size's buffers and CUDA graph within that.

A context is not to be shared between threads, and a captured graph is bound to its context and its buffers. So a worker
has a stream of its own and, for each batch size it has met, a context, buffers and a graph. The memory for what is
between the layers, the largest part, is one block a profile: a worker runs one batch at a time.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.buckets import bucket_of
from coder_engine.backends.cuda_graphs import Replays
from coder_engine.backends.cuda_memory import (
    Cuda,
    DeviceMemory,
    Mirrored,
    Stream,
    alone,
    beside_captures,
    naming_the_batch,
    on_first_gpu,
)
from coder_engine.backends.cuda_tail import Download, Tail
from coder_engine.backends.pool import Pool
from coder_engine.backends.tensorrt_plan import OpenPlan


class BatchRun:
    """A plan at one batch size: the first run with a tail is plain, which warms up; those after it launch the graph.

    Attributes:
        features: float32 [bucket, D].
        replays: the graphs.
    """

    def __init__(
        self, plan: OpenPlan, context: Any, stream: Stream, scratch: DeviceMemory, *, profile: int, bucket: int
    ) -> None:
        self._plan, self._context, self._stream, self._bucket = plan, context, stream, bucket
        self.replays = Replays(plan.cuda, stream)
        with ExitStack() as owned:
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
        if tail.key not in self.replays:
            self._run_and_record(tail)
            return
        if not self.replays.launch(tail.key):
            self._enqueue(tail)
        self._stream.wait()

    def close(self) -> None:
        self._stream.settle()
        self.replays.close()
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

    def _run_and_record(self, tail: Tail) -> None:
        capturable = getattr(self._context, "is_stream_capturable", None)  # RTX knows before it is tried
        with alone:
            self._enqueue(tail)
            self._stream.wait()
            if capturable is not None and not capturable(self._stream.handle):
                self.replays.give_up(tail.key, "the library says that this plan cannot be captured")
            else:
                self.replays.record(tail.key, lambda: self._enqueue(tail))


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
        with alone:
            self._stream = Stream(plan.cuda)
        self._owned.callback(self._stream.close)
        self._end = weakref.finalize(self, _freed, plan.cuda, self._owned)
        self._end.atexit = False  # the process gives all of it back

    @property
    def max_batch(self) -> int:
        return self._plan.max_batch

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
        with alone:  # as freeing breaks captures, too
            self._runs.clear()
            self._end()

    def _run_of(self, bucket: int) -> BatchRun:
        if bucket not in self._runs:
            context = self._plan.context()
            with alone:
                self._runs[bucket] = self._made(context, bucket)
        return self._runs[bucket]

    def _made(self, context: Any, bucket: int) -> BatchRun:
        profile = 0 if bucket == 1 else 1
        if profile not in self._scratch:
            size = self._plan.engine.get_device_memory_size_for_profile_v2(profile)
            self._scratch[profile] = DeviceMemory(self._plan.cuda, size)
            self._owned.callback(self._scratch[profile].close)
        run = BatchRun(self._plan, context, self._stream, self._scratch[profile], profile=profile, bucket=bucket)
        self._owned.callback(run.close)
        return run


def _freed(cuda: Cuda, owned: ExitStack) -> None:
    with beside_captures(cuda):
        owned.close()


@contextmanager
def borrowed(plan: OpenPlan, workers: Pool[Worker], *, images: int) -> Iterator[Worker]:
    """A worker for this thread, which is on the plan's GPU meanwhile.

    Raises:
        BackendError: the GPU has not enough memory for as many images as are run at once.
    """
    with naming_the_batch(min(images, plan.max_batch)), on_first_gpu(plan.cuda), workers.borrow() as worker:
        yield worker
