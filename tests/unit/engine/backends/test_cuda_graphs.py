"""Recording what a stream is asked for, on the stand-in: what ends well, what is refused, what is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from coder_engine.backends.cuda_graphs import GRAPHS, TRIES, Graph, Replays
from coder_engine.backends.cuda_memory import Cuda, DeviceMemory, Mirrored, Stream, alone
from coder_engine.errors import BackendError
from helpers_gpu import FakeCuda


@pytest.fixture
def api(cuda: FakeCuda) -> Iterator[FakeCuda]:
    with cuda.beside_captures():
        yield cuda


def test_a_capture_that_fails_is_ended(api: FakeCuda) -> None:
    cuda = Cuda()
    stream = Stream(cuda)

    def fail() -> None:
        raise BackendError("cannot")

    with alone:
        with pytest.raises(BackendError, match="cannot"):
            Graph(cuda, stream, fail)
        assert list(api.held) == [stream.handle]  # what was recorded until then is gone
        DeviceMemory(cuda, 8).close()  # which a capture would not allow


def test_nothing_is_collected_during_a_capture(api: FakeCuda) -> None:
    cuda, seen = Cuda(), []
    with alone:
        Graph(cuda, Stream(cuda), lambda: seen.append(gc.isenabled())).close()
    assert seen == [False]
    assert gc.isenabled()


def test_one_copy_each_way_is_ours(api: FakeCuda) -> None:
    cuda = Cuda()
    stream = Stream(cuda)
    with alone:
        array = Mirrored(cuda, (2, 3), "float32")

        def enqueue(uploads: int) -> None:
            for _ in range(uploads):
                array.upload(stream)
            array.download(stream)

        held = len(api.held)
        with pytest.raises(BackendError, match=r"that a graph does not repeat: cudaMemcpyHostToDevice$"):
            Graph(cuda, stream, lambda: enqueue(2), strict=True)
        assert len(api.held) == held
        Graph(cuda, stream, lambda: enqueue(2))
        graph = Graph(cuda, stream, lambda: enqueue(1), strict=True)
    array.host[:] = 7
    graph.launch()
    stream.wait()
    assert (array.host == 7).all()


def test_the_longest_unused_is_dropped(api: FakeCuda) -> None:
    cuda, ran = Cuda(), []
    stream = Stream(cuda)
    replays = Replays(cuda, stream)
    with alone:
        for key in range(GRAPHS):
            replays.record(key, lambda key=key: api.ask(stream.handle, lambda: ran.append(key)))
        assert replays.launch(0)
        replays.record("new", lambda: None)
    assert [key for key in (*range(GRAPHS), "new") if key not in replays] == [1]
    assert not replays.launch(1)
    stream.wait()
    assert ran == [0]
    replays.close()
    assert list(api.held) == [stream.handle]


def test_tries_in_a_row_are_counted(api: FakeCuda) -> None:
    cuda = Cuda()
    replays = Replays(cuda, Stream(cuda))

    def fail() -> None:
        raise BackendError("spoiled")

    with alone:
        for key in ("first", "second"):
            for _ in range(TRIES - 1):
                replays.record(key, fail)
                assert (key in replays, replays.fault) == (False, "spoiled")
            replays.record(key, lambda: None)
            assert (key in replays, replays.fault) == (True, None)
        for _ in range(TRIES):
            replays.record("third", fail)
        assert "third" in replays
        assert not replays.launch("third")
        replays.record("fourth", fail)  # of a row of failures, the next one is no better
        assert "fourth" in replays
        assert "first" in replays
        assert replays.launch("first")  # what is impossible takes nobody's place
    for key in range(1000):
        replays.give_up(key, "never")
    assert [key in replays for key in (0, 999, "first")] == [False, True, True]
    assert replays.fault == "never"


def test_errors_of_the_bindings_themselves(api: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise ValueError("16 is not a valid cudaGraphNodeType")

    monkeypatch.setattr(FakeCuda, "cudaGraphNodeGetType", unknown)
    cuda = Cuda()
    stream = Stream(cuda)
    replays = Replays(cuda, stream, strict=True)
    with alone:
        replays.record("new", lambda: api.ask(stream.handle, lambda: None))
    assert replays.fault == "16 is not a valid cudaGraphNodeType"
    assert list(api.held) == [stream.handle]
