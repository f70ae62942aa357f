"""ONNX Runtime CUDA as far as a machine without a GPU shows it: what is missing, and the binding, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends import Unavailable
from coder_engine.backends import onnxruntime_cuda as module
from coder_engine.backends.cuda_memory import alone
from coder_engine.backends.onnxruntime_cuda import (
    PROVIDER,
    BoundSession,
    OnnxRuntimeCuda,
    graphs_are_right,
    out_of_memory,
)
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine import cuda_driver
from coder_engine.machine.cuda_driver import first_gpu, require_gpu

ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from helpers_engine import HEIGHT, WIDTH, D, features_of, images, write  # noqa: E402

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
def gpu_build(driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.fixture
def borrowed(gpu_build: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU in place of the GPU."""
    bound = BoundSession
    monkeypatch.setattr(module, "BoundSession", lambda *args, size, device: bound(*args, size=size, device="cpu"))


@pytest.mark.usefixtures("borrowed")
def test_the_whole_backend_on_a_borrowed_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def session(ort: Any, path: Path, providers: list[Any], *, threads: int) -> Any:
        asked.extend(providers)
        opened = open_session(path, threads=threads)
        monkeypatch.setattr(opened, "get_providers", lambda: [PROVIDER, CPU])
        return opened

    monkeypatch.setattr(module, "new_session", session)
    found = OnnxRuntimeCuda(path, threads=1)
    ((name, options),) = asked
    assert (name, options["device_id"], options["use_tf32"]) == (PROVIDER, "0", "0")
    assert options["enable_cuda_graph"] == "1"
    assert found.description == f"ONNX Runtime {ort.__version__}, CUDA, fp32, CUDA graphs"
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)
    assert_allclose(found.encode(images(70)), features_of(images(70)), rtol=1e-5)
    assert found._bound is not None
    assert sorted(found._bound._bound) == [4, 8, 32]  # 3, and 32 + 32 + 6
    run = found._run
    found.close()
    with pytest.raises(BackendError, match="this engine was closed; open it again"):
        found.encode(images(1))
    with pytest.raises(BackendError, match="this engine was closed; open it again"):
        run(images(1))  # closed by another thread after the check


@pytest.mark.usefixtures("borrowed")
def test_a_graph_that_cannot_be_captured_runs_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def session(ort: Any, path: Path, providers: list[Any], *, threads: int) -> Any:
        asked.append(providers[0][1])
        if len(asked) == 1:
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user ")
        opened = open_session(path, threads=threads)
        monkeypatch.setattr(opened, "get_providers", lambda: [PROVIDER, CPU])
        return opened

    monkeypatch.setattr(module, "new_session", session)
    assert OnnxRuntimeCuda(path, threads=1).description.endswith("CUDA, fp32, no CUDA graphs")
    assert ["enable_cuda_graph" in options for options in asked] == [True, False]


@pytest.mark.parametrize(
    ("version", "right"),
    [("1.18.1", False), ("1.29.2", False), ("1.30.0", True), ("1.31.0.dev20260901", True), ("2.0", True)],
)
def test_versions_whose_graphs_are_right(version: str, right: bool) -> None:
    assert graphs_are_right(version) == right


@pytest.mark.usefixtures("borrowed")
def test_no_graphs_where_they_would_be_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def session(ort: Any, path: Path, providers: list[Any], *, threads: int) -> Any:
        asked.append(providers[0][1])
        opened = open_session(path, threads=threads)
        monkeypatch.setattr(opened, "get_providers", lambda: [PROVIDER, CPU])
        return opened

    monkeypatch.setattr(module, "new_session", session)
    monkeypatch.setattr(ort, "__version__", "1.29.2")
    found = OnnxRuntimeCuda(path, threads=1)
    assert found.description == "ONNX Runtime 1.29.2, CUDA, fp32, no CUDA graphs (they need ONNX Runtime 1.30)"
    assert ["enable_cuda_graph" in options for options in asked] == [False]


# the binding


@pytest.fixture
def bound(path: Path) -> BoundSession:
    bank = images(1).reshape(1, D).astype("float32")
    return BoundSession(ort, open_session(path, threads=1), bank, size=(HEIGHT, WIDTH), device="cpu")


@pytest.mark.parametrize("count", [1, 3, 64])
def test_bound_runs(bound: BoundSession, count: int) -> None:
    first = bound.run(images(count))
    assert_allclose(first, features_of(images(count)), rtol=1e-5)
    bound.run(images(count)[::-1].copy())
    assert_allclose(first, features_of(images(count)), rtol=1e-5)


def test_only_the_pixels_travel_and_addresses_stay(bound: BoundSession) -> None:
    calls: list[tuple[Any, ...]] = []
    session = bound._session

    class Binding:
        def __init__(self) -> None:
            self.real = session.io_binding()

        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda name_of, value: (
                calls.append((name, name_of, value.data_ptr())) or getattr(self.real, name)(name_of, value)
            )

    def run(binding: Binding, options: Any) -> None:
        calls.append(("run", options.get_run_config_entry("gpu_graph_id")))
        session.run_with_iobinding(binding.real, options)

    bound._session = SimpleNamespace(io_binding=Binding, run_with_iobinding=run)
    for count in (2, 2, 1, 2):
        assert_allclose(bound.run(images(count)), features_of(images(count)), rtol=1e-5)
    two, one = bound._bound[2], bound._bound[1]

    def binds(kept: Any) -> list[tuple[Any, ...]]:
        return [
            ("bind_ortvalue_input", "pixels", kept.pixels.data_ptr()),
            ("bind_ortvalue_input", "bank", bound._bank.data_ptr()),
            ("bind_ortvalue_output", "features", kept.features.data_ptr()),
        ]

    assert calls == [*binds(two), ("run", "1"), ("run", "1"), *binds(one), ("run", "2"), ("run", "1")]


def test_threads_take_turns(bound: BoundSession) -> None:
    batches = [images(3)[i : i + 1] for i in range(3)] * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bound.run, batches))
    for pixels, features in zip(batches, found, strict=True):
        assert_allclose(features, features_of(pixels), rtol=1e-5)


def test_the_runtime_sees_one_thread(bound: BoundSession) -> None:
    """As it keeps a graph of each size for every thread that it sees."""
    session, seen = bound._session, []

    def run(*args: Any) -> None:
        assert alone._is_owned()  # type: ignore[attr-defined]  # it may capture, and copies
        seen.append(threading.get_ident())
        session.run_with_iobinding(*args)

    bound._session = SimpleNamespace(io_binding=session.io_binding, run_with_iobinding=run)
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(bound.run, [images(1)] * 4))
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_what_failed_is_bound_anew(bound: BoundSession) -> None:
    bound.run(images(2))
    before, session = bound._bound[2], bound._session

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA failure 700")

    bound._session = SimpleNamespace(run_with_iobinding=fail)
    with pytest.raises(BackendError, match="failed on 2 images"):
        bound.run(images(2))
    bound._session = session
    assert_allclose(bound.run(images(2)), features_of(images(2)), rtol=1e-5)
    after = bound._bound[2]
    assert after is not before
    ids = [kept.options.get_run_config_entry("gpu_graph_id") for kept in (before, after)]
    assert ids[0] != ids[1]  # else the graph of the old tensors' addresses would run


def test_a_device_that_cannot_hold_the_bank(path: Path) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no device\nmore")

    fake: Any = SimpleNamespace(OrtValue=SimpleNamespace(ortvalue_from_numpy=refuse))
    with pytest.raises(BackendError, match=r"^ONNX Runtime cannot use cuda \(no device\); use --device cpu$"):
        BoundSession(fake, None, images(1).reshape(1, D).astype("float32"), size=(HEIGHT, WIDTH), device="cuda")


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
    [(64, r"a smaller batch \(--batch-size 32\)"), (1, r"a GPU with more free memory \(nvidia-smi\)")],
)
def test_out_of_memory(bound: BoundSession, said: str, count: int, cure: str) -> None:
    def fail() -> None:
        raise RuntimeError(f"{said}\nat line 3")

    bound._session = SimpleNamespace(io_binding=fail)
    wanted = rf"^the device has not enough memory for {count} images? \(.*\); use {cure}$"
    with pytest.raises(BackendError, match=wanted):
        bound.run(images(count))


def test_other_failures(bound: BoundSession) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA failure 700: illegal access")

    bound._session = SimpleNamespace(io_binding=fail)
    with pytest.raises(
        BackendError, match=r"^ONNX Runtime failed on 2 images \(CUDA failure 700: illegal access\); try"
    ):
        bound.run(images(2))


def test_out_of_memory_of_the_host_counts() -> None:
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("CUDA failure 201: invalid device context"))
