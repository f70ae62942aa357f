"""What of a session's runs becomes a CUDA graph, and what stays plain."""

from __future__ import annotations

import re

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_memory import Stream
from helpers_engine import features_of, images
from helpers_gpu import REPLAY, FakeCuda
from helpers_gpu_runs import AskedSession, session_of


def test_a_size_is_bound_once_and_then_replayed(bound: BoundSession, session: AskedSession, cuda: FakeCuda) -> None:
    for count in (2, 2, 1, 2):
        assert_allclose(bound.encode(images(count)), features_of(images(count)), rtol=1e-5)
    assert session.bound == {2: 1, 1: 1}
    assert session.ran == [2, 2, 2, 1, 1, 1]  # plain twice, and once to be recorded
    cuda.calls.clear()
    bound.encode(images(2))
    assert cuda.calls == list(REPLAY)


def test_a_version_whose_graphs_are_wrong_runs_plainly(session: AskedSession, stream: Stream, cuda: FakeCuda) -> None:
    found = session_of(session, stream, graphs=False)
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
