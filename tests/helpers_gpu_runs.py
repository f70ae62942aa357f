"""What runs on the stand-in for a GPU: the CUDA head, by the CPU's kernels, and ONNX Runtime's session."""

from __future__ import annotations

import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine import _kernels
from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, alone, on_first_gpu
from coder_engine.backends.session_memory import SessionMemory
from coder_engine.head import empty_ranking
from helpers_engine import HEIGHT, WIDTH, D
from helpers_gpu import KERNEL, FakeCuda, lit, view


class FakeWeights:
    """The label set of ``coder_engine._cuda``, whose texts take 1000 bytes of the device."""

    cuda: FakeCuda
    made = 0

    def __init__(self, *arrays: Any) -> None:
        type(self).made += 1
        self.arrays = arrays
        self.head = _kernels.Head(*arrays, threads=1)
        with self.cuda.beside_captures():
            self.memory = self.cuda.cudaMalloc(1000)[1]

    def __del__(self) -> None:
        with self.cuda.beside_captures():
            self.cuda.cudaFree(self.memory)


class FakeHead:
    """The head of ``coder_engine._cuda``: the CPU's kernels, asked through a stream; its buffers take 100 bytes."""

    cuda: FakeCuda
    made = 0

    def __init__(self, weights: FakeWeights, *, max_batch: int) -> None:
        type(self).made += 1
        self._weights, self._head = weights, weights.head
        self._rows, self._width = weights.arrays[0].shape
        self._classes, self._most = len(weights.arrays[2]), max_batch
        with self.cuda.beside_captures():
            self._memory = self.cuda.cudaMalloc(100)[1]

    def __del__(self) -> None:
        with self.cuda.beside_captures():
            self.cuda.cudaFree(self._memory)

    def enqueue(self, features: int, batch: int, stream: int, *, top: int, **options: Any) -> None:
        assert batch <= self._most
        here = weakref.ref(self)  # a graph keeps no memory alive: launched after this was freed, it fails

        def work() -> None:
            head = here()
            assert head is not None
            head._rank(view(features, (batch, head._width), np.float32).copy(), top, options)

        self.cuda.ask(stream, work)

    def _rank(self, features: NDArray[np.float32], top: int, options: dict[str, Any]) -> None:
        coder = np.empty((len(features), self._rows), np.float32)
        self.out = empty_ranking(len(features), self._classes, top)
        assert self.out.ids.shape[1] == top
        self.fault = ""
        try:
            self._head.coder(features, coder)
            self._head.rank(features, coder, **vars(self.out), **options)
        except RuntimeError as err:  # told when the results are asked for
            self.fault = str(err)

    def results(self, batch: int, top: int, **out: NDArray[Any]) -> None:
        if self.fault:
            raise RuntimeError(self.fault)
        for name, array in out.items():
            array[:] = getattr(self.out, name)[:batch]


class AskedSession:
    """An ONNX Runtime session on the CPU, on the memory of ``cuda`` and asked through the stream it was opened with.

    Attributes:
        bound: how often each batch size was bound.
        ran: the batch size of each run that was asked for, those that were recorded as well.
        threads: that asked for them.
        fault: what the next runs raise.
        spoiled: captures that fail from now on.
        kind: of node that a run leaves in a graph.
    """

    def __init__(self, session: Any, cuda: FakeCuda, options: dict[str, str]) -> None:
        self._session, self._cuda, self._stream = session, cuda, int(options["user_compute_stream"])
        self.bound: dict[int, int] = {}
        self.ran: list[int] = []
        self.threads: set[int] = set()
        self.fault: str | None = None
        self.spoiled = 0
        self.kind = KERNEL

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self) -> Any:
        real, bound, held = self._session.io_binding(), self.bound, self._cuda.held

        class Binding:
            def __getattr__(self, name: str) -> Any:
                def call(what: str, device: str, number: int, dtype: Any, shape: tuple[int, ...], at: int) -> None:
                    assert len(held[at]) >= int(np.prod(shape)) * np.dtype(dtype).itemsize
                    if what == "pixels":
                        bound[shape[0]] = bound.get(shape[0], 0) + 1
                        binding.pixels = view(at, shape, np.uint8)
                    getattr(real, name)(what, device, number, dtype, shape, at)

                return call

        binding: Any = Binding()
        binding.real = real
        return binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        assert alone._is_owned()  # type: ignore[attr-defined]
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        if self.fault is not None:
            raise RuntimeError(self.fault)
        if self.spoiled and self._cuda.captures(self._stream):
            self.spoiled -= 1
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        self.ran.append(len(binding.pixels))
        self.threads.add(threading.get_ident())

        def run() -> None:
            lit(binding.pixels)
            self._session.run_with_iobinding(binding.real, options)

        self._cuda.ask(self._stream, run, self.kind)


def fake_cuda_head(cuda: FakeCuda) -> Any:
    """``coder_engine._cuda`` on ``cuda``; its classes, and so their counts, are its own."""
    own = {"cuda": cuda, "made": 0}
    return SimpleNamespace(Weights=type("Weights", (FakeWeights,), own), Head=type("Head", (FakeHead,), own))


def session_of(session: AskedSession, stream: Stream, *, graphs: bool = True) -> BoundSession:
    """The session on memory of ours."""
    import onnxruntime

    with on_first_gpu(Cuda()):
        memory = SessionMemory(onnxruntime, session, Cuda(), stream, size=(HEIGHT, WIDTH), width=D, device="cpu")
    return BoundSession(memory, graphs=graphs)


def held_up(session: AskedSession) -> tuple[threading.Event, threading.Event]:
    """The next run says that it has begun, and waits to be told to go on."""
    begun, go, run = threading.Event(), threading.Event(), session.run_with_iobinding

    def waits(*args: Any) -> None:
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
        run(*args)

    session.run_with_iobinding = waits  # type: ignore[method-assign]
    return begun, go
