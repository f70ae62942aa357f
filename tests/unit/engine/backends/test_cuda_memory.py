"""CUDA's errors in our words. The first test asks NVIDIA's own bindings, on a machine without a driver."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from coder_engine.backends import Unavailable
from coder_engine.backends.cuda_memory import (
    Cuda,
    DeviceMemory,
    Mirrored,
    OutOfDeviceMemory,
    alone,
    beside_captures,
    failure,
    naming_the_batch,
    on_first_gpu,
)
from coder_engine.errors import BackendError
from helpers_gpu import Copy, Error, FakeCuda, NodeType


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    from coder_engine.backends import cuda_memory

    fake = FakeCuda()
    monkeypatch.setattr(cuda_memory, "import_runtime", lambda *_: fake)
    with fake.beside_captures():
        yield fake


def has_driver() -> bool:
    """By what the loader finds, as CUDA does: ``find_library`` asks a cache that containers do not renew."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not find_spec("cuda"), reason="cuda-bindings is not installed: pip install cuda-bindings")
@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_no_driver_for_real() -> None:
    wanted = r"^the NVIDIA driver is missing, or too old for the installed CUDA packages \(.*in cudaMalloc\): install"
    with pytest.raises(Unavailable, match=wanted) as caught:
        DeviceMemory(Cuda(), 16)
    assert caught.value.short == "no NVIDIA driver that serves it"


def test_no_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)  # type: ignore[arg-type]
    wanted = r"^NVIDIA's cuda-bindings is not installed .*: pip install 'coder-engine\[tensorrt\]'$"
    with pytest.raises(Unavailable, match=wanted):
        Cuda()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("cudaErrorMemoryAllocation", OutOfDeviceMemory, r"^no luck, cudaErrorMemoryAllocation in cudaMalloc$"),
        ("cudaErrorNoDevice", Unavailable, "no NVIDIA GPU that this process may use .*CUDA_VISIBLE_DEVICES"),
        ("cudaErrorInsufficientDriver", Unavailable, r"install a newer driver, or .*pip install 'cuda-bindings==12"),
        ("cudaErrorSystemDriverMismatch", Unavailable, "install a newer driver"),
        ("cudaErrorIllegalAddress", BackendError, r"^the GPU failed \(no luck, .*\); start the program again"),
    ],
)
def test_errors_in_words(name: str, kind: type[Exception], said: str) -> None:
    found = failure("cudaMalloc", name, "no luck")
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found


@pytest.mark.skipif(not find_spec("cuda"), reason="cuda-bindings is not installed: pip install cuda-bindings")
def test_the_names_are_nvidias() -> None:
    from cuda.bindings import runtime, utils

    from coder_engine.backends import cuda_graphs, cuda_memory

    for name in ("cudaErrorMemoryAllocation", *cuda_memory._NO_DEVICE, *cuda_memory._NO_DRIVER):
        assert hasattr(runtime.cudaError_t, name), name
    for name in dir(FakeCuda):
        if name.startswith("cuda"):
            assert hasattr(runtime, name), name
    for ours, theirs in ((Copy, runtime.cudaMemcpyKind), (NodeType, runtime.cudaGraphNodeType)):
        assert {one.name: one.value for one in ours}.items() <= {one.name: one.value for one in theirs}.items()
    assert {*NodeType.__members__, *Copy.__members__} >= cuda_graphs._ON_DEVICE
    assert set(cuda_graphs._OURS) <= set(Copy.__members__)
    assert utils.get_cuda_native_handle(runtime.cudaStream_t(64)) == 64


@pytest.mark.parametrize(("count", "cure"), [(64, r"a smaller batch \(--batch-size 32\)"), (1, "a GPU with more free")])
def test_the_batch_is_named(count: int, cure: str) -> None:
    images = "1 image" if count == 1 else f"{count} images"
    with (
        pytest.raises(BackendError, match=rf"^the device has not enough memory for {images} \(full\); use {cure}"),
        naming_the_batch(count),
    ):
        raise OutOfDeviceMemory("full")


def test_a_thread_beside_captures_and_then_as_before(api: FakeCuda) -> None:
    api.cudaThreadExchangeStreamCaptureMode("global")
    with on_first_gpu(Cuda()):
        with beside_captures(Cuda()), pytest.raises(BackendError, match="failed"), beside_captures(Cuda()):
            raise BackendError("failed")
        assert api.mode == "thread"
    assert api.mode == "global"


def test_a_device_that_failed_changes_no_mode(api: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = (Error.cudaErrorStreamCaptureUnsupported, None)
    monkeypatch.setattr(FakeCuda, "cudaThreadExchangeStreamCaptureMode", lambda *_: fault)
    with beside_captures(Cuda()):  # to free what it held
        api.calls.clear()
    assert api.calls == []


def test_pinned_memory_that_fails_leaves_none_on_the_device(api: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCuda, "cudaHostAlloc", lambda *_: (Error.cudaErrorMemoryAllocation, None))
    with alone, pytest.raises(OutOfDeviceMemory, match="out of memory, cudaErrorMemoryAllocation in cudaHostAlloc"):
        Mirrored(Cuda(), (2, 3), "float32")
    assert api.held == {}
