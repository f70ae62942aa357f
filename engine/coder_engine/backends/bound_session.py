"""An ONNX Runtime session on a stream and in memory of ours, so that pixels, features and ranks meet on the GPU.

A CUDA graph replays addresses, so each batch size keeps its tensors: the first run of a size captures its graph, the
next ones launch it. The runtime keeps graphs for each thread that runs it, for ever: so one thread of our own does all
of it, whoever asks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.buckets import bucket_of, chunks
from coder_engine.backends.cuda_memory import alone, naming_the_batch, on_first_gpu
from coder_engine.backends.cuda_tail import Download, Tail
from coder_engine.backends.session_memory import CLOSED, Bound, SessionMemory, failure
from coder_engine.errors import BackendError

T = TypeVar("T")

MAX_BATCH = 32
"""The most images of one run, as many as ``Engine.predict`` asks for at once: each size keeps memory of its own."""


class BoundSession:
    """See the module.

    Args:
        memory: of the session; closed with this, or when nobody holds this any more.
        graphs: the session takes CUDA graphs.

    Attributes:
        beside: what others keep for this session alone, for as long as they live themselves.
    """

    max_batch = MAX_BATCH

    def __init__(self, memory: SessionMemory, *, graphs: bool) -> None:
        self.beside: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self._memory, self._graphs = memory, graphs
        self._cuda, self._stream = memory.cuda, memory.stream
        self._thread = ThreadPoolExecutor(1, "coder-engine ONNX Runtime")
        self._end = weakref.finalize(self, memory.close)
        self._end.atexit = False  # the process gives all of it back

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
        with naming_the_batch(min(len(pixels), self.max_batch)), on_first_gpu(self._cuda):
            return [self._done(part, work) for part in chunks(pixels, self.max_batch)]

    def run(self, part: Bound, tail: Tail) -> Bound:
        """Encode a part, then do what ``tail`` says; ends when all of it is done.

        What the buffers hold beyond the images is run along, and means nothing.
        """
        session = self._memory.session
        if session is None:
            raise BackendError(CLOSED)
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
        with on_first_gpu(self._cuda), alone:  # as freeing breaks captures, too
            self.beside.clear()
            self._end()

    def _done(self, pixels: NDArray[np.uint8], work: Callable[[BoundSession, Bound], T]) -> T:
        with self._memory.pool_of(bucket_of(len(pixels), self.max_batch)).borrow() as part:
            part.images = len(pixels)
            part.pixels.host[: part.images] = pixels
            running = self._thread.submit(self._turn, work, part)
            try:
                return running.result()
            finally:  # whoever is interrupted gives back what is still run otherwise
                if not running.cancel():
                    wait([running])

    def _turn(self, work: Callable[[BoundSession, Bound], T], part: Bound) -> T:
        with on_first_gpu(self._cuda):
            if part.recorded:
                return work(self, part)
            with alone:  # it captures, or allocates
                return work(self, part)


def _run(session: Any, part: Bound) -> None:
    try:
        session.run_with_iobinding(part.binding, part.options)
    except Exception as err:  # the runtime raises plain RuntimeErrors and classes of its own
        raise BackendError(failure(err, part.images)) from err


def _features(session: BoundSession, part: Bound) -> NDArray[np.float32]:
    features: NDArray[np.float32] = session.run(part, Download()).features.host[: len(part)].copy()
    return features
