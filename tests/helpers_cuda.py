"""Device memory, streams and graphs for the tests of the CUDA head, by NVIDIA's own Python binding of the runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


def require_cuda() -> Any:
    """``coder_engine._cuda`` on a machine with a GPU; skips the test, or the module, with the reason otherwise."""
    try:
        from coder_engine import _cuda
    except ImportError as err:
        pytest.skip(f"the CUDA head is not built ({err})", allow_module_level=True)
    if not _cuda.available():
        pytest.skip("no CUDA device", allow_module_level=True)
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    return _cuda


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """The result of a runtime call, or an error."""
    error, *results = function(*arguments)
    if int(error):
        raise RuntimeError(f"{function.__name__}: {error!r}")
    return results[0] if results else None


class Stream:
    """A stream that waits for no other, as the engine's, and the device memory that its work reads."""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self.runtime = runtime
        self._stream = call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking)
        self._memory: list[int] = []

    @property
    def handle(self) -> int:
        from cuda.bindings.utils import get_cuda_native_handle

        return int(get_cuda_native_handle(self._stream))

    def put(self, array: NDArray[Any], at: int | None = None) -> int:
        """Copy an array to the device, to new memory or ``at`` an address; its address."""
        if at is None:
            at = int(call(self.runtime.cudaMalloc, max(array.nbytes, 1)))
            self._memory.append(at)
        kind, array = self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, np.ascontiguousarray(array)
        call(self.runtime.cudaMemcpyAsync, at, array.ctypes.data, array.nbytes, kind, self._stream)
        self.wait()
        return at

    def wait(self) -> None:
        call(self.runtime.cudaStreamSynchronize, self._stream)

    def record(self, work: Callable[[], None]) -> Any:
        """A graph of what ``work`` enqueues."""
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeGlobal
        call(self.runtime.cudaStreamBeginCapture, self._stream, mode)
        work()
        return call(self.runtime.cudaGraphInstantiate, call(self.runtime.cudaStreamEndCapture, self._stream), 0)

    def launch(self, graph: Any) -> None:
        call(self.runtime.cudaGraphLaunch, graph, self._stream)

    def seconds(self, work: Callable[[], None], runs: int) -> float:
        """Device time of one ``work``, the mean over ``runs`` enqueued one after another."""
        begin, end = call(self.runtime.cudaEventCreate), call(self.runtime.cudaEventCreate)
        call(self.runtime.cudaEventRecord, begin, self._stream)
        for _ in range(runs):
            work()
        call(self.runtime.cudaEventRecord, end, self._stream)
        call(self.runtime.cudaEventSynchronize, end)
        return float(call(self.runtime.cudaEventElapsedTime, begin, end)) / 1e3 / runs

    def close(self) -> None:
        for at in self._memory:
            call(self.runtime.cudaFree, at)
        call(self.runtime.cudaStreamDestroy, self._stream)
