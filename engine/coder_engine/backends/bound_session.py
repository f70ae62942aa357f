"""An ONNX Runtime session on a stream and in memory of ours, so that pixels, features and ranks meet on the GPU.

A CUDA graph replays addresses, so each batch size keeps its tensors: the first run of a size captures its graph, the
next ones launch it. The runtime keeps graphs for each thread that runs it, for ever: so one thread of our own does all
of it, whoever asks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.buckets import bucket_of, chunks
from coder_engine.backends.cuda_memory import (
    Cuda,
    DeviceMemory,
    Mirrored,
    Stream,
    alone,
    first_gpu_current,
    naming_the_batch,
)
from coder_engine.backends.cuda_tail import Download, Tail
from coder_engine.counts import count_of
from coder_engine.errors import BackendError
from coder_engine.machine.available import first_line, no_memory_for

T = TypeVar("T")

MAX_BATCH = 64
"""The most images of one run: each size keeps memory of its own."""

_NO_MEMORY = ("out of memory", "failed to allocate memory", "cuda failure 2:", "alloc_failed")


class BoundSession:
    """See the module.

    Args:
        session: on ``stream``, for good.
        size: (H, W) of the pixels.
        width: D of the features.
        device: ``cuda``, or ``cpu`` to see the same calls on a machine without a GPU.

    Attributes:
        beside: what others keep for this session alone, for as long as they live themselves.

    Raises:
        BackendError: the GPU has no memory for the bank.
    """

    max_batch = MAX_BATCH

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        cuda: Cuda,
        stream: Stream,
        *,
        size: tuple[int, int],
        width: int,
        device: str = "cuda",
    ) -> None:
        self.beside: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self._ort, self._cuda, self._stream, self._device = ort, cuda, stream, device
        self._size, self._width = size, width
        self._graph_ids = count(1)
        self._thread = ThreadPoolExecutor(1, "coder-engine ONNX Runtime")
        self._held = _Held(session, stream)
        self._end = weakref.finalize(self, self._held.close)
        self._end.atexit = False  # the process gives all of it back
        with alone:
            self._bank = self._held.owned.enter_context(closing(DeviceMemory(cuda, 4 * width)))
        self._bank.zero(stream)

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [B, D] of ``pixels`` uint8 [B, H, W, 3] in host memory.

        Raises:
            BackendError: the device has not enough memory, or the runtime failed.
        """
        return self.on_its_thread(len(pixels), lambda: self._encoded(pixels))

    def on_its_thread(self, images: int, work: Callable[[], T]) -> T:
        """The result of ``work``, which may call :meth:`run`, in the one thread that the runtime may see."""

        def alone_on_the_gpu() -> T:
            with naming_the_batch(min(images, self.max_batch)), first_gpu_current(self._cuda), alone:
                return work()

        return self._thread.submit(alone_on_the_gpu).result()

    def run(self, pixels: NDArray[np.uint8], tail: Tail) -> Bound:
        """Encode up to ``max_batch`` images, then what ``tail`` says; ends when all of it is done.

        What the buffers hold beyond the images is run along, and means nothing.
        """
        images = len(pixels)
        bucket = bucket_of(images, self.max_batch)
        bound = self._held.bound.pop(bucket, None) or self._bind(bucket)
        try:
            bound.pixels.host[:images] = pixels
            bound.pixels.upload(self._stream)
            self._run(bound, images)
            tail.enqueue(bound.features, bucket, self._stream)
            self._stream.wait()
        except BaseException:
            self._stream.settle()
            bound.close()
            raise
        self._held.bound[bucket] = bound
        return bound

    def close(self) -> None:
        """Let go of the session and of its memory, once what runs has ended."""
        with alone:  # as freeing breaks captures, too
            self._end()

    def _encoded(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = []
        for part in chunks(pixels, self.max_batch):
            parts.append(self.run(part, Download()).features.host[: len(part)].copy())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, bound: Bound, images: int) -> None:
        try:
            self._held.session.run_with_iobinding(bound.binding, bound.options)
        except Exception as err:  # the runtime raises plain RuntimeErrors and classes of its own
            raise BackendError(_failure(err, images)) from err

    def _bind(self, bucket: int) -> Bound:
        owned = ExitStack()
        try:
            pixels = owned.enter_context(closing(Mirrored(self._cuda, (bucket, *self._size, 3), np.uint8)))
            features = owned.enter_context(closing(Mirrored(self._cuda, (bucket, self._width), np.float32)))
            pixels.host[:] = 0
            binding, options = self._bound_to(pixels, features)
        except BaseException:
            owned.close()
            raise
        return Bound(binding=binding, options=options, pixels=pixels, features=features, owned=owned)

    def _bound_to(self, pixels: Mirrored, features: Mirrored) -> tuple[Any, Any]:
        """The binding and the run options of a batch size."""
        try:
            binding, place = self._held.session.io_binding(), (self._device, 0)
            binding.bind_input("pixels", *place, np.uint8, pixels.host.shape, pixels.address)
            binding.bind_input("bank", *place, np.float32, (1, self._width), self._bank.address)
            binding.bind_output("features", *place, np.float32, features.host.shape, features.address)
            options = self._ort.RunOptions()
            # A new one for new tensors: by that of tensors that were dropped, their graph would run on freed memory.
            options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)))
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # we wait for the stream
        except Exception as err:  # see _run
            raise BackendError(_failure(err, len(pixels.host))) from err
        return binding, options


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One batch size's binding and run options, and its tensors on both sides."""

    binding: Any
    options: Any
    pixels: Mirrored
    features: Mirrored
    owned: ExitStack

    def close(self) -> None:
        self.owned.close()


class _Held:
    """What is freed in this order: bindings and their memory, the session, the bank, the stream it ran on."""

    def __init__(self, session: Any, stream: Stream) -> None:
        self.session = session
        self.bound: dict[int, Bound] = {}
        self.owned = ExitStack()
        self.owned.callback(stream.close)

    def close(self) -> None:
        while self.bound:
            self.bound.popitem()[1].close()
        self.session = None
        self.owned.close()


def out_of_memory(err: Exception) -> bool:
    """Whether the runtime's error means that the device has not enough memory."""
    said = str(err).lower()
    return isinstance(err, MemoryError) or any(sign in said for sign in _NO_MEMORY)


def _failure(err: Exception, count: int) -> str:
    if not out_of_memory(err):
        return f"ONNX Runtime failed on {count_of(count, 'image')} ({first_line(err)}); try a smaller batch"
    return no_memory_for(count, err)
