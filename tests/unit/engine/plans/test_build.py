"""Plans built for real by TensorRT-RTX, which needs no GPU for that; what TensorRT would do with one, by a stand-in."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coder_engine.backends import Unavailable
from coder_engine.errors import EngineError
from coder_engine.files import sha256_of
from coder_engine.machine import cuda_driver
from coder_engine.machine.cuda_driver import Gpu
from coder_engine.plans import build as module
from coder_engine.plans.build import build_plan, find_builder, parse, profiles
from coder_engine.plans.library import LIBRARIES, Log, exclusive, open_library, uncollected
from helpers_driver import Driver
from helpers_engine import HEIGHT, WIDTH, D, write

pytestmark = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx"
)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write(tmp_path / "m.onnx")


@pytest.fixture
def rtx() -> ModuleType:
    return open_library("tensorrt_rtx")


def test_a_plan_and_its_record(graph: Path, tmp_path: Path, rtx: ModuleType) -> None:
    told: list[tuple[float, str]] = []
    plan = tmp_path / "m.plan"
    record = build_plan(
        graph,
        plan,
        precision="fp32",
        max_batch=4,
        library="tensorrt_rtx",
        progress=lambda done, phase: told.append((done, phase)),
    )
    assert record.to_json() == {
        "library": "tensorrt_rtx",
        "version": rtx.__version__,
        "gpu": None,
        "compute_capability": None,
        "max_batch": 4,
        "precision": "fp32",
        "onnx_sha256": sha256_of(graph),
    }
    assert plan.stat().st_size > 10_000
    validity = rtx.Runtime(Log(rtx).logger).get_engine_validity
    assert validity(plan.read_bytes()) != validity(b"CODER" + plan.read_bytes())  # it has no prefix of ours
    done = [part for part, _ in told]
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] <= 1
    assert all(phase for _, phase in told)


@pytest.mark.parametrize(("most", "best"), [(1, 1), (4, 4), (64, 8)])
def test_two_profiles(graph: Path, rtx: ModuleType, most: int, best: int) -> None:
    log = Log(rtx)
    builder = rtx.Builder(log.logger)
    network, _parser = parse(rtx, builder, log, graph)
    one, many = profiles(builder, network, graph, most)
    picture = (HEIGHT, WIDTH, 3)
    assert [tuple(shape) for shape in one.get_shape("pixels")] == [(1, *picture)] * 3
    assert [tuple(shape) for shape in many.get_shape("pixels")] == [(b, *picture) for b in (1, best, most)]
    for profile in (one, many):
        assert [tuple(shape) for shape in profile.get_shape("bank")] == [(1, D)] * 3


def test_what_the_builder_is_asked(graph: Path, tmp_path: Path, rtx: ModuleType, monkeypatch: Any) -> None:
    """Two profiles, no TF32, all memory given by the caller, and what must not run stays off."""
    seen: list[Any] = []
    set_flags = module._set_flags
    monkeypatch.setattr(module, "_set_flags", lambda trt, config: (set_flags(trt, config), seen.append(config)))
    build_plan(graph, tmp_path / "m.plan", precision="fp32", library="tensorrt_rtx")
    (config,) = seen
    assert config.num_optimization_profiles == 2
    flags = rtx.BuilderFlag
    on = {name for name, flag in flags.__members__.items() if config.get_flag(flag)}
    assert on & {"TF32", "VERSION_COMPATIBLE", "REFIT", "STRIP_PLAN", "REQUIRE_USER_ALLOCATION"} == {
        "REQUIRE_USER_ALLOCATION"
    }


def test_a_graph_it_cannot_parse(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"m\.onnx: TensorRT.* does not parse it \(.+\)"):
        build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", precision="fp32")
    assert not (tmp_path / "m.plan").exists()


def test_a_graph_it_cannot_build(tmp_path: Path) -> None:
    graph = write(tmp_path / "m.onnx", rows=7)  # a batch baked in: no profile fits
    with pytest.raises(EngineError, match=r"m\.onnx: TensorRT-RTX .* does not build it \(.+\)"):
        build_plan(graph, tmp_path / "m.plan", precision="fp32", library="tensorrt_rtx")
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_a_graph_that_is_not_ours(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", info[:1], info[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(EngineError, match=r"not an engine of coder-export \(inputs \['x'\], wanted pixels and bank\)"):
        build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", precision="fp32", library="tensorrt_rtx")


@pytest.mark.parametrize("most", [0, -1, 4097])
def test_absurd_batches(tmp_path: Path, most: int) -> None:
    with pytest.raises(ValueError, match=f"max_batch must be from 1 to 4096, got {most}"):
        build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", precision="fp32", max_batch=most)


def test_ctrl_c_while_it_builds(graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[float] = []

    def interrupt(done: float, phase: str) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(graph, tmp_path / "m.plan", precision="fp32", library="tensorrt_rtx", progress=interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    assert capfd.readouterr() == ("", "")


def test_a_build_that_was_stopped_leaves_no_cycle(graph: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    kept: list[Any] = []

    def stop(done: float, phase: str) -> None:
        error = Stop()
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.disable()
    try:
        with contextlib.suppress(Stop):
            build_plan(graph, tmp_path / "m.plan", precision="fp32", library="tensorrt_rtx", progress=stop)
        assert kept
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_the_collector_stays_off_until_the_last_has_left() -> None:
    assert gc.isenabled()
    first, second = uncollected(), uncollected()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()  # it was off before
    finally:
        gc.enable()


def test_a_builder_that_is_garbage_does_not_lock_the_next_one(graph: Path) -> None:
    """The collector's worst moment is in the logger. In a process of its own, since a lock would be for ever."""
    code = """
import gc, sys
from pathlib import Path
from coder_engine.plans import build
from coder_engine.plans.library import Log, open_library

class Collecting(Log):
    def __init__(self, trt):
        super().__init__(trt)
        class Logger(type(self.logger)):
            def log(self, severity, message):
                if gc.isenabled():
                    gc.collect()
        self.logger = Logger()

trt = open_library("tensorrt_rtx")
gc.set_threshold(10**9)
log = Log(trt)
cycle = [trt.Builder(log.logger)]
cycle.append(cycle)
del cycle
build.Log = Collecting
build.build_plan(Path(sys.argv[1]), Path(sys.argv[1]).with_suffix(".plan"), precision="fp32", library="tensorrt_rtx")
"""
    subprocess.run([sys.executable, "-c", code, str(graph)], check=True, timeout=120)


def test_threads_that_build_do_not_lock_each_other(graph: Path) -> None:
    """One frees a builder while another's logs; likewise a lock for ever."""
    code = """
import sys, threading
from pathlib import Path
from coder_engine.plans.build import build_plan
from coder_engine.plans.library import Log, exclusive, open_library

def build():
    for _ in range(20):
        build_plan(graph, graph.with_suffix(".plan"), precision="fp32", library="tensorrt_rtx")

trt, graph = open_library("tensorrt_rtx"), Path(sys.argv[1])
log, thread = Log(trt), threading.Thread(target=build)
thread.start()
while thread.is_alive():
    with exclusive():
        trt.Builder(log.logger)
"""
    subprocess.run([sys.executable, "-c", code, str(graph)], check=True, timeout=120)


def test_an_error_keeps_nothing_that_the_library_made() -> None:
    kept: list[weakref.ref[Any]] = []

    def fail() -> None:
        made = {1}
        kept.append(weakref.ref(made))
        raise EngineError("does not build")

    with pytest.raises(EngineError, match="does not build") as caught, exclusive():
        fail()
    assert caught.value.__traceback__ is not None
    assert kept[0]() is None


# TensorRT, by the same interface; only what is asked of it


@pytest.fixture
def tensorrt(rtx: ModuleType, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """RTX under TensorRT's name: it builds the same plans, and keeps a timing cache if it is given one."""
    fake = SimpleNamespace(**{**vars(rtx), "__name__": "tensorrt", "__version__": "11.0.0.1"})
    monkeypatch.setattr(module, "open_library", lambda name=None: fake)
    return fake


def test_tensorrt_builds_on_the_gpu_the_plan_is_for(
    tensorrt: SimpleNamespace, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libnone.so.0")
    wanted = (
        r"^TensorRT builds plans on the GPU they are for \(no NVIDIA driver.*\)\. Export without --format plan, copy "
        r"m\.onnx and m\.safetensors to that machine, and there: coder-infer IMAGES --engine m\.plan --rebuild$"
    )
    with pytest.raises(Unavailable, match=wanted) as caught:
        find_builder(graph)
    assert caught.value.short == "no NVIDIA driver"


def test_tensorrt_records_the_gpu(
    tensorrt: SimpleNamespace, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_timing_cache", lambda trt, config, gpu: contextlib.nullcontext())
    monkeypatch.setattr(cuda_driver.ctypes, "CDLL", lambda name: Driver(gpu=b"Orin", capability=(8, 7)))
    record = build_plan(graph, tmp_path / "m.plan", precision="fp32")
    assert (record.library, record.version, record.gpu) == ("tensorrt", "11.0.0.1", "Orin")
    assert record.compute_capability == "8.7"
    assert str(record) == "TensorRT 11.0.0.1 for Orin (8.7), B up to 64"


class Times:
    """Stands for TensorRT's builder configuration, as far as its timing cache goes; RTX has none."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.set: list[tuple[bytes, bool]] = []

    def create_timing_cache(self, content: bytes) -> bytes | None:
        self.given.append(content)
        return None if content == b"damaged" else b"cache of " + content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> None:
        self.set.append((cache, ignore_mismatch))

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: b"times")


def test_times_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trt: Any = SimpleNamespace(__version__="11.0.0.1")
    gpu = Gpu(name="Orin/NX 8", capability="8.7")
    kept = tmp_path / "coder-engine/tensorrt/11.0.0.1-8.7-Orin-NX-8.timing"
    for before, given in ((b"", [b""]), (b"times", [b"times"]), (b"damaged", [b"damaged", b""])):
        if before:
            kept.write_bytes(before)
        config = Times()
        with module._timing_cache(trt, config, gpu):
            assert config.given == given
            assert config.set == [(b"cache of " + given[-1], False)]
        assert kept.read_bytes() == b"times"


def test_a_build_outlives_times_that_cannot_be_read_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trt: Any = SimpleNamespace(__version__="1.7")
    kept = tmp_path / "coder-engine/tensorrt/1.7-8.0-g.timing"
    kept.mkdir(parents=True)
    config = Times()
    with module._timing_cache(trt, config, Gpu(name="g", capability="8.0")):
        assert config.given == [b""]
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_no_times_of_a_build_that_failed_or_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trt: Any = SimpleNamespace(__version__="1.7")
    with module._timing_cache(trt, Times(), None):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EngineError), module._timing_cache(trt, Times(), Gpu(name="g", capability="8.0")):
        raise EngineError("no")
    assert list((tmp_path / "coder-engine/tensorrt").iterdir()) == []


def test_strong_types_are_asked_for_where_there_is_a_choice() -> None:
    asked: list[int] = []
    parser = SimpleNamespace(parse_from_file=lambda path: True)
    builder = SimpleNamespace(create_network=asked.append)
    log: Any = SimpleNamespace(logger=None)
    for flags in (SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1), SimpleNamespace()):
        trt: Any = SimpleNamespace(NetworkDefinitionCreationFlag=flags, OnnxParser=lambda network, logger: parser)
        parse(trt, builder, log, Path("m.onnx"))
    assert asked == [2, 0]


@pytest.mark.parametrize("open_it", [lambda: open_library("tensorrt"), open_library])
def test_no_library(open_it: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
    wanted = (
        r"^TensorRT is not installed \(.*\); install it: pip install 'coder-engine\[tensorrt\]'.*"
        r"\. On a Jetson, JetPack brings TensorRT$"
    )
    with pytest.raises(Unavailable, match=wanted):
        open_it()


def test_a_gpu_in_words() -> None:
    assert str(Gpu(name="NVIDIA L4", capability="8.9")) == "NVIDIA L4 (compute capability 8.9)"
