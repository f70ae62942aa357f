"""Encoder and head in one go on the stand-in: one launch a batch, the CPU's answers, and heads that fail."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from coder_engine import Engine
from coder_engine.backends.cuda_graphs import GRAPHS
from coder_engine.backends.cuda_ranker import list_length
from coder_engine.errors import BackendError, EngineError
from helpers_engine import images
from helpers_gpu import REPLAY, FakeCuda
from helpers_trt import FakeEngine


def test_without_the_cuda_head_the_cpu_ranks(plan: Path, engine: FakeEngine) -> None:
    found = Engine(plan)
    assert "head on the CPU (this build has no CUDA head)" in found.description
    assert [one.label for one in found.predict(images(3))] == [
        one.label for one in found.predict_features(found.embed(images(3)))
    ]


def test_one_launch_a_batch(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    assert "; head on the GPU" in found.description
    engine.cuda.calls.clear()
    found.predict(images(1))
    assert engine.cuda.calls == list(REPLAY)  # the graph for one image was made as the engine opened
    found.predict(images(3))
    engine.cuda.calls.clear()
    found.predict(images(3))
    assert engine.cuda.calls == list(REPLAY)


@pytest.mark.parametrize("options", [{}, {"rerank": False}, {"margin": 0.3}], ids=str)
@pytest.mark.parametrize("count", [1, 3, 21])
def test_the_same_answers_as_by_way_of_the_cpu(
    plan: Path, engine: FakeEngine, head: Any, options: dict[str, Any], count: int
) -> None:
    found = Engine(plan, **options)
    for top in (1, 5):
        for _ in range(2):
            got = found.predict(images(count), top=top)
            wanted = found.predict_features(found.embed(images(count)), top=top)
            for one, other in zip(got, wanted, strict=True):
                assert [item.label for item in one.top] == [item.label for item in other.top]
                assert_allclose([i.score for i in one.top], [i.score for i in other.top], rtol=1e-4)
                assert one.reranked == other.reranked


def test_other_options_replace_the_graph(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    active, features = found._active, found.embed(images(3))
    assert active.ranker is not None
    active.ranker.rank(images(3), top=4, margin=None, rerank=True)
    held = len(engine.cuda.held)  # two graphs by now
    for margin, rerank in ((0.05, True), (0.9, True), (None, False), (0.5, True), (None, True)):
        for _ in range(2):
            got = active.ranker.rank(images(3), top=4, margin=margin, rerank=rerank)
            wanted = active.head.rank(features, top=4, margin=margin, rerank=rerank)
            assert got is not None
            assert_array_equal(got.reranked, wanted.reranked)
            assert_array_equal(got.ids, wanted.ids)
            assert_allclose(got.gaps, wanted.gaps, atol=1e-5)
    assert len(engine.cuda.held) == held + GRAPHS - 2


@pytest.mark.parametrize(("top", "length"), [(1, 5), (5, 5), (6, 10), (10, 10), (11, 32), (32, 32), (33, None)])
def test_lists_of_like_lengths_share_a_graph(top: int, length: int | None) -> None:
    assert list_length(top) == length


def test_long_lists_are_ranked_by_the_cpu(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    made = head.Head.made
    engine.cuda.calls.clear()
    assert len(found.predict(images(1), top=33)[0].top) == 4
    assert engine.cuda.calls == list(REPLAY)
    assert head.Head.made == made


def test_another_library_has_chosen_another_gpu(plan: Path, engine: FakeEngine, head: Any) -> None:
    engine.cuda.cudaSetDevice(1)
    found = Engine(plan)
    found.predict(images(3))
    assert engine.cuda.used == {0}
    assert engine.cuda.cudaGetDevice()[1] == 1


def test_threads_share_one_copy(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)

    def labels(count: int) -> list[str | None]:
        return [one.label for one in found.predict(images(count))]

    wanted = {count: labels(count) for count in (1, 3, 8)}
    with ThreadPoolExecutor(6) as threads:
        for count, got in zip((1, 3, 8) * 4, threads.map(labels, (1, 3, 8) * 4), strict=True):
            assert got == wanted[count]
    assert head.Weights.made == 1


def test_features_and_ranks_in_turn_keep_their_graphs(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    for _ in range(2):
        found.embed(images(3))
        found.predict(images(3))
    engine.cuda.calls.clear()
    found.embed(images(3))
    found.predict(images(3))
    assert engine.cuda.calls == [*REPLAY, *REPLAY]


def test_an_engine_that_is_dropped_frees_all(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    found.predict(images(20))
    assert engine.cuda.held
    del found
    gc.collect()
    assert engine.cuda.held == {}


# failures


def test_a_launch_that_fails_leaves_nothing(plan: Path, engine: FakeEngine, head: Any, monkeypatch: Any) -> None:
    found = Engine(plan)

    def fail(cuda: FakeCuda, graph: int, stream: int) -> None:
        raise BackendError("launch failed")

    with monkeypatch.context() as patch:
        patch.setattr(FakeCuda, "cudaGraphLaunch", fail)
        with pytest.raises(BackendError, match="launch failed"):
            found.predict(images(1))
    assert found.predict(images(1))[0].label is not None  # by another worker
    del found
    gc.collect()
    assert engine.cuda.held == {}


@pytest.mark.parametrize("kind", ["Weights", "Head"])
def test_a_gpu_that_the_head_cannot_use(plan: Path, engine: FakeEngine, head: Any, kind: str, monkeypatch: Any) -> None:
    class Failing:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no code for this GPU\nmore")

    monkeypatch.setattr(head, kind, Failing)
    found = Engine(plan)
    assert "head on the CPU (no code for this GPU)" in found.description
    assert found.predict(images(1))[0].label is not None


def test_features_that_are_not_finite(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    engine.length = float("nan")
    with pytest.raises(
        EngineError, match=r"a NaN or an infinity.*; the engine file is damaged or overflows in its precision"
    ):
        found.predict(images(1))
    with pytest.raises(EngineError, match="the engine gave a feature of length nan"):
        found.embed(images(1))
    engine.length = 1.0
    engine.cuda.calls.clear()
    found.predict(images(1))
    assert engine.cuda.calls == list(REPLAY)  # by the same worker, whose graphs are as good as before


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_head_that_fails_while_running(
    plan: Path, engine: FakeEngine, head: Any, monkeypatch: Any, kind: type[Exception]
) -> None:
    found = Engine(plan)

    def fail(*_: Any, **__: Any) -> None:
        raise kind("CUDA refused")

    monkeypatch.setattr(head.Head, "enqueue", fail)
    with pytest.raises(BackendError, match=r"^the CUDA head failed \(CUDA refused\); start the program again$"):
        found.predict(images(2))
