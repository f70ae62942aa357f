"""What is OpenVINO's own: precision by what the CPU has, the cache of compiled models, no telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import assert_allclose

from coder_engine.backends import Unavailable
from coder_engine.backends import openvino as module
from coder_engine.backends.openvino import OpenVinoCpu, choose_precision, last_line
from coder_engine.errors import BackendError
from coder_engine.machine.caches import cache_folder, prune
from helpers_engine import D, features_of, images, write

REASON = "OpenVINO is not installed: pip install 'coder-engine[openvino]'"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "coder-engine" / "openvino"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An engine file, where OpenVINO is there to open it."""
    try:
        OpenVinoCpu.require()
    except Unavailable:
        pytest.skip(REASON)
    return write(tmp_path / "engine.onnx")


class Cpu:
    """Stands for ``openvino.Core`` on a CPU of given abilities."""

    def __init__(self, *capabilities: str) -> None:
        self.properties = {"OPTIMIZATION_CAPABILITIES": list(capabilities), "FULL_DEVICE_NAME": "Old CPU"}

    def get_property(self, device: str, name: str) -> Any:
        assert device == "CPU"
        return self.properties[name]


FAST, SLOW = "flags\t\t: fpu avx512_bf16 amx_bf16", "flags\t\t: fpu avx512_bf16"


@pytest.mark.parametrize(
    ("cpu", "cpuinfo", "wanted", "chosen"),
    [
        (Cpu("BF16", "FP32"), FAST, "auto", "bf16"),
        (Cpu("BF16", "FP32"), SLOW, "auto", "fp32"),
        (Cpu("BF16", "FP32"), SLOW, "bf16", "bf16"),
        (Cpu("BF16", "FP32"), FAST, "fp32", "fp32"),
        (Cpu("FP32"), FAST, "auto", "fp32"),
        (Cpu("FP32"), SLOW, "fp32", "fp32"),
    ],
)
def test_precision(cpu: Cpu, cpuinfo: str, wanted: str, chosen: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{cpuinfo}\n")
    assert choose_precision(cpu, wanted, tmp_path / "cpuinfo") == chosen


def test_a_precision_the_cpu_lacks() -> None:
    wanted = r"^this CPU \(Old CPU\) does not compute in bf16 \(on x86 .*AVX512_BF16 or AMX\); use --precision fp32$"
    with pytest.raises(Unavailable, match=wanted) as caught:
        choose_precision(Cpu("FP32"), "bf16")
    assert caught.value.short == "no bf16 in this CPU"


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    wanted = r"^OpenVINO is not installed \(.*openvino.*\); install it: pip install 'coder-engine\[openvino\]'$"
    with pytest.raises(Unavailable, match=wanted) as caught:
        OpenVinoCpu(tmp_path / "engine.onnx", threads=1)
    assert caught.value.short == "not installed"


def test_description(path: Path) -> None:
    import openvino

    version = openvino.__version__.split("-")[0]
    assert OpenVinoCpu(path, threads=1, precision="fp32").description == f"OpenVINO {version}, CPU, fp32, 1 thread"
    assert ", no cache folder" not in OpenVinoCpu(path, threads=1).description


def test_the_description_tells_the_threads_in_use(path: Path) -> None:
    found = OpenVinoCpu(path, threads=1024)
    used = int(found._compiled.get_property("INFERENCE_NUM_THREADS"))
    assert found.description.endswith(f", {used} thread{'s' if used > 1 else ''}")
    assert used <= (os.cpu_count() or 1)


def test_one_row_bank_and_requests_that_are_used_again(path: Path) -> None:
    found = OpenVinoCpu(path, threads=1)
    for count in (1, 3, 1):
        found.encode(images(count))
    (request,) = found._idle
    assert tuple(request.get_tensor("bank").shape) == (1, D)


def test_an_idle_request_holds_no_pixels(path: Path) -> None:
    found, given = OpenVinoCpu(path, threads=1), images(3)
    held = weakref.ref(given)
    found.encode(given)
    del given
    assert held() is None


def test_features_are_copied_before_another_thread_gets_the_request(path: Path) -> None:
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    first = found._run(images(4)[:2])
    found._run(images(4)[2:])
    assert_allclose(first, features_of(images(4)[:2]), rtol=1e-5)


def test_a_second_start_uses_the_cache(path: Path, cache: Path) -> None:
    OpenVinoCpu(path, threads=1, precision="fp32")
    (blob,) = cache.iterdir()
    before = blob.stat().st_mtime_ns
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    assert [(item, item.stat().st_mtime_ns) for item in cache.iterdir()] == [(blob, before)]
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)
    assert cache.stat().st_mode & 0o077 == 0


def test_another_engine_of_the_same_name_size_and_time_is_not_mistaken(path: Path) -> None:
    write(path, scale=1.0)
    old = path.stat()
    OpenVinoCpu(path, threads=1, precision="fp32").encode(images(1))
    write(path, scale=2.0)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    with pytest.raises(Exception, match="feature of length 2"):
        OpenVinoCpu(path, threads=1, precision="fp32").encode(images(1))


def test_a_blob_cut_short_is_compiled_again(path: Path, cache: Path) -> None:
    OpenVinoCpu(path, threads=1, precision="fp32")
    (blob,) = cache.iterdir()
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    assert_allclose(found.encode(images(2)), features_of(images(2)), rtol=1e-5)


def test_opening_prunes_the_cache(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OpenVinoCpu(path, threads=1, precision="fp32")
    monkeypatch.setattr(module, "prune", partial(prune, budget=0))
    found = OpenVinoCpu(path, threads=1, precision="fp32")  # runs from the file that goes meanwhile
    assert list(cache.iterdir()) == []
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)


def test_the_cache_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder("openvino") == tmp_path / "cache" / "coder-engine" / "openvino"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    assert cache_folder("openvino") == tmp_path / "me" / ".cache" / "coder-engine" / "openvino"


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_no_cache_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder("openvino") is None
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    assert found.description.endswith("1 thread, no cache folder")
    assert_allclose(found.encode(images(2)), features_of(images(2)), rtol=1e-5)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder("openvino") is None


def test_a_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_folder("openvino") is None


class Failing:
    """Stands for a request, or a core, that cannot."""

    def set_tensor(self, *_: object) -> None:
        pass

    def infer(self, *_: object, **__: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:1:\nnot enough memory\n\n")

    compile_model = infer


def test_a_failed_request_is_not_used_again(path: Path) -> None:
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    found._idle.append(Failing())
    with pytest.raises(BackendError, match=r"^OpenVINO failed on 2 images \(not enough memory\); try a smaller batch$"):
        found.encode(images(2))
    assert_allclose(found.encode(images(2)), features_of(images(2)), rtol=1e-5)


def test_a_model_it_cannot_compile(path: Path) -> None:
    found = OpenVinoCpu(path, threads=1)
    wanted = r"engine\.onnx: OpenVINO cannot compile it \(not enough memory\); use --backend onnxruntime$"
    with pytest.raises(BackendError, match=wanted):
        found._compile(Failing(), None, "fp32", 1, None)


def test_a_precision_that_was_not_kept(path: Path) -> None:
    class Core:
        def compile_model(self, *_: object) -> Any:
            return compiled

    compiled = OpenVinoCpu(path, threads=1, precision="fp32")._compiled
    found = OpenVinoCpu(path, threads=1, precision="fp32")
    with pytest.raises(BackendError, match=r"^OpenVINO computes in f32, wanted bf16; use --backend onnxruntime$"):
        found._compile(Core(), None, "bf16", 1, None)


def test_a_failure_without_words() -> None:
    assert last_line(RuntimeError()) == "RuntimeError"
    assert len(last_line(RuntimeError("x" * 999))) == 200


def test_opening_writes_nothing_home_but_the_cache(path: Path, tmp_path: Path) -> None:
    """OpenVINO's telemetry writes ~/intel and asks for its server when it is first imported: in a new process."""
    code = (
        "import sys; from pathlib import Path; from coder_engine.backends.openvino import OpenVinoCpu;"
        f"OpenVinoCpu(Path({str(path)!r}), threads=1);"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "CI")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment | {"HOME": str(home)}
    )
    assert done.stdout == "[]\n"
    assert [item.name for item in home.iterdir()] == [".cache"]


def test_telemetry_that_the_program_loaded_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)
    with module._no_telemetry():
        assert sys.modules["openvino_telemetry"] is sys
    assert sys.modules["openvino_telemetry"] is sys


def test_closing_frees_what_still_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = OpenVinoCpu(write(path), threads=1)
    made = found._request

    def closing(compiled: Any) -> Any:
        request = made(compiled)
        found.close()
        return request

    monkeypatch.setattr(found, "_request", closing)
    found.encode(images(1))
    assert not found._idle


_SIGNALLED = """
import signal, sys, threading
from pathlib import Path
from coder_engine.backends.openvino import OpenVinoCpu
held = [OpenVinoCpu(Path(sys.argv[1]), threads=1)]
thread = threading.Thread(target=lambda: held.pop().close())
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: print("told"))
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_outlive_an_engine_that_another_thread_closed(path: Path) -> None:
    command = [sys.executable, "-c", _SIGNALLED, str(write(path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
