"""An ONNX Runtime session on a stream and in memory of ours, so that pixels, features and ranks meet on the GPU.

The first runs of a batch size are the runtime's, in one thread of our own, whoever asks: its handles go by thread, and
graphs hold on to what these work in. What it asks the GPU for is then recorded, with the copy of the pixels before it
and the tail after it, and from there on launched in the caller's thread, without the runtime. A CUDA graph replays
addresses, so each batch size keeps its tensors.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from threading import RLock, get_ident
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.buckets import bucket_of, chunks
from coder_engine.backends.cuda_graphs import TRIES
from coder_engine.backends.cuda_memory import alone, naming_the_batch, on_first_gpu
from coder_engine.backends.cuda_tail import Download, Tail
from coder_engine.backends.session_memory import CLOSED, Bound, SessionMemory
from coder_engine.errors import BackendError

T = TypeVar("T")

MAX_BATCH = 32
"""The most images of one run, as many as ``Engine.predict`` asks for at once: each size keeps memory of its own."""

PLAIN_RUNS = 2
"""Of a set of tensors, before one is recorded, when nothing may be allocated: in the first run of a shape the runtime
learns what memory it takes, from the second on it asks for that as one block."""


class BoundSession:
    """See the module.

    Args:
        memory: of the session; closed with this, or when nobody holds this any more.
        graphs: what the session does can be recorded.

    Attributes:
        beside: what others keep for this session alone, for as long as they live themselves.
    """

    max_batch = MAX_BATCH

    def __init__(self, memory: SessionMemory, *, graphs: bool) -> None:
        self.beside: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()
        self._memory, self._graphs = memory, graphs
        self._cuda, self._stream = memory.cuda, memory.stream
        self._turn = RLock()  # a signal handler may close what its thread runs
        self._worker: int | None = None  # the thread whose turn it is
        self._to_close = False
        self._thread = ThreadPoolExecutor(1, "coder-engine ONNX Runtime")
        self._end = weakref.finalize(self, memory.close)
        self._end.atexit = False  # the process gives all of it back

    def first_run(self) -> str | None:
        """Run one black image, and so have its graph made; gives why there is none.

        Raises:
            BackendError: see :meth:`encode`.
        """
        fault, black = None, np.zeros((1, *self._memory.size, 3), np.uint8)
        for _ in range(TRIES):
            (fault,) = self.each(black, lambda session, part: session.run(part, Download()).replays.fault)
            if fault is None:
                break
        return fault

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [B, D] of ``pixels`` uint8 [B, H, W, 3] in host memory.

        Raises:
            BackendError: the device has not enough memory, or the runtime failed.
        """
        parts = self.each(pixels, _features)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def each(self, pixels: NDArray[np.uint8], work: Callable[[BoundSession, Bound], T]) -> list[T]:
        """The results of ``work``, which may call :meth:`run`, for each part of ``pixels``.

        One thread's work at a time, as they share the stream and what is beside; meanwhile another one's pixels go to
        memory that the GPU reads.
        """
        with naming_the_batch(min(len(pixels), self.max_batch)), on_first_gpu(self._cuda):
            return [self._done(part, work) for part in chunks(pixels, self.max_batch)]

    def run(self, part: Bound, tail: Tail) -> Bound:
        """Encode a part, then do what ``tail`` says; ends when all of it is done.

        What the buffers hold beyond the images is run along, and means nothing.
        """
        try:
            if part.replays.launch(tail.key):
                self._stream.wait()
            else:
                self._thread.submit(self._run_plainly, part, tail).result()
        except BaseException:
            self._settle()
            raise
        return part

    def close(self) -> None:
        """Let go of the session and of its memory, once what was asked for before has ended."""
        with self._turn:
            self._to_close = True
            if self._worker != get_ident():  # else in a signal handler, amid its run
                self._closed()

    def _done(self, pixels: NDArray[np.uint8], work: Callable[[BoundSession, Bound], T]) -> T:
        if self._worker == get_ident():
            raise BackendError("the engine is at work in this thread, amid which a signal came; call it after that")
        with self._memory.pool_of(bucket_of(len(pixels), self.max_batch)).borrow() as part:
            part.images = len(pixels)
            part.pixels.host[: part.images] = pixels
            with self._turn:
                return self._in_turn(part, work)

    def _in_turn(self, part: Bound, work: Callable[[BoundSession, Bound], T]) -> T:
        self._worker = get_ident()
        try:
            if self._to_close:
                raise BackendError(CLOSED)
            return work(self, part)
        finally:
            self._worker = None
            if self._to_close:
                self._closed()

    def _settle(self) -> None:
        """Until nothing is under way any more in memory that is freed next; another Ctrl-C does not end that."""
        last = self._thread.submit(int)  # behind what it runs
        while not last.done():
            with suppress(BaseException):
                wait([last])
        self._stream.settle()

    def _run_plainly(self, part: Bound, tail: Tail) -> None:
        record = self._graphs and tail.key not in part.replays
        with on_first_gpu(self._cuda), alone:  # it allocates, and captures
            self._run_once(part, tail)
            if record:
                while part.plain_runs < PLAIN_RUNS:
                    self._run_once(part, tail)
                part.replays.record(tail.key, lambda: self._enqueue(part, tail, recording=True))

    def _run_once(self, part: Bound, tail: Tail) -> None:
        self._enqueue(part, tail)
        self._stream.wait()
        part.plain_runs += 1

    def _enqueue(self, part: Bound, tail: Tail, *, recording: bool = False) -> None:
        part.pixels.upload(self._stream)
        self._memory.enqueue(part, recording=recording)
        tail.enqueue(part.features, len(part.pixels.host), self._stream)

    def _closed(self) -> None:
        with on_first_gpu(self._cuda), alone:  # as freeing breaks captures, too
            self.beside.clear()
            self._end()


def _features(session: BoundSession, part: Bound) -> NDArray[np.float32]:
    features: NDArray[np.float32] = session.run(part, Download()).features.host[: len(part)].copy()
    return features
