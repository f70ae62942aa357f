"""A stand-in for a GPU: CUDA's runtime on host memory.

It shows that our calls are right in kind and order: work waits in its stream until that is synchronised, what is
captured runs when a graph is launched and not before, and every address must be one that was allocated. It shows
nothing of a GPU.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.cuda_memory import alone

Work = Callable[[], object]
KERNEL = "cudaGraphNodeTypeKernel"
_MODE = "cudaThreadExchangeStreamCaptureMode"
REPLAY = ("cudaGetDevice", _MODE, "cudaGraphLaunch", "cudaStreamSynchronize", _MODE)
"""The calls that run a batch whose graph is made."""
UNSAFE = ("cudaMalloc", "cudaHostAlloc", "cudaStreamBeginCapture")
"""The calls that spoil captures of other threads, or are spoiled by them."""
ANYTIME = ("cudaGetErrorString", "cudaGetDevice", "cudaSetDevice", _MODE)
"""The calls that are allowed in whatever mode a thread is."""


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


class Copy(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class NodeType(IntEnum):
    cudaGraphNodeTypeKernel = 0
    cudaGraphNodeTypeMemcpy = 1
    cudaGraphNodeTypeMemset = 2
    cudaGraphNodeTypeHost = 3
    cudaGraphNodeTypeEmpty = 5
    cudaGraphNodeTypeMemAlloc = 10
    cudaGraphNodeTypeMemFree = 11


def view(address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """The array that lies at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)


def lit(pixels: NDArray[np.uint8]) -> None:
    """Give black pictures a direction, too."""
    pixels[~pixels.any(axis=(1, 2, 3)), 0, 0, 0] = 1


class FakeCuda:
    """Attributes:
    calls: names of the calls so far.
    held: what is allocated, by address or handle.
    used: devices on which memory was allocated, or streams made.
    room: bytes of device memory that are left.
    """

    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")
    cudaMemcpyKind = Copy
    cudaGraphNodeType = NodeType

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held: dict[int, Any] = {}
        self.used: set[int] = set()
        self.room = 1 << 40
        self._current = threading.local()
        self._queued: dict[int, list[Work]] = {}
        self._captured: dict[int, list[tuple[str, Work]]] = {}
        self._handles = iter(range(1, 1 << 30))

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cuda") and callable(getattr(type(self), name, None)):
            self.calls.append(name)
            assert name not in UNSAFE or alone._is_owned()  # type: ignore[attr-defined]
            assert name in ANYTIME or self.mode == "thread"
        return super().__getattribute__(name)

    @property
    def mode(self) -> str:
        """Of this thread, towards captures of others."""
        return getattr(self._current, "mode", "global")

    @contextmanager
    def beside_captures(self) -> Iterator[None]:
        """As the compiled head goes, too, without Python."""
        before, self._current.mode = self.mode, "thread"
        try:
            yield
        finally:
            self._current.mode = before

    def ask(self, stream: int, work: Work, kind: str = KERNEL) -> None:
        """Work for a stream: queued, or recorded where it is being captured; ``kind`` is a type of node, or of copy."""
        if stream in self._captured:
            self._captured[stream].append((kind, work))
        else:
            self._queued[stream].append(work)

    def captures(self, stream: int) -> bool:
        return stream in self._captured

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, {Error.cudaErrorMemoryAllocation: b"out of memory"}.get(error, b"some error")

    def get_cuda_native_handle(self, handle: int) -> int:
        return handle

    def cudaGetDevice(self) -> tuple[Error, int]:
        return Error.cudaSuccess, getattr(self._current, "device", 0)

    def cudaSetDevice(self, device: int) -> tuple[Error]:
        self._current.device = device
        return (Error.cudaSuccess,)

    def cudaThreadExchangeStreamCaptureMode(self, mode: str) -> tuple[Error, str]:
        before, self._current.mode = self.mode, mode
        return Error.cudaSuccess, before

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if self._captured or size > self.room:
            return Error.cudaErrorMemoryAllocation, None
        self.room -= size
        self.used.add(self.cudaGetDevice()[1])
        return self._allocated(size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._allocated(size)

    def cudaFree(self, address: int) -> tuple[Error]:
        self.room += len(self.held.pop(address))
        return (Error.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        del self.held[address]
        return (Error.cudaSuccess,)

    def cudaMemsetAsync(self, address: int, value: int, size: int, stream: int) -> tuple[Error]:
        self.ask(stream, lambda: ctypes.memset(address, value, size), "cudaGraphNodeTypeMemset")
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Error]:
        def copy() -> None:  # from and to memory that is still there
            assert min(len(self.held[to]), len(self.held[source])) >= size
            ctypes.memmove(to, source, size)

        self.ask(stream, copy, Copy(kind).name)
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = self._new("stream")
        self.used.add(self.cudaGetDevice()[1])
        self._queued[handle] = []
        return Error.cudaSuccess, handle

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        queued, self._queued[stream] = self._queued[stream], []
        for work in queued:
            work()
        return (Error.cudaSuccess,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        return self._gone(stream)

    def cudaStreamBeginCapture(self, stream: int, mode: str) -> tuple[Error]:
        assert mode == "thread"
        self._captured[stream] = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, self._new(self._captured.pop(stream))

    def cudaGraphGetNodes(self, graph: int, count: int) -> tuple[Any, ...]:
        kinds = [kind for kind, _ in self.held[graph]]
        return Error.cudaSuccess, kinds[:count], len(kinds)

    def cudaGraphNodeGetType(self, node: str) -> tuple[Any, ...]:
        return Error.cudaSuccess, NodeType["cudaGraphNodeTypeMemcpy" if node in Copy.__members__ else node]

    def cudaGraphMemcpyNodeGetParams(self, node: str) -> tuple[Any, ...]:
        return Error.cudaSuccess, SimpleNamespace(kind=Copy[node])

    def cudaDeviceGraphMemTrim(self, device: int) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        return Error.cudaSuccess, self._new([work for _, work in self.held[graph]])

    def cudaGraphDestroy(self, graph: int) -> tuple[Error]:
        return self._gone(graph)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Error]:
        return self._gone(graph)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Error]:
        self._queued[stream] += self.held[graph]
        return (Error.cudaSuccess,)

    def _allocated(self, size: int) -> tuple[Any, ...]:
        memory = np.full(size, 0xA5, np.uint8)
        self.held[memory.ctypes.data] = memory
        return Error.cudaSuccess, memory.ctypes.data

    def _new(self, what: Any) -> int:
        handle = next(self._handles)
        self.held[handle] = what
        return handle

    def _gone(self, handle: int) -> tuple[Error]:
        del self.held[handle]
        self._queued.pop(handle, None)
        return (Error.cudaSuccess,)
