"""Plans as far as a machine without a GPU shows them: what is refused, for real, and our calls, on a stand-in."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from coder_engine import Engine
from coder_engine.backends import cuda_driver, cuda_memory, open_backend
from coder_engine.backends.tensorrt import TensorRt
from coder_engine.errors import BackendError, EngineError
from coder_engine.plans import library
from coder_engine.plans.rebuild import rebuild_plan
from coder_engine.weights import load_weights, update_weights
from helpers_driver import Driver
from helpers_engine import HEIGHT, TOWER, WIDTH, features_of, images, write
from helpers_gpu import FakeCuda, FakeEngine, fake_cuda_head, fake_trt
from helpers_plans import write_weights

RECORD = {
    "library": "tensorrt",
    "version": "11.0.0.1",
    "gpu": "NVIDIA L4",
    "compute_capability": "8.9",
    "max_batch": 8,
    "precision": "fp16",
    "onnx_sha256": "ab" * 32,
}
REPLAY = ("cudaGraphLaunch", "cudaStreamSynchronize")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the driver this machine seems to have."""
    return lambda **facts: monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: Driver(**facts))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan that nobody can load, of which the weight file says what ``RECORD`` does."""
    path = tmp_path / "m.plan"
    path.write_bytes(b"plan")
    write_weights(tmp_path / "m.safetensors", path)
    record(path)
    return path


def record(path: Path, **changes: Any) -> None:
    update_weights(path.with_suffix(".safetensors"), plans={path.name: {**RECORD, **changes}})


# refused before TensorRT sees it


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1.0.0.0"}, r"built by TensorRT-RTX 1\.0\.0\.0, this machine has TensorRT-RTX \d"),
        ({"library": "tensorrt"}, r"built by TensorRT [\d.]+, this machine has TensorRT-RTX \d"),
        (
            {"gpu": "Orin", "compute_capability": "8.9"},
            r"built for Orin \(.*8\.9\), this machine has NVIDIA L4 \(.*8\.9",
        ),
        ({"compute_capability": "8.7"}, r"built for NVIDIA L4 \(.*8\.7\), this machine has NVIDIA L4 \(.*8\.9\)"),
        ({"max_batch": 0}, "what its weight file says of it cannot be read"),
        (None, "its weight file does not say what it was built by and for"),
    ],
)
def test_a_real_plan_of_elsewhere(
    tmp_path: Path, driver: Callable[..., None], monkeypatch: Any, changes: dict[str, Any] | None, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(TensorRt, "_deserialized", lambda *_: pytest.fail("TensorRT was given the plan"))
    write_weights(tmp_path / "m.safetensors", write(tmp_path / "m.onnx"))
    path = tmp_path / "m.plan"
    built = rebuild_plan(path).to_json()
    driver()
    update_weights(path.with_suffix(".safetensors"), plans={} if changes is None else {"m.plan": {**built, **changes}})
    with pytest.raises(
        EngineError, match=said + r".*rebuild it from m\.onnx: coder-infer IMAGES --engine .* --rebuild$"
    ):
        Engine(path)


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx")
def test_a_real_plan_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libnone.so.0")
    write_weights(tmp_path / "m.safetensors", write(tmp_path / "m.onnx"))
    rebuild_plan(tmp_path / "m.plan")
    with pytest.raises(BackendError, match=r"^no NVIDIA driver on this machine .*, or use --device cpu with m\.onnx$"):
        Engine(tmp_path / "m.plan")


def test_a_plan_that_is_not_the_one_recorded(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.write_bytes(b"something else")
    opened: list[object] = []
    monkeypatch.setattr(TensorRt, "_open", lambda *args: opened.append(args))
    with pytest.raises(EngineError, match=r"m\.plan \(sha256 .*m\.safetensors .*do not belong together"):
        Engine(plan)
    assert not opened


def test_a_plan_alone(plan: Path) -> None:
    with pytest.raises(EngineError, match="a plan is opened with its weight file"):
        open_backend(plan, threads=1)


def test_another_backend_asked_for(plan: Path) -> None:
    with pytest.raises(EngineError, match=r"not a kind of engine file this can run \(\.onnx\)"):
        Engine(plan, backend="onnxruntime")


# on the stand-in


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, driver: Callable[..., None]) -> FakeCuda:
    driver()
    fake = FakeCuda()
    monkeypatch.setattr(cuda_memory, "import_runtime", lambda *_: fake)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", None)
    return fake


@pytest.fixture
def engine(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine(cuda, max_batch=8)
    put_library(monkeypatch, fake)
    return fake


def put_library(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine | None) -> None:
    monkeypatch.setattr(library, "import_runtime", lambda *_: fake_trt(engine))


def opened(plan: Path, **options: Any) -> TensorRt:
    meta = load_weights(plan.with_suffix(".safetensors")).meta
    found = open_backend(plan, threads=1, meta=meta, **options)
    assert isinstance(found, TensorRt)
    return found


def test_it_opens(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan)
    assert found.description == "TensorRT 11.0.0.1, NVIDIA L4, fp16, CUDA graphs"
    assert (found.size, found.width, found.tower) == ((HEIGHT, WIDTH), engine.tensors["bank"][2][1], TOWER)
    assert engine.batches == [1]  # the warm-up
    assert TensorRt.require() == "TensorRT 11.0.0.1"


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 64])
def test_features_plain_and_replayed(plan: Path, engine: FakeEngine, count: int) -> None:
    found = opened(plan)
    first = found.encode(images(count))
    assert_allclose(first, features_of(images(count)), rtol=1e-6)
    engine.cuda.calls.clear()
    assert_array_equal(found.encode(images(count)), first)
    assert set(engine.cuda.calls) == set(REPLAY)  # all else is in the graph
    assert len(engine.cuda.calls) == 2 * -(-count // 8)
    again = found.encode(images(count)[::-1].copy())
    assert_array_equal(again, first[::-1])
    assert_allclose(first, features_of(images(count)), rtol=1e-6)  # a result is nobody's buffer


def test_batches_are_padded_to_buckets(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan)
    for count in (3, 4, 7, 1, 8, 2, 20):
        found.encode(images(count))
    assert engine.batches == [1, 4, 4, 8, 1, 8, 2, 8, 8, 4]
    assert engine.contexts == 4  # one a bucket
    for size in (8, 5, 1, 3):  # whatever a larger batch left behind
        assert_allclose(found.encode(images(size)), features_of(images(size)), rtol=1e-6)


def test_threads(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan)
    counts = [1, 3, 8, 2, 11, 1] * 4
    with ThreadPoolExecutor(6) as threads:
        for count, features in zip(counts, threads.map(lambda n: found.encode(images(n)), counts), strict=True):
            assert_allclose(features, features_of(images(count)), rtol=1e-6)


def test_closing_frees_all(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan)
    found.encode(images(20))
    run = found._run
    assert engine.cuda.held
    found.close()
    gc.collect()
    assert engine.cuda.held == {}
    for call in (found.encode, run):
        with pytest.raises(BackendError, match="this engine was closed; open it again"):
            call(images(1))


@pytest.mark.parametrize(("count", "named", "less"), [(8, 8, 4), (64, 8, 4), (3, 3, 1)])
def test_out_of_memory(plan: Path, engine: FakeEngine, count: int, named: int, less: int) -> None:
    found = opened(plan)
    engine.cuda.room, room = 300, engine.cuda.room
    wanted = rf"memory for {named} images \(out of memory, .*\); use a smaller batch \(--batch-size {less}\)$"
    with pytest.raises(BackendError, match=wanted) as caught:
        found.encode(images(count))
    del caught
    engine.cuda.room = room
    assert_allclose(found.encode(images(count)), features_of(images(count)), rtol=1e-6)
    found.close()
    gc.collect()
    assert engine.cuda.held == {}


def test_out_of_memory_at_the_start(plan: Path, engine: FakeEngine) -> None:
    engine.cuda.room = 10
    with pytest.raises(BackendError, match=r"memory for 1 image .*; use a GPU with more free memory \(nvidia-smi\)$"):
        opened(plan)


def test_out_of_memory_in_the_library_s_words(plan: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(plan)
    running = found._running
    assert running is not None

    def fail(strategy: str) -> None:
        running[0].log.logger.log("error", "Error Code 2: OutOfMemory (Requested size was 9 bytes.)")

    monkeypatch.setattr(engine, "create_execution_context", fail)
    with pytest.raises(BackendError, match=r"memory for 4 images \(Error Code 2: OutOfMemory .*--batch-size 2\)$"):
        found.encode(images(4))


@pytest.mark.parametrize(("capturable", "refuses"), [(False, False), (True, True), (None, True)])
def test_a_plan_that_cannot_be_captured(plan: Path, engine: FakeEngine, capturable: bool | None, refuses: bool) -> None:
    engine.capturable, engine.refuses_capture = capturable, refuses
    found = opened(plan)
    why = "tensorrt 11.0.0.1 does not run the plan" if refuses else "the library says that this plan cannot be captured"
    assert found.description.startswith(f"TensorRT 11.0.0.1, NVIDIA L4, fp16, no CUDA graphs ({why}")
    for _ in range(3):
        assert_allclose(found.encode(images(5)), features_of(images(5)), rtol=1e-6)
    assert "cudaGraphLaunch" not in engine.cuda.calls


def test_the_precision_is_the_plan_s(plan: Path, engine: FakeEngine) -> None:
    assert "fp16" in opened(plan, precision="fp16").description
    with pytest.raises(
        BackendError, match=r"built in fp16, asked for fp32; .*coder-export --format plan --precision fp32"
    ):
        opened(plan, precision="fp32")


def test_a_damaged_plan(plan: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    put_library(monkeypatch, None)
    with pytest.raises(
        EngineError, match=r"TensorRT 11\.0\.0\.1 does not load it \(magic tag does not match\); rebuild"
    ):
        opened(plan)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ("out", "float16", (-1, 24))}, r"outputs \['coder', 'features as float16'\]"),
        ({"pixels": ("in", "float32", (-1, 2, 4, 3))}, r"inputs \['bank', 'pixels as float32'\]"),
        ({"pixels": ("in", "uint8", (-1, -1, -1, 3))}, r"its inputs are pixels \[None, None, None, 3\]"),
    ],
)
def test_a_plan_of_another_graph(plan: Path, engine: FakeEngine, change: dict[str, Any], said: str) -> None:
    engine.tensors |= change
    with pytest.raises(EngineError, match=said):
        opened(plan)


def test_a_plan_of_one_profile(plan: Path, engine: FakeEngine) -> None:
    engine.num_optimization_profiles = 1
    with pytest.raises(EngineError, match="wanted two profiles, B = 1 and more; rebuild it"):
        opened(plan)


# encoder and head in one go


@pytest.fixture
def head(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = fake_cuda_head(engine.cuda)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", fake)
    return fake


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
    held = len(engine.cuda.held)
    for margin, rerank in ((0.05, True), (0.9, True), (None, False), (None, True)):
        for _ in range(2):
            got = active.ranker.rank(images(3), top=4, margin=margin, rerank=rerank)
            wanted = active.head.rank(features, top=4, margin=margin, rerank=rerank)
            assert got is not None
            assert_array_equal(got.reranked, wanted.reranked)
            assert_array_equal(got.ids, wanted.ids)
            assert_allclose(got.gaps, wanted.gaps, atol=1e-5)
    assert len(engine.cuda.held) == held


def test_long_lists_are_ranked_by_the_cpu(plan: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    made = head.Head.made
    engine.cuda.calls.clear()
    assert len(found.predict(images(1), top=33)[0].top) == 4
    assert engine.cuda.calls == list(REPLAY)
    assert head.Head.made == made


@pytest.fixture
def other(plan: Path) -> Path:
    """The same texts under other labels."""
    path = plan.with_name("other.safetensors")
    path.write_bytes(plan.with_suffix(".safetensors").read_bytes())
    update_weights(path, labels=("a", "b", "c", "d"))
    return path


def test_other_labels(plan: Path, other: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    held = []
    for path in (other, plan.with_suffix(".safetensors"), other):
        found.use_labels(path)
        found.warm_up((1, 2))
        gc.collect()
        held.append(len(engine.cuda.held))
    assert {one.label for one in found.predict(images(8)[:2])} <= set("abcd")
    assert head.Weights.made == 4  # one copy for each time
    assert held[1] == held[2]  # those of before are gone
    assert engine.contexts == 2  # and the plan's contexts serve them all


def test_until_the_labels_are_on_the_gpu_the_cpu_ranks(
    plan: Path, other: Path, engine: FakeEngine, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Engine(plan)
    go, make = Event(), head.Weights.__init__

    def slowly(self: Any, *arrays: Any) -> None:
        assert go.wait(60)
        make(self, *arrays)

    monkeypatch.setattr(head.Weights, "__init__", slowly)
    found.use_labels(other)
    made = head.Head.made
    assert "; head on the CPU until its texts are on the GPU" in found.description
    early = found.predict(images(5))
    assert head.Head.made == made
    go.set()
    found.warm_up()
    assert "; head on the GPU" in found.description
    late = found.predict(images(5))
    assert head.Head.made == made + 1
    assert [one.label for one in early] == [one.label for one in late]


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


def test_a_launch_that_fails_leaves_nothing(plan: Path, engine: FakeEngine, head: Any, monkeypatch: Any) -> None:
    found = Engine(plan)

    def fail(graph: int, stream: int) -> None:
        raise BackendError("launch failed")

    with monkeypatch.context() as patch:
        patch.setattr(engine.cuda, "cudaGraphLaunch", fail)
        with pytest.raises(BackendError, match="launch failed"):
            found.predict(images(1))
    assert found.predict(images(1))[0].label is not None  # by another worker
    del found
    gc.collect()
    assert engine.cuda.held == {}


def test_labels_make_room_before_others_come(plan: Path, other: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    room = []

    class Watching(head.Weights):  # type: ignore[misc, name-defined]
        def __init__(self, *arrays: Any) -> None:
            room.append(engine.cuda.room)
            super().__init__(*arrays)

    before = engine.cuda.room
    head.Weights = Watching
    found.use_labels(other)
    found.warm_up()
    assert room == [before + 1000 + 100]  # the old texts and the buffers of their head are gone


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
    with pytest.raises(EngineError, match=r"a NaN or an infinity.*; the plan is damaged or overflows in its precision"):
        found.predict(images(1))
    with pytest.raises(EngineError, match="the engine gave a feature of length nan"):
        found.embed(images(1))


def test_a_head_that_fails_while_running(plan: Path, engine: FakeEngine, head: Any, monkeypatch: Any) -> None:
    found = Engine(plan)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA refused")

    monkeypatch.setattr(head.Head, "enqueue", fail)
    with pytest.raises(BackendError, match=r"^the CUDA head failed \(CUDA refused\); open the engine again$"):
        found.predict(images(2))
