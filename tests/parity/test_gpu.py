"""Engines on a real GPU against ONNX Runtime on the CPU. They skip where there is none, and say so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine import Engine
from coder_engine.backends import Unavailable
from coder_engine.backends.buckets import bucket_of, chunks
from coder_engine.backends.cuda_graphs import Replays
from coder_engine.backends.onnxruntime_cuda import OnnxRuntimeCuda
from coder_engine.backends.tensorrt import TensorRt
from coder_engine.engine import CHUNK
from coder_engine.errors import CoderError
from coder_engine.images import read_rgb
from coder_engine.machine.cuda_driver import first_gpu
from coder_engine.plans.library import open_library
from coder_engine.plans.rebuild import rebuild_plan

MOST = 64
RTX_RUNS = ("8.0", "8.6", "8.9", "12.")
"""Compute capabilities that TensorRT-RTX names, of those it builds our plans for; others are tried."""
COSINE = {"fp32": 1 - 1e-5, "fp16": 0.999}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine file for the GPU, and the same encoder in fp32 on the CPU; ``least`` is the cosine between them."""

    path: Path
    reference: Engine
    least: float

    def opened(self) -> Engine:
        return Engine(self.path, device="cuda")

    def noise(self, count: int) -> float:
        """Between runs of one batch: in fp16 those of 32 sum in another order now and then (docs/benchmarks.md)."""
        return 3e-4 if self.least == COSINE["fp16"] and count >= CHUNK else 1e-6


@pytest.fixture(scope="module")
def tiny_reference(tiny: Path) -> Engine:
    return Engine(tiny, backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module", params=["plan-fp32", "plan-fp16", "onnx-fp32", "resnet-fp32", "cuda-fp16", "cuda-fp32"])
def case(
    request: pytest.FixtureRequest, tiny: Path, labels_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    """Each kind of engine and precision: the plan in fp32 rebuilt from an .onnx, others as coder-export makes them."""
    kind, precision = request.param.split("-")
    try:
        (TensorRt if kind == "plan" else OnnxRuntimeCuda).require()
    except Unavailable as err:
        pytest.skip(f"{kind} engines run on NVIDIA GPUs: {err}")
    folder = tmp_path_factory.mktemp("engines")
    if kind == "cuda":
        return a_vit(folder, labels_file, precision)
    if kind == "resnet":  # whose convolutions have plans for a batch size
        path = made(folder, labels_file, "RN50", "onnx", "fp32")
        return Case(path=path, reference=Engine(path, backend="onnxruntime", device="cpu"), least=COSINE["fp32"])
    path = tiny
    if kind == "plan":
        path = folder / "tiny.plan"
        a_plan(path, (lambda: rebuilt(tiny, path)) if precision == "fp32" else (lambda: exported(labels_file, path)))
    return Case(path=path, reference=request.getfixturevalue("tiny_reference"), least=COSINE[precision])


def a_plan(path: Path, make: Callable[[], None]) -> None:
    try:
        make()
        Engine(path)
    except CoderError as err:
        if open_library().__name__ == "tensorrt" or first_gpu().capability.startswith(RTX_RUNS):
            raise
        pytest.skip(f"TensorRT-RTX is not made for this machine's {first_gpu()}: {err}")


def rebuilt(tiny: Path, path: Path) -> None:
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), path.with_suffix(suffix))
    rebuild_plan(path)


def exported(labels_file: Path, path: Path) -> None:
    from coder_export.config import ExportConfig
    from coder_export.pipeline import export
    from coder_export.report import Report

    config = ExportConfig(
        model="coder-tiny", labels=labels_file, texts="cifar10", out=path, format="plan", precision="fp16"
    )
    export(config, Report(quiet=True))


def a_vit(folder: Path, labels_file: Path, precision: str) -> Case:
    """With GELU in fp32 and with QuickGELU, as OpenAI's weights have it, in fp16."""
    model = "ViT-B/32" if precision == "fp32" else "ViT-B-32-quickgelu"
    reference = Engine(made(folder, labels_file, model, "onnx", "fp32"), backend="onnxruntime", device="cpu")
    return Case(path=made(folder, labels_file, model, "cuda", precision), reference=reference, least=COSINE[precision])


def made(folder: Path, labels_file: Path, model: str, kind: str, precision: str) -> Path:
    """An engine of random weights."""
    from coder_export.config import ExportConfig
    from coder_export.pipeline import export
    from coder_export.report import Report

    config = ExportConfig(
        model=model,
        pretrained="random",
        labels=labels_file,
        texts="cifar10",
        out=folder / kind,
        format=kind,
        precision=precision,
    )
    export(config, Report(quiet=True))
    return config.engine_path


@pytest.fixture(scope="module")
def crops(case: Case, photographs: list[Path]) -> NDArray[np.uint8]:
    """150 different views of the photographs, more than two of the largest batches: uint8 [150, H, W, 3]."""
    rng = np.random.default_rng(0)
    pictures = [read_rgb(path) for path in photographs]
    views = []
    for i in range(150):
        picture = pictures[i % len(pictures)]
        side = min(picture.size) * rng.uniform(0.4, 1)
        left, upper = (rng.uniform(0, length - side) for length in picture.size)
        views.append(case.reference.preprocess(picture.crop((left, upper, left + side, upper + side))))
    return np.stack(views)


def buckets(count: int) -> NDArray[np.int64]:
    """For each of so many images, the batch size of the graph that encodes it."""
    return np.concatenate([np.full(len(part), bucket_of(len(part), MOST)) for part in chunks(np.empty(count), MOST)])


@pytest.mark.parametrize("count", [1, 3, MOST, 150])
def test_features(case: Case, crops: NDArray[np.uint8], count: int) -> None:
    wanted = case.reference._backend.encode(crops[:count])
    backend = case.opened()._backend
    first, replayed = backend.encode(crops[:count]), backend.encode(crops[:count])
    assert (wanted.astype(np.float64) * first).sum(axis=1).min() >= case.least
    # The first run of a size is plain, the second a graph's.
    np.testing.assert_allclose(replayed, first, rtol=0, atol=0 if count < CHUNK else case.noise(count))
    shifted = np.roll(backend.encode(np.roll(crops[:count], 1, axis=0)), -1, axis=0)
    alike = buckets(count) == np.roll(buckets(count), -1)  # in other batch sizes other kernels sum
    np.testing.assert_allclose(shifted[alike], first[alike], atol=case.noise(count))
    assert (shifted.astype(np.float64) * first).sum(axis=1).min() >= case.least


@pytest.mark.parametrize("count", [1, 3, CHUNK])
def test_every_run_is_recorded(
    case: Case, crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Features and ranks each as one graph; what cannot be recorded would be as right, and slower."""
    record, faults = Replays.record, []

    def watched(replays: Replays, key: Hashable, enqueue: Callable[[], object]) -> None:
        record(replays, key, enqueue)
        faults.append(replays.fault)

    monkeypatch.setattr(Replays, "record", watched)
    engine = case.opened()
    assert "no CUDA graphs" not in engine.description
    for _ in range(2):
        engine._backend.encode(crops[:count])
        engine.predict(crops[:count])
    tails = 2 if "head on the GPU" in engine.description else 1
    assert faults == [None] * tails * len({1, count})  # that for one image as the engine opened


def test_sizes_in_any_order(case: Case, crops: NDArray[np.uint8]) -> None:
    backend = case.opened()._backend
    first = {count: backend.encode(crops[:count]) for count in (1, CHUNK, 3)}
    for count in (3, 1, CHUNK, 1, 3):
        np.testing.assert_allclose(backend.encode(crops[:count]), first[count], atol=case.noise(count))


def test_two_threads_at_once(case: Case, crops: NDArray[np.uint8]) -> None:
    engine = case.opened()
    counts = [1, 3, 64, 2, 9, 150] * 4
    alone = {count: engine._backend.encode(crops[:count]) for count in set(counts)}
    with ThreadPoolExecutor(2) as threads:
        for count, got in zip(counts, threads.map(lambda n: engine._backend.encode(crops[:n]), counts), strict=True):
            np.testing.assert_allclose(got, alone[count], atol=case.noise(count))


def test_one_engine_runs_while_others_are_opened_and_capture(case: Case, crops: NDArray[np.uint8]) -> None:
    engine, done = case.opened(), Event()
    wanted = engine._backend.encode(crops[:3])

    def serve() -> int:
        runs = 0
        while not done.is_set():
            np.testing.assert_array_equal(engine._backend.encode(crops[:3]), wanted)
            engine.predict(crops[:3])
            runs += 1
        return runs

    engine.predict(crops[:3])
    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve)
        try:
            for count in (1, 3, 9):
                with case.opened() as other:
                    other.predict(crops[:count])
                    other.use_labels(case.path.with_suffix(".safetensors"))
                    other.warm_up((count, 2 * count))
        finally:
            done.set()
        assert serving.result() > 0


@pytest.mark.parametrize("count", [1, 3, MOST, 150])
def test_the_head_on_the_gpu_ranks_as_the_cpu(case: Case, crops: NDArray[np.uint8], count: int) -> None:
    """Of the same features: both ways sum in fp32, so only classes that are as good as equal may change places."""
    engine = case.opened()
    if "head on the GPU" not in engine.description:
        pytest.skip(f"the GPU does not rank here: {engine.description}")
    parts = chunks(crops[:count], CHUNK)  # as predict has them encoded: in other batch sizes other kernels sum
    by_cpu = engine.predict_features(np.concatenate([engine._backend.encode(part) for part in parts]))
    for _ in range(2):
        for got, wanted in zip(engine.predict(crops[:count]), by_cpu, strict=True):
            ours, theirs = ({one.label: one for one in found.top} for found in (got, wanted))
            assert set(ours) == set(theirs)
            assert got.reranked == wanted.reranked
            for label, one in ours.items():
                assert one.score == pytest.approx(theirs[label].score, rel=1e-3, abs=1e-6)
                assert one.gap == pytest.approx(theirs[label].gap, abs=1e-5)
            for one, other in zip(got.top, wanted.top, strict=True):
                assert one.label == other.label or one.gap == pytest.approx(other.gap, abs=1e-5)
