"""Streams and memory of the first visible GPU, through NVIDIA's own bindings; every call is checked here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from coder_engine.errors import BackendError
from coder_engine.machine.available import Unavailable, import_runtime, no_memory_for

_NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorDevicesUnavailable", "cudaErrorInvalidDevice")
_NO_DRIVER = (
    "cudaErrorInsufficientDriver",
    "cudaErrorSystemDriverMismatch",
    "cudaErrorSystemNotReady",
    "cudaErrorInitializationError",
    "cudaErrorCompatNotSupportedOnDevice",
    "cudaErrorCallRequiresNewerDriver",
)


alone = RLock()
"""Held by captures and by what may spoil them: first runs of a batch size, allocations, uploads.

Our captures are of their own thread, and our threads go :func:`beside_captures` of others: this lock is for what the
runtimes do in threads of their own. Graphs are launched without it, and what is dropped is freed without: that happens
anywhere. Where ``plans.library.exclusive`` is held too, it comes first.
"""


class OutOfDeviceMemory(BackendError):
    """The GPU has not enough free memory."""


@contextmanager
def naming_the_batch(count: int) -> Iterator[None]:
    """Where the GPU has not enough memory: an error that names the batch, and what to use instead."""
    try:
        yield
    except OutOfDeviceMemory as err:
        raise BackendError(no_memory_for(count, err)) from err


@contextmanager
def on_first_gpu(cuda: Cuda) -> Iterator[None]:
    """This thread works on the first visible GPU, whichever another library has chosen, and then on that again.

    It is :func:`beside_captures` meanwhile.
    """
    before = cuda("cudaGetDevice")
    if before:
        cuda("cudaSetDevice", 0)
    try:
        with beside_captures(cuda):
            yield
    finally:
        if before:
            cuda.release("cudaSetDevice", before)


@contextmanager
def beside_captures(cuda: Cuda) -> Iterator[None]:
    """What this thread does is neither forbidden by captures of other threads, nor spoils them.

    By default both are so while any thread captures in CUDA's global mode, as torch does.
    """
    mode = cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    error, before = cuda.api.cudaThreadExchangeStreamCaptureMode(mode)
    try:
        yield
    finally:
        if not int(error):
            cuda.release("cudaThreadExchangeStreamCaptureMode", before)


class Cuda:
    """CUDA's runtime: ``cuda("cudaMalloc", size)`` gives what the call gives (a tuple, unless it is one thing), and
    raises where it fails.

    Args:
        extra: of coder-engine, which brings cuda-bindings.

    Raises:
        Unavailable: cuda-bindings is not installed.
    """

    def __init__(self, extra: str = "tensorrt") -> None:
        self.api: Any = import_runtime("cuda.bindings.runtime", "NVIDIA's cuda-bindings", extra)
        utils: Any = import_runtime("cuda.bindings.utils", "NVIDIA's cuda-bindings", extra)
        self.address_of: Callable[[Any], int] = utils.get_cuda_native_handle

    def __call__(self, function: str, *args: Any) -> Any:
        """Call it.

        Raises:
            OutOfDeviceMemory, Unavailable, BackendError: see :func:`failure`.
        """
        error, *values = getattr(self.api, function)(*args)
        if int(error):
            raise failure(function, error.name, self._text(error))
        return values[0] if len(values) == 1 else tuple(values)

    def release(self, function: str, handle: Any) -> None:
        """Call it and let it fail: after an error of the device nothing can be freed, and the first one was told."""
        getattr(self.api, function)(handle)

    def _text(self, error: Any) -> str:
        _, text = self.api.cudaGetErrorString(error)
        return text.decode() if isinstance(text, bytes) else "no text"


def failure(function: str, name: str, text: str) -> BackendError:
    """Our error for one of CUDA's.

    Args:
        function: that failed.
        name: of the error, like "cudaErrorMemoryAllocation".
        text: CUDA's own words for it.
    """
    said = f"{text}, {name} in {function}"
    if name == "cudaErrorMemoryAllocation":
        return OutOfDeviceMemory(said)
    if name in _NO_DEVICE:
        message = f"no NVIDIA GPU that this process may use ({said}): look at nvidia-smi and at CUDA_VISIBLE_DEVICES"
        return Unavailable("no NVIDIA GPU", message)
    if name in _NO_DRIVER:
        message = (
            f"the NVIDIA driver is missing, or too old for the installed CUDA packages ({said}): install a newer "
            "driver, or cuda-bindings of the CUDA that nvidia-smi names, as pip install 'cuda-bindings==12.*'"
        )
        return Unavailable("no NVIDIA driver that serves it", message)
    return BackendError(f"the GPU failed ({said}); start the program again, nvidia-smi and dmesg tell more")


class Stream:
    """An order of work on the GPU, apart from that of other streams."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = cuda.address_of(cuda("cudaStreamCreateWithFlags", cuda.api.cudaStreamNonBlocking))

    def wait(self) -> None:
        """Until all that was asked of it is done.

        Raises:
            BackendError: some of it failed.
        """
        self._cuda("cudaStreamSynchronize", self.handle)

    def settle(self) -> None:
        """As :meth:`wait`, whether or not the work failed: what it used may be freed then."""
        self._cuda.release("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        self._cuda.release("cudaStreamDestroy", self.handle)


class DeviceMemory:
    """``size`` bytes on the GPU, at ``address``; what they hold at the start is anything."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, max(size, 1)  # none at all would have no address
        self.address = int(cuda("cudaMalloc", self.size))

    def zero(self, stream: Stream) -> None:
        """All bytes 0, when the stream comes to it."""
        self._cuda("cudaMemsetAsync", self.address, 0, self.size, stream.handle)

    def close(self) -> None:
        self._cuda.release("cudaFree", self.address)


class Mirrored:
    """One array twice: on the GPU at ``address``, and as ``host`` in pinned memory, which the GPU copies by itself."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._cuda, self._size = cuda, int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._device = DeviceMemory(cuda, self._size)
        self.address = self._device.address
        try:
            self._pinned = int(cuda("cudaHostAlloc", self._size, cuda.api.cudaHostAllocDefault))
        except BackendError:
            self._device.close()
            raise
        view = (ctypes.c_uint8 * self._size).from_address(self._pinned)
        self.host: NDArray[Any] = np.ctypeslib.as_array(view).view(dtype).reshape(shape)

    def upload(self, stream: Stream) -> None:
        """Host to GPU, when the stream comes to it."""
        self._copy(self.address, self._pinned, "cudaMemcpyHostToDevice", stream)

    def download(self, stream: Stream) -> None:
        """GPU to host, when the stream comes to it."""
        self._copy(self._pinned, self.address, "cudaMemcpyDeviceToHost", stream)

    def close(self) -> None:
        """Free both; ``host`` must not be touched from then on."""
        self._device.close()
        self._cuda.release("cudaFreeHost", self._pinned)

    def _copy(self, to: int, source: int, kind: str, stream: Stream) -> None:
        kinds = self._cuda.api.cudaMemcpyKind
        self._cuda("cudaMemcpyAsync", to, source, self._size, getattr(kinds, kind), stream.handle)
