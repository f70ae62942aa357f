"""A session on the stand-in for a GPU; what is of onnx or its runtime is imported late, as it skips where they lack."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Cuda, Stream, alone, on_first_gpu

if TYPE_CHECKING:
    from helpers_gpu import FakeCuda
    from helpers_gpu_runs import AskedSession


@pytest.fixture
def stream(cuda: FakeCuda) -> Stream:
    with alone, on_first_gpu(Cuda()):
        return Stream(Cuda())


@pytest.fixture
def session(tmp_path: Path, cuda: FakeCuda, stream: Stream) -> AskedSession:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")
    from coder_engine.backends.onnxruntime import open_session
    from helpers_engine import write
    from helpers_gpu_runs import AskedSession

    real = open_session(write(tmp_path / "engine.onnx"), threads=1)
    return AskedSession(real, cuda, {"user_compute_stream": str(stream.handle)})


@pytest.fixture
def bound(session: AskedSession, stream: Stream, cuda: FakeCuda) -> Iterator[BoundSession]:
    from helpers_gpu_runs import session_of

    found = session_of(session, stream)
    yield found
    found.close()
    assert cuda.held == {}


@pytest.fixture
def replay(bound: BoundSession, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """One and two images are recorded, and two of them run, in a thread, until the event is set."""
    from helpers_engine import features_of, images

    for count in (1, 2):
        bound.encode(images(count))
    begun, go, waited = threading.Event(), threading.Event(), Stream.wait

    def slow(stream: Stream) -> None:
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
        waited(stream)

    monkeypatch.setattr(Stream, "wait", slow)
    cuda.calls.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bound.encode, images(2))
        assert begun.wait(10)
        yield go
        assert_allclose(running.result(), features_of(images(2)), rtol=1e-5)
