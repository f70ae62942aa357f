"""An ONNX Runtime session on a stream and in memory of ours, so that pixels, features and ranks meet on the GPU.

A CUDA graph replays addresses, so each batch size keeps its tensors: the first run of a size captures its graph, the
next ones launch it. The runtime keeps graphs for each thread that runs it, for ever: so one thread of our own does all
of it, whoever asks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
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
from coder_engine.backends.pool import Pool
from coder_engine.counts import count_of
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import first_line, no_memory_for

T = TypeVar("T")

MAX_BATCH = 32
"""The most images of one run, as many as ``Engine.predict`` asks for at once: each size keeps memory of its own."""

SETS = 2
"""Of tensors for each batch size: one is filled while the other is run."""

_CLOSED = "the engine was closed meanwhile; open it again"
_NO_MEMORY = ("out of memory", "failed to allocate memory", "cuda failure 2:", "alloc_failed")


class BoundSession:
    """See the module.

    Args:
        session: on ``stream``, for good.
        graphs: it takes CUDA graphs.
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
        graphs: bool,
        size: tuple[int, int],
        width: int,
        device: str = "cuda",
    ) -> None:
        self.beside: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self._cuda, self._stream, self._graphs = cuda, stream, graphs
        self._thread = ThreadPoolExecutor(1, "coder-engine ONNX Runtime")
        self._held = _Held(ort, session, cuda, stream, size=size, width=width, device=device)
        self._end = weakref.finalize(self, self._held.close)
        self._end.atexit = False  # the process gives all of it back
        try:
            self._held.take_bank()
        except BaseException:
            self._end()
            raise

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [B, D] of ``pixels`` uint8 [B, H, W, 3] in host memory.

        Raises:
            BackendError: the device has not enough memory, or the runtime failed.
        """
        parts = self.each(pixels, _features)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def each(self, pixels: NDArray[np.uint8], work: Callable[[BoundSession, Bound], T]) -> list[T]:
        """The results of ``work``, which may call :meth:`run`, for each part of ``pixels``.

        It is called in the one thread that the runtime may see. Pixels go to memory that the GPU reads in the caller's,
        beside what runs.
        """
        with naming_the_batch(min(len(pixels), self.max_batch)), first_gpu_current(self._cuda):
            return [self._done(part, work) for part in chunks(pixels, self.max_batch)]

    def run(self, part: Bound, tail: Tail) -> Bound:
        """Encode a part, then do what ``tail`` says; ends when all of it is done.

        What the buffers hold beyond the images is run along, and means nothing.
        """
        session = self._held.session
        if session is None:
            raise BackendError(_CLOSED)
        try:
            part.pixels.upload(self._stream)
            _run(session, part)
            tail.enqueue(part.features, len(part.pixels.host), self._stream)
            self._stream.wait()
        except BaseException:
            self._stream.settle()
            raise
        part.recorded = self._graphs
        return part

    def close(self) -> None:
        """Let go of the session and of its memory, once what was asked for before has ended."""
        self._thread.submit(self._closed).result()

    def _closed(self) -> None:
        with first_gpu_current(self._cuda), alone:  # as freeing breaks captures, too
            self.beside.clear()
            self._end()

    def _done(self, pixels: NDArray[np.uint8], work: Callable[[BoundSession, Bound], T]) -> T:
        with self._held.pool_of(bucket_of(len(pixels), self.max_batch)).borrow() as part:
            part.images = len(pixels)
            part.pixels.host[: part.images] = pixels
            running = self._thread.submit(self._turn, work, part)
            try:
                return running.result()
            finally:  # whoever is interrupted gives back what is still run otherwise
                if not running.cancel():
                    wait([running])

    def _turn(self, work: Callable[[BoundSession, Bound], T], part: Bound) -> T:
        with first_gpu_current(self._cuda):
            if part.recorded:
                return work(self, part)
            with alone:  # it captures, or allocates
                return work(self, part)


@dataclass(kw_only=True)
class Bound:
    """One batch size's binding and run options, and its tensors on both sides, of which the first ``images`` count.

    Attributes:
        recorded: its CUDA graph is there, so that a run launches it and nothing else.
    """

    binding: Any
    options: Any
    pixels: Mirrored
    features: Mirrored
    owned: ExitStack
    images: int = 0
    recorded: bool = False

    def __len__(self) -> int:
        return self.images

    def close(self) -> None:
        self.binding = None
        self.owned.close()


class _Held:
    """All that is to be freed: bindings and their memory, then the session, the bank, the stream it ran on.

    A binding in use is freed when it is given back. This knows nothing of the BoundSession, which it may outlive.
    """

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        cuda: Cuda,
        stream: Stream,
        *,
        size: tuple[int, int],
        width: int,
        device: str,
    ) -> None:
        self.session = session
        self._ort, self._cuda, self._stream, self._device = ort, cuda, stream, device
        self._size, self._width = size, width
        self._graph_ids = count(1)
        self._pools: dict[int, Pool[Bound]] = {}
        self._owned = ExitStack()
        self._owned.callback(stream.close)

    def take_bank(self) -> None:
        """One row of zeros, see ``Backend._no_bank``."""
        with alone:
            self._bank = self._owned.enter_context(closing(DeviceMemory(self._cuda, 4 * self._width)))
        self._bank.zero(self._stream)

    def pool_of(self, bucket: int) -> Pool[Bound]:
        found = self._pools.get(bucket)
        if found is None:
            # Of one image's feature an EngineError tells, and what ran is as good as before.
            made = Pool(lambda: self._bind(bucket), SETS, harmless=(EngineError,))
            found = self._pools.setdefault(bucket, made)
        return found

    def close(self) -> None:
        self.session = None  # nothing is bound from here on
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()
        self._owned.close()

    def _bind(self, bucket: int) -> Bound:
        with alone, ExitStack() as owned:
            if self.session is None:
                raise BackendError(_CLOSED)
            pixels = owned.enter_context(closing(Mirrored(self._cuda, (bucket, *self._size, 3), np.uint8)))
            features = owned.enter_context(closing(Mirrored(self._cuda, (bucket, self._width), np.float32)))
            pixels.host[:] = 0
            binding, options = self._bound_to(pixels, features)
            kept = owned.pop_all()
        return Bound(binding=binding, options=options, pixels=pixels, features=features, owned=kept)

    def _bound_to(self, pixels: Mirrored, features: Mirrored) -> tuple[Any, Any]:
        """The binding and the run options of a batch size."""
        try:
            binding, place = self.session.io_binding(), (self._device, 0)
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


def _run(session: Any, part: Bound) -> None:
    try:
        session.run_with_iobinding(part.binding, part.options)
    except Exception as err:  # the runtime raises plain RuntimeErrors and classes of its own
        raise BackendError(_failure(err, part.images)) from err


def _features(session: BoundSession, part: Bound) -> NDArray[np.float32]:
    features: NDArray[np.float32] = session.run(part, Download()).features.host[: len(part)].copy()
    return features


def out_of_memory(err: Exception) -> bool:
    """Whether the runtime's error means that the device has not enough memory."""
    said = str(err).lower()
    return isinstance(err, MemoryError) or any(sign in said for sign in _NO_MEMORY)


def _failure(err: Exception, count: int) -> str:
    if not out_of_memory(err):
        return f"ONNX Runtime failed on {count_of(count, 'image')} ({first_line(err)}); try a smaller batch"
    return no_memory_for(count, err)
