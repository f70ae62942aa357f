"""Features by a plan on the stand-in: graphs, buckets, threads, memory, and plans that do not fit."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from coder_engine.backends import Unavailable, open_backend
from coder_engine.backends.cuda_memory import alone
from coder_engine.backends.tensorrt import TensorRt
from coder_engine.errors import BackendError, EngineError
from coder_engine.plans import library
from coder_engine.weights import load_weights, update_weights
from helpers_engine import HEIGHT, TOWER, WIDTH, features_of, images
from helpers_gpu import REPLAY, FakeCuda
from helpers_trt import FakeEngine, fake_trt, put_library


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
    assert len(engine.cuda.calls) == 3 + 2 * -(-count // 8)
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


def test_rtx_compiles_once_for_all_contexts(plan: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And before it runs, as a graph cannot hold what is compiled in the background."""
    rtx = fake_trt(engine)
    rtx.__name__, rtx.DynamicShapesKernelSpecializationStrategy = "tensorrt_rtx", SimpleNamespace(EAGER="eager")
    monkeypatch.setattr(library, "import_runtime", lambda *_: rtx)
    weights = plan.with_suffix(".safetensors")
    built = {**load_weights(weights).meta.plans[plan.name], "library": "tensorrt_rtx"}
    update_weights(weights, plans={plan.name: {**built, "gpu": None, "compute_capability": None}})
    found = opened(plan)
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-6)
    assert [one.dynamic_shapes_kernel_specialization_strategy for one in engine.configs] == ["eager"] * 2
    assert engine.configs[0].cache is engine.configs[1].cache is not None


def test_threads(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan)
    counts = [1, 3, 8, 2, 11, 1] * 4
    with ThreadPoolExecutor(6) as threads:
        for count, features in zip(counts, threads.map(lambda n: found.encode(images(n)), counts), strict=True):
            assert_allclose(features, features_of(images(count)), rtol=1e-6)


def test_another_library_has_chosen_another_gpu(plan: Path, engine: FakeEngine) -> None:
    engine.cuda.cudaSetDevice(1)
    found = opened(plan)
    found.encode(images(3))
    assert engine.cuda.used == {0}
    assert engine.cuda.cudaGetDevice()[1] == 1


def test_graphs_run_while_others_capture(plan: Path, engine: FakeEngine) -> None:
    """And so do those of ONNX Runtime's captures, which last long."""
    found = opened(plan)
    with ThreadPoolExecutor(1) as threads, alone:
        assert_allclose(threads.submit(found.encode, images(1)).result(60), features_of(images(1)), rtol=1e-6)


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


# memory runs out


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


# plans that do not fit


@pytest.mark.parametrize(("capturable", "spoiled"), [(False, 0), (True, 99), (None, 99)])
def test_a_plan_that_cannot_be_captured(plan: Path, engine: FakeEngine, capturable: bool | None, spoiled: int) -> None:
    engine.capturable, engine.spoiled = capturable, spoiled
    found = opened(plan)
    why = "tensorrt 11.0.0.1 does not run the plan" if spoiled else "the library says that this plan cannot be captured"
    assert found.description.startswith(f"TensorRT 11.0.0.1, NVIDIA L4, fp16, no CUDA graphs ({why}")
    for _ in range(4):
        assert_allclose(found.encode(images(5)), features_of(images(5)), rtol=1e-6)
    assert "cudaGraphLaunch" not in engine.cuda.calls
    assert engine.spoiled in (0, 93)  # three tries a batch size


def test_a_capture_that_was_spoiled_is_tried_again(plan: Path, engine: FakeEngine) -> None:
    engine.spoiled = 2
    found = opened(plan)
    assert found.description.endswith("fp16, CUDA graphs")
    engine.spoiled = 1
    for _ in range(2):
        assert_allclose(found.encode(images(5)), features_of(images(5)), rtol=1e-6)
    engine.cuda.calls.clear()
    found.encode(images(5))
    assert engine.cuda.calls == list(REPLAY)


def test_the_precision_is_the_plan_s(plan: Path, engine: FakeEngine) -> None:
    found = opened(plan, precision="fp16")
    assert "fp16" in found.description
    assert found.stored == "fp16"
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


def test_a_gpu_that_the_library_does_not_support(plan: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of TensorRT-RTX on an H200."""
    fault = "The engine cannot run on this GPU. TensorRT-RTX does not support this compute capability, so ..."
    put_library(monkeypatch, None, fault)
    wanted = r"^TensorRT 11\.0\.0\.1 does not run on this GPU \(.*\); coder-export --format cuda makes an engine"
    with pytest.raises(Unavailable, match=wanted) as caught:
        opened(plan)
    assert caught.value.short == "it does not run on this GPU"


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
