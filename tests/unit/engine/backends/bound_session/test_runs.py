"""A session on memory and a stream of ours, on the stand-in: features, threads, faults, memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, alone, on_first_gpu
from coder_engine.backends.session_memory import out_of_memory
from coder_engine.errors import BackendError
from helpers_engine import D, features_of, images
from helpers_gpu import Error, FakeCuda
from helpers_gpu_runs import AskedSession, held_up, session_of


@pytest.mark.parametrize("count", [1, 3, 32, 70])
def test_runs(bound: BoundSession, count: int) -> None:
    first = bound.encode(images(count))
    assert_allclose(first, features_of(images(count)), rtol=1e-5)
    bound.encode(images(count)[::-1].copy())
    assert_allclose(first, features_of(images(count)), rtol=1e-5)


def test_one_is_filled_while_another_runs(bound: BoundSession, session: AskedSession) -> None:
    sets = bound._memory.pool_of(2)
    with on_first_gpu(Cuda()), sets.borrow(), sets.borrow():  # both are made
        pass
    begun, go = held_up(session)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bound.encode, images(2))
        assert begun.wait(10)
        with sets.borrow() as other:
            other.pixels.host[:] = 1
        go.set()
        assert_allclose(running.result(), features_of(images(2)), rtol=1e-5)


def test_one_is_launched_when_the_other_has_ended(bound: BoundSession, cuda: FakeCuda, replay: threading.Event) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bound.encode, images(1))
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        assert cuda.calls.count("cudaGraphLaunch") == 1
        replay.set()
        assert_allclose(waiting.result(), features_of(images(1)), rtol=1e-5)


def test_only_a_first_run_keeps_others_out(bound: BoundSession) -> None:
    bound.encode(images(2))
    with alone, ThreadPoolExecutor(1) as pool:  # as an upload of labels does
        assert_allclose(pool.submit(bound.encode, images(2)).result(10), features_of(images(2)), rtol=1e-5)


def test_what_an_earlier_batch_left_is_not_seen(bound: BoundSession) -> None:
    bound.encode(images(4))
    assert_allclose(bound.encode(images(3)[::-1]), features_of(images(3)[::-1]), rtol=1e-5)


def test_threads_take_turns(bound: BoundSession) -> None:
    batches = [images(3)[i : i + 1] for i in range(3)] * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bound.encode, batches))
    for pixels, features in zip(batches, found, strict=True):
        assert_allclose(features, features_of(pixels), rtol=1e-5)


def test_the_runtime_sees_one_thread(bound: BoundSession, session: AskedSession) -> None:
    """As it keeps handles for every thread that it sees."""
    for count in (1, 2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(bound.encode, [images(count)] * 4))
    assert len(session.threads) == 1
    assert session.threads != {threading.get_ident()}


def test_what_failed_is_bound_anew(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.fault = "CUDA failure 700: illegal access"
    wanted = r"^ONNX Runtime failed on 2 images \(CUDA failure 700: illegal access\); try"
    with pytest.raises(BackendError, match=wanted):
        bound.encode(images(2))
    session.fault = None
    assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert session.bound == {2: 2}
    with monkeypatch.context() as patch:
        patch.setattr(FakeCuda, "cudaGraphLaunch", lambda *_: (Error.cudaErrorStreamCaptureUnsupported,))
        with pytest.raises(BackendError, match=r"^the GPU failed \(some error, cuda"):
            bound.encode(images(2))
    assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert session.bound == {2: 3}  # else a graph over memory that was freed would be launched


def test_a_device_without_room(session: AskedSession, stream: Stream, cuda: FakeCuda) -> None:
    cuda.room = 4 * D - 1
    with pytest.raises(BackendError, match="out of memory"):
        session_of(session, stream)
    assert cuda.held == {}


def test_a_batch_without_room(bound: BoundSession, cuda: FakeCuda) -> None:
    cuda.room = 32 * D
    with pytest.raises(BackendError, match=r"not enough memory for 32 images .*a smaller batch \(--batch-size 16\)"):
        bound.encode(images(32))
    assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)


@pytest.mark.parametrize(
    "said",
    [
        "Failed to allocate memory for requested buffer of size 4294967296",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED: ALLOC_FAILED",
    ],
)
@pytest.mark.parametrize(
    ("count", "cure"),
    [(32, r"a smaller batch \(--batch-size 16\)"), (1, r"a GPU with more free memory \(nvidia-smi\)")],
)
def test_out_of_memory(bound: BoundSession, session: AskedSession, said: str, count: int, cure: str) -> None:
    session.fault = f"{said}\nat line 3"
    wanted = rf"^the device has not enough memory for {count} images? \(.*\); use {cure}$"
    with pytest.raises(BackendError, match=wanted):
        bound.encode(images(count))


def test_out_of_memory_of_the_host_counts() -> None:
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("CUDA failure 201: invalid device context"))
