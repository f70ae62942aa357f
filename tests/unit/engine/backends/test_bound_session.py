"""A session on memory and a stream of ours, on the stand-in: what is bound when, threads, faults, memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends import bound_session
from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, alone, on_first_gpu
from coder_engine.backends.cuda_tail import Download
from coder_engine.backends.session_memory import SessionMemory, out_of_memory
from coder_engine.errors import BackendError

ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from helpers_engine import HEIGHT, WIDTH, D, features_of, images, write  # noqa: E402
from helpers_gpu import REPLAY, Error, FakeCuda  # noqa: E402
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


def opened(session: AskedSession, stream: Stream, *, graphs: bool = True) -> BoundSession:
    with on_first_gpu(Cuda()):
        memory = SessionMemory(ort, session, Cuda(), stream, size=(HEIGHT, WIDTH), width=D, device="cpu")
    return BoundSession(memory, graphs=graphs)


@pytest.mark.parametrize("count", [1, 3, 32, 70])
def test_runs(bound: BoundSession, count: int) -> None:
    first = bound.encode(images(count))
    assert_allclose(first, features_of(images(count)), rtol=1e-5)
    bound.encode(images(count)[::-1].copy())
    assert_allclose(first, features_of(images(count)), rtol=1e-5)


def test_a_size_is_bound_once_and_then_replayed(bound: BoundSession, session: AskedSession, cuda: FakeCuda) -> None:
    for count in (2, 2, 1, 2):
        assert_allclose(bound.encode(images(count)), features_of(images(count)), rtol=1e-5)
    assert session.bound == {2: 1, 1: 1}
    assert session.ran == [2, 2, 2, 1, 1, 1]  # plain twice, and once to be recorded
    cuda.calls.clear()
    bound.encode(images(2))
    assert cuda.calls == list(REPLAY)


def test_a_version_whose_graphs_are_wrong_runs_plainly(session: AskedSession, stream: Stream, cuda: FakeCuda) -> None:
    found = opened(session, stream, graphs=False)
    for _ in range(2):
        assert_allclose(found.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert session.ran == [2, 2]
    assert "cudaStreamBeginCapture" not in cuda.calls
    found.close()


@pytest.mark.parametrize("kind", ["cudaGraphNodeTypeHost", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"])
def test_what_the_host_has_a_part_in_runs_plainly(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, kind: str
) -> None:
    session.kind = kind
    wanted = f"it holds work of the host's that a graph does not repeat: {kind}"
    assert bound.first_run() == wanted
    for _ in range(2):
        assert_allclose(bound.encode(images(1)), features_of(images(1)), rtol=1e-5)
    assert "cudaGraphLaunch" not in cuda.calls
    assert session.ran == [1] * (3 + 2 + 2 + 2)  # three tries, the first after two runs, then as it comes


def test_a_capture_that_was_spoiled_is_tried_again(bound: BoundSession, session: AskedSession, cuda: FakeCuda) -> None:
    session.spoiled = 2
    assert bound.first_run() is None
    assert session.spoiled == 0
    session.spoiled = 99
    for _ in range(5):
        assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert session.spoiled == 96
    with bound._memory.pool_of(2).borrow() as part:
        assert part.replays.fault is not None
        assert re.fullmatch(r"ONNX Runtime: CUDA failure 900: .* capturing", part.replays.fault)


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
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        go.set()
        assert_allclose(running.result(), features_of(images(2)), rtol=1e-5)
        closing.result()
    for count in (1, 2):
        with pytest.raises(BackendError, match=r"^the engine was closed meanwhile; open it again$"):
            found.encode(images(count))
    assert cuda.held == {}


@pytest.fixture
def replay(bound: BoundSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """One and two images are recorded, and two of them run, in a thread, until the event is set."""
    for count in (1, 2):
        bound.encode(images(count))
    begun, go, waited = threading.Event(), threading.Event(), Stream.wait

    def held_up(stream: Stream) -> None:
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
        waited(stream)

    monkeypatch.setattr(Stream, "wait", held_up)
    cuda.calls.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bound.encode, images(2))
        assert begun.wait(10)
        yield go
        assert_allclose(running.result(), features_of(images(2)), rtol=1e-5)


def test_one_is_launched_when_the_other_has_ended(bound: BoundSession, cuda: FakeCuda, replay: threading.Event) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bound.encode, images(1))
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        assert cuda.calls.count("cudaGraphLaunch") == 1
        replay.set()
        assert_allclose(waiting.result(), features_of(images(1)), rtol=1e-5)


def test_closing_waits_for_what_was_launched(bound: BoundSession, cuda: FakeCuda, replay: threading.Event) -> None:
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(bound.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        assert "cudaFree" not in cuda.calls
        replay.set()
        closing.result()


def test_closed_while_it_waited_for_its_turn(bound: BoundSession, cuda: FakeCuda) -> None:
    bound.encode(images(2))
    asked: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with bound._turn:
            waiting = pool.submit(bound.each, images(2), lambda session, part: asked.append(part))
            with pytest.raises(TimeoutError):
                waiting.result(0.05)
            bound.close()
        with pytest.raises(BackendError, match=r"^the engine was closed meanwhile"):
            waiting.result()
    assert asked == []  # who makes what is beside a session
    assert cuda.held == {}


def test_a_signal_handler_may_close_while_a_size_is_bound(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled() -> Any:
        bound.close()
        return binding()

    binding = session.io_binding
    monkeypatch.setattr(session, "io_binding", signalled)
    with pytest.raises(BackendError, match=r"^the engine was closed meanwhile"):
        bound.encode(images(2))
    assert cuda.held == {}


def test_a_close_that_is_interrupted_lets_nothing_run(bound: BoundSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    bound.encode(images(2))
    with monkeypatch.context() as patch:
        patch.setattr(bound, "_closed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bound.close()
    with pytest.raises(BackendError, match=r"^the engine was closed meanwhile"):
        bound.encode(images(2))


def test_the_session_is_gone_before_its_stream(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a part that is lent, whose binding holds it, as well."""
    bound.encode(images(2))
    with on_first_gpu(Cuda()), bound._memory.pool_of(2).borrow() as part:
        bindings: list[object] = []
        destroy = FakeCuda.cudaStreamDestroy
        monkeypatch.setattr(
            FakeCuda, "cudaStreamDestroy", lambda *args: bindings.append(part.binding) or destroy(*args)
        )
        bound.close()
    assert bindings == [None]


def test_closing_leaves_nothing_behind(bound: BoundSession, cuda: FakeCuda) -> None:
    key = Download()
    bound.beside[key] = "head"
    bound.encode(images(1))
    bound.close()
    assert list(bound.beside) == []
    freed = [call for call in cuda.calls if "Destroy" in call or "Trim" in call]
    # The recording itself, then the graph, the stream, and what CUDA keeps for graphs to come.
    assert freed == ["cudaGraphDestroy", "cudaGraphExecDestroy", "cudaStreamDestroy", "cudaDeviceGraphMemTrim"]


def test_a_signal_handler_may_close_what_its_thread_runs(
    bound: BoundSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound.encode(images(2))
    waited = Stream.wait

    def signalled(stream: Stream) -> None:
        with pytest.raises(BackendError, match=r"^the engine is at work in this thread, amid which a signal came"):
            bound.encode(images(2))
        bound.close()
        assert cuda.held  # it is still run
        waited(stream)

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "wait", signalled)
        assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)
    assert cuda.held == {}
    with pytest.raises(BackendError, match="closed meanwhile"):
        bound.encode(images(2))


def test_whoever_is_interrupted_frees_nothing_that_is_run(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_first_gpu(Cuda()), bound._memory.pool_of(2).borrow():  # its tensors are made
        pass
    held = len(cuda.held)
    begun, go = held_up(session)
    interrupted = Future.result

    def result(self: Future[Any], timeout: float | None = None) -> Any:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(10)
            threading.Timer(0.05, lambda: (seen.append(len(cuda.held)), go.set())).start()
            raise KeyboardInterrupt
        return interrupted(self, timeout)

    def wait_again(running: list[Future[Any]]) -> None:  # Ctrl-C, and Ctrl-C
        if not again:
            again.append(True)
            raise KeyboardInterrupt
        wait(running)

    seen: list[int] = []
    again: list[bool] = []
    monkeypatch.setattr(Future, "result", result)
    monkeypatch.setattr(bound_session, "wait", wait_again)
    with pytest.raises(KeyboardInterrupt):
        bound.encode(images(2))
    monkeypatch.undo()
    assert again
    assert seen == [held]  # while it ran
    assert len(cuda.held) == held - 4  # both sides of pixels and features


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


def test_whoever_is_interrupted_leaves_nothing_under_way(
    bound: BoundSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound.encode(images(2))
    held, waited = len(cuda.held), Stream.wait

    def interrupted(stream: Stream) -> None:
        if threading.current_thread() is threading.main_thread():
            cuda.calls.clear()
            raise KeyboardInterrupt
        waited(stream)

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bound.encode(images(2))
    assert cuda.calls.index("cudaStreamSynchronize") < cuda.calls.index("cudaFree")
    assert len(cuda.held) == held - 5  # both sides of pixels and features, and the graph
    assert_allclose(bound.encode(images(2)), features_of(images(2)), rtol=1e-5)


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


@pytest.mark.parametrize(
    "kind",
    [
        "cudaGraphNodeTypeMemset",
        "cudaGraphNodeTypeMemAlloc",
        "cudaGraphNodeTypeMemFree",
        "cudaGraphNodeTypeEmpty",
        "cudaMemcpyDeviceToDevice",
    ],
)
def test_what_the_gpu_does_alone_is_replayed(
    bound: BoundSession, session: AskedSession, cuda: FakeCuda, kind: str
) -> None:
    session.kind = kind
    assert bound.first_run() is None
    cuda.calls.clear()
    bound.encode(images(1))
    assert cuda.calls == list(REPLAY)
