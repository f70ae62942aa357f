"""Closing and interrupting a session: nothing is freed that is still run, and nothing runs afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends import bound_session
from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, on_first_gpu
from coder_engine.backends.cuda_tail import Download
from coder_engine.errors import BackendError
from helpers_engine import features_of, images
from helpers_gpu import FakeCuda
from helpers_gpu_runs import AskedSession, held_up, session_of


def test_closing_waits_for_what_runs_and_refuses_what_comes(
    session: AskedSession, stream: Stream, cuda: FakeCuda
) -> None:
    found = session_of(session, stream)
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
