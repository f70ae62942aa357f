"""ONNX Runtime CUDA as far as a machine without a GPU shows it: what is missing, and the binding, on the CPU."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine import Engine
from coder_engine.backends import Unavailable
from coder_engine.backends import onnxruntime_cuda as module
from coder_engine.backends.cuda_graphs import Replays
from coder_engine.backends.onnxruntime_cuda import PROVIDER, OnnxRuntimeCuda, graphs_are_right
from coder_engine.backends.session_memory import SessionMemory
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine import cuda_driver
from coder_engine.machine.cuda_driver import first_gpu, require_gpu

ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from helpers_engine import PROPS, features_of, images, write  # noqa: E402
from helpers_gpu import KERNEL, REPLAY, FakeCuda  # noqa: E402
from helpers_gpu_runs import AskedSession, fake_cuda_head  # noqa: E402
from helpers_plans import write_weights  # noqa: E402

CPU = "CPUExecutionProvider"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "engine.onnx")


@pytest.mark.parametrize(("version", "said"), [(13000, "13.0"), (12040, "12.4"), (11080, "11.8")])
def test_the_driver_tells_its_cuda(driver: Callable[..., None], version: int, said: str) -> None:
    driver(version=version)
    assert require_gpu() == said


def test_the_first_gpu(driver: Callable[..., None]) -> None:
    driver(gpu=b"Orin", capability=(8, 7))
    assert str(first_gpu()) == "Orin (compute capability 8.7)"


def test_a_gpu_that_does_not_answer(driver: Callable[..., None]) -> None:
    driver(broken=101, name=b"CUDA_ERROR_INVALID_DEVICE")
    with pytest.raises(Unavailable, match=r"does not start \(CUDA_ERROR_INVALID_DEVICE\)"):
        first_gpu()


def test_no_driver(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libnone.so.0")
    wanted = r"^no NVIDIA driver on this machine \(libnone\.so\.0: .*\): install it, .*--gpus all, or use --device cpu$"
    with pytest.raises(Unavailable, match=wanted) as caught:
        OnnxRuntimeCuda(path, threads=1)
    assert caught.value.short == "no NVIDIA driver"
    with pytest.raises(Unavailable, match="no NVIDIA driver"):
        OnnxRuntimeCuda.require()


@pytest.mark.parametrize(
    ("name", "said"), [(b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), (None, "error 803")]
)
def test_a_driver_that_does_not_start(driver: Callable[..., None], name: bytes | None, said: str) -> None:
    driver(init=803, name=name)
    wanted = rf"^the NVIDIA driver does not start \({said}\): nvidia-smi tells more; .*Or use --device cpu$"
    with pytest.raises(Unavailable, match=wanted) as caught:
        require_gpu()
    assert caught.value.short == f"NVIDIA driver: {said}"


def test_a_driver_without_gpus(driver: Callable[..., None]) -> None:
    driver(gpus=0)
    wanted = r"^the NVIDIA driver sees no GPU: look at nvidia-smi -L and at CUDA_VISIBLE_DEVICES, or use --device cpu$"
    with pytest.raises(Unavailable, match=wanted) as caught:
        require_gpu()
    assert caught.value.short == "no NVIDIA GPU"


def test_the_cpu_build(path: Path, driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    driver()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    wanted = (
        r"^the installed ONNX Runtime .* is the CPU build: pip uninstall -y onnxruntime, "
        r"then pip install 'coder-engine\[gpu\]'$"
    )
    with pytest.raises(Unavailable, match=wanted):
        OnnxRuntimeCuda(path, threads=1)


@pytest.fixture
def gpu_build(cuda: FakeCuda, driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver and package are right, as far as one can see before a session opens."""
    driver(version=12040)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDER, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublas"), raising=False)


@pytest.fixture
def fallen_back(gpu_build: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the runtime does where its CUDA provider does not load: a session without it, and no error."""
    monkeypatch.setattr(ort, "cuda_version", "13.0", raising=False)
    plain = lambda ort, path, providers, *, threads: open_session(path, threads=threads)  # noqa: E731
    monkeypatch.setattr(module, "new_session", plain)


@pytest.mark.usefixtures("fallen_back")
def test_a_silent_fall_back_is_noticed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = (
        r"^ONNX Runtime .* did not start its CUDA provider and fell back to CPUExecutionProvider; it says why above\. "
        r"It is built for CUDA 13\.0, the driver runs up to CUDA 12\.4: update the driver, or pip install .* cpu$"
    )
    with pytest.raises(Unavailable, match=wanted) as caught:
        OnnxRuntimeCuda(path, threads=1)
    assert caught.value.short == "its CUDA provider does not load"
    assert capsys.readouterr() == ("", "Failed to load libcublas\n")  # stdout is for results


@pytest.mark.usefixtures("gpu_build")
@pytest.mark.parametrize(
    ("said", "kind", "wanted"),
    [
        ("BFCArena: Failed to allocate memory for requested buffer", Unavailable, "not enough memory for its weights"),
        ("CUDA failure 35: driver version is insufficient", Unavailable, r"cannot start on the GPU .* --device cpu$"),
        ("Protobuf parsing failed.", EngineError, r"engine\.onnx: ONNX Runtime cannot load it .*export it again"),
    ],
)
def test_sessions_that_do_not_open(
    path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception], wanted: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(module, "new_session", fail)
    with pytest.raises(kind, match=wanted):
        OnnxRuntimeCuda(path, threads=1)


class Asked:
    """Stands for the runtime: gives sessions on the CPU that are asked through a stream, and keeps what was wanted."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.options: list[dict[str, str]] = []
        self.kind = KERNEL  # of their nodes
        self.sessions: list[AskedSession] = []

    def __call__(self, ort: Any, path: Path, providers: list[Any], *, threads: int) -> AskedSession:
        ((name, options),) = providers
        assert name == PROVIDER
        self.options.append(options)
        self.sessions.append(AskedSession(open_session(path, threads=threads), self.cuda, options))
        self.sessions[-1].kind = self.kind
        return self.sessions[-1]


@pytest.fixture
def asked(cuda: FakeCuda, gpu_build: None, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The CPU in place of the GPU."""
    found = Asked(cuda)
    monkeypatch.setattr(module, "new_session", found)
    monkeypatch.setattr(module, "SessionMemory", partial(SessionMemory, device="cpu"))
    return found


def test_no_room_for_the_bank(path: Path, asked: Asked) -> None:
    asked.cuda.room = 1
    with pytest.raises(Unavailable, match=r"the GPU has not enough memory for its weights \(out of memory") as caught:
        OnnxRuntimeCuda(path, threads=1)
    assert caught.value.short == "not enough GPU memory"
    assert asked.cuda.held == {}


def test_a_file_for_gpus_alone_is_not_sent_to_the_cpu(tmp_path: Path, driver: Callable[..., None]) -> None:
    driver(gpus=0)
    fused = write(tmp_path / "fused.onnx", props={**PROPS, "coder.runtime": "cuda"})
    wanted = r"^the NVIDIA driver sees no GPU: .*, or export it again without --format, for a CPU$"
    with pytest.raises(Unavailable, match=wanted):
        OnnxRuntimeCuda(fused, threads=1)


def test_what_is_warm_is_what_predict_runs(
    tmp_path: Path, path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", fake_cuda_head(asked.cuda))
    write_weights(path.with_suffix(".safetensors"), path)
    engine = Engine(path, backend="onnxruntime", device="cuda")
    engine.warm_up([64])
    before = set(asked.sessions[0].bound)
    assert before == {1, 32}  # 1 as the engine opened
    engine.predict(images(64))
    assert set(asked.sessions[0].bound) == before


def test_the_whole_backend_on_a_borrowed_device(path: Path, asked: Asked) -> None:
    found = OnnxRuntimeCuda(path, threads=1)
    (options,) = asked.options
    assert (options["device_id"], options["use_tf32"]) == ("0", "0")
    assert asked.cuda.held[int(options["user_compute_stream"])] == "stream"
    assert found.description == f"ONNX Runtime {ort.__version__}, CUDA, fp32, CUDA graphs"
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)
    assert_allclose(found.encode(images(134)), features_of(images(134)), rtol=1e-5)
    assert sorted(asked.sessions[0].bound) == [1, 4, 8, 32]  # at the start, 3, and four times 32 + 6
    run = found._run
    found.close()
    assert asked.cuda.held == {}
    with pytest.raises(BackendError, match="this engine was closed; open it again"):
        found.encode(images(1))
    with pytest.raises(BackendError, match="this engine was closed; open it again"):
        run(images(1))  # closed by another thread after the check


def test_one_that_is_dropped_frees_all(path: Path, asked: Asked) -> None:
    found = OnnxRuntimeCuda(path, threads=1)
    found.encode(images(3))
    asked.sessions.clear()
    del found
    gc.collect()
    assert asked.cuda.held == {}


def test_an_engine_that_is_not_ours_leaves_nothing(tmp_path: Path, asked: Asked) -> None:
    with pytest.raises(EngineError, match="not an engine of coder-export"):
        OnnxRuntimeCuda(write(tmp_path / "other.onnx", outputs=("features", "more")), threads=1)
    assert asked.cuda.held == {}


def test_another_library_has_chosen_another_gpu(path: Path, asked: Asked) -> None:
    asked.cuda.cudaSetDevice(1)
    OnnxRuntimeCuda(path, threads=1).encode(images(2))
    assert asked.cuda.used == {0}


def test_a_run_that_cannot_be_recorded_stays_plain(path: Path, asked: Asked) -> None:
    asked.kind = "cudaGraphNodeTypeHost"
    found = OnnxRuntimeCuda(path, threads=1)
    assert re.search(r"CUDA, fp32, no CUDA graphs \(it holds work of the host's .*NodeTypeHost\)$", found.description)
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)


def test_encoder_and_head_on_the_gpu(tmp_path: Path, path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", fake_cuda_head(asked.cuda))
    write_weights(path.with_suffix(".safetensors"), path)
    engine = Engine(path, backend="onnxruntime", device="cuda")
    ranker = engine._active.ranker
    assert ranker is not None
    ranker.wait()
    assert "head on the GPU" in engine.description
    wanted = engine.predict_features(engine.embed(images(70)))
    for _ in range(2):
        for got, other in zip(engine.predict(images(70)), wanted, strict=True):
            assert [item.label for item in got.top] == [item.label for item in other.top]
            assert_allclose([item.gap for item in got.top], [item.gap for item in other.top], atol=1e-5)
    asked.cuda.calls.clear()
    engine.predict(images(1))
    assert asked.cuda.calls == list(REPLAY)  # pixels, encoder, head and answers in one
    engine.close()
    del engine, ranker
    gc.collect()
    assert asked.cuda.held == {}


def test_lists_of_any_length(path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """From three graphs, and by the CPU where they are too long."""
    keys, record = set(), Replays.record

    def watched(replays: Replays, key: Hashable, enqueue: Callable[[], object]) -> None:
        keys.add(key)
        record(replays, key, enqueue)

    monkeypatch.setattr(Replays, "record", watched)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", fake_cuda_head(asked.cuda))
    write_weights(path.with_suffix(".safetensors"), path, classes=40)
    with Engine(path, backend="onnxruntime", device="cuda") as engine:
        features = engine.embed(images(70))
        for top in (1, 5, 6, 10, 11, 32, 40):
            wanted = engine.predict_features(features, top=top)
            for got, other in zip(engine.predict(images(70), top=top), wanted, strict=True):
                assert [item.label for item in got.top] == [item.label for item in other.top]
                assert len(got.top) == top
                assert got.reordered == other.reordered
    assert len(keys) == 4  # of features, 5, 10 and 32 classes


@pytest.mark.parametrize(
    ("version", "right"),
    [("1.18.1", False), ("1.30.2", False), ("1.31.0", True), ("1.32.0.dev20260901", True), ("2.0", True)],
)
def test_versions_whose_graphs_are_right(version: str, right: bool) -> None:
    assert graphs_are_right(version) == right


def test_no_graphs_where_they_would_be_wrong(path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "__version__", "1.30.0")
    found = OnnxRuntimeCuda(path, threads=1)
    assert found.description == "ONNX Runtime 1.30.0, CUDA, fp32, no CUDA graphs (they need ONNX Runtime 1.31)"
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)
    assert "cudaStreamBeginCapture" not in asked.cuda.calls
