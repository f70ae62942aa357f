"""A session on memory and a stream of ours, on the stand-in: what is bound when, threads, faults, memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, alone, on_first_gpu
from coder_engine.backends.session_memory import SessionMemory, out_of_memory
from coder_engine.errors import BackendError

ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from helpers_engine import HEIGHT, WIDTH, D, features_of, images, write  # noqa: E402
from helpers_gpu import FakeCuda  # noqa: E402
from helpers_gpu_runs import AskedSession  # noqa: E402


@pytest.fixture
def stream(cuda: FakeCuda) -> Stream:
    with alone, on_first_gpu(Cuda()):
        return Stream(Cuda())


@pytest.fixture
def session(tmp_path: Path, cuda: FakeCuda, stream: Stream) -> AskedSession:
    real = open_session(write(tmp_path / "engine.onnx"), threads=1)
    return AskedSession(real, cuda, {"user_compute_stream": str(stream.handle)})


@pytest.fixture
def bound(session: AskedSession, stream: Stream, cuda: FakeCuda) -> Iterator[BoundSession]:
    found = opened(session, stream)
    yield found
    found.close()
    assert cuda.held == {}


def opened(session: AskedSession, stream: Stream) -> BoundSession:
    with on_first_gpu(Cuda()):
        memory = SessionMemory(ort, session, Cuda(), stream, size=(HEIGHT, WIDTH), width=D, device="cpu")
    return BoundSession(memory, graphs=True)


@pytest.mark.parametrize("count", [1, 3, 32, 70])
def test_runs(bound: BoundSession, count: int) -> None:
    first = bound.encode(images(count))
    assert_allclose(first, features_of(images(count)), rtol=1e-5)
    bound.encode(images(count)[::-1].copy())
    assert_allclose(first, features_of(images(count)), rtol=1e-5)


def test_a_size_is_bound_once(bound: BoundSession, session: AskedSession, cuda: FakeCuda) -> None:
    for count in (2, 2, 1, 2):
        assert_allclose(bound.encode(images(count)), features_of(images(count)), rtol=1e-5)
    assert session.bound == {2: 1, 1: 1}
    assert session.ran == ["1", "1", "2", "1"]
    cuda.calls.clear()
    bound.encode(images(2))
    copies = ["cudaMemcpyAsync"] * 2  # pixels there, features back
    mode = "cudaThreadExchangeStreamCaptureMode"
    both = ["cudaGetDevice", mode]  # in the caller's thread and in the session's
    assert cuda.calls == [*both, *both, *copies, "cudaStreamSynchronize", mode, mode]


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


def test_closing_waits_for_what_runs_and_refuses_what_comes(
    session: AskedSession, stream: Stream, cuda: FakeCuda
) -> None:
    found = opened(session, stream)
    begun, go = held_up(session)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(found.encode, images(2))
        assert begun.wait(10)
        closing = pool.submit(found.close)
        go.set()
        assert_allclose(running.result(), features_of(images(2)), rtol=1e-5)
        closing.result()
    for count in (1, 2):
        with pytest.raises(BackendError, match=r"^the engine was closed meanwhile; open it again$"):
            found.encode(images(count))
    assert cuda.held == {}


def test_whoever_is_interrupted_frees_nothing_that_is_run(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound.encode(images(2))
    held = len(cuda.held)
    begun, go = held_up(session)
    interrupted = Future.result

    def result(self: Future[Any], timeout: float | None = None) -> Any:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(10)
            threading.Timer(0.05, lambda: (seen.append(len(cuda.held)), go.set())).start()
            raise KeyboardInterrupt
        return interrupted(self, timeout)

    seen: list[int] = []
    monkeypatch.setattr(Future, "result", result)
    with pytest.raises(KeyboardInterrupt):
        bound.encode(images(2))
    monkeypatch.undo()
    assert seen == [held]  # while it ran
    assert len(cuda.held) == held - 4  # both sides of pixels and features


def test_only_a_first_run_keeps_others_out(bound: BoundSession, session: AskedSession) -> None:
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
    """As it keeps a graph of each size for every thread that it sees."""
    run, seen = session.run_with_iobinding, []

    def watched(*args: Any) -> None:
        seen.append(threading.get_ident())
        run(*args)

    session.run_with_iobinding = watched  # type: ignore[method-assign]
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(bound.encode, [images(1)] * 4))
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_what_failed_is_bound_anew(bound: BoundSession, session: AskedSession) -> None:
    bound.encode(images(2))
    session.fault = "CUDA failure 700: illegal access"
    wanted = r"^ONNX Runtime failed on 2 images \(CUDA failure 700: illegal access\); try"
    with pytest.raises(BackendError, match=wanted):
        bound.encode(images(2))
    session.fault = None
    assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert session.bound == {2: 2}
    assert session.ran == ["1", "2"]  # else the graph of the old tensors' addresses would run


def test_a_device_without_room(session: AskedSession, stream: Stream, cuda: FakeCuda) -> None:
    cuda.room = 4 * D - 1
    with pytest.raises(BackendError, match="out of memory"):
        opened(session, stream)
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


def test_a_spoiled_capture_is_told(bound: BoundSession, session: AskedSession) -> None:
    session.fault = "CUDA failure 901: operation failed due to a previous error during capture"
    wanted = r"^ONNX Runtime failed on 2 images \(.+\): other code .+ call warm_up before"
    with pytest.raises(BackendError, match=wanted):
        bound.encode(images(2))
