"""What is ONNX Runtime's own, the reference: its words, its session, its failures, its packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from coder_engine.backends.onnxruntime import OnnxRuntimeCpu, open_session
from coder_engine.errors import BackendError
from helpers_engine import HEIGHT, WIDTH, D, features_of, images, write


def test_the_reference_describes_itself(path: Path) -> None:
    import onnxruntime

    found = OnnxRuntimeCpu(write(path), threads=2)
    assert found.description == f"ONNX Runtime {onnxruntime.__version__}, CPU, fp32, 2 threads"
    assert OnnxRuntimeCpu(path, threads=1).description.endswith(" 1 thread")


def test_a_plain_session_computes_all_of_the_graph(path: Path) -> None:
    session = open_session(write(path), threads=None)
    bank = np.random.default_rng(2).normal(size=(5, D)).astype(np.float32)
    pixels = images(3)
    features, coder = session.run(["features", "coder"], {"pixels": pixels, "bank": bank})
    assert_allclose(coder, features @ bank.T, rtol=1e-5)


class Spy:
    """Passes runs on to a session and keeps the shapes of what was fed."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.fed: list[dict[str, tuple[int, ...]]] = []

    def run(self, outputs: list[str], feeds: dict[str, NDArray[Any]]) -> Any:
        assert outputs == ["features"]
        self.fed.append({name: array.shape for name, array in feeds.items()})
        return self.session.run(outputs, feeds)


def test_the_reference_multiplies_with_one_row_at_the_most(path: Path) -> None:
    engine = OnnxRuntimeCpu(write(path), threads=1)
    engine._session = spy = Spy(engine._session)
    engine.encode(images(3))
    engine.encode(images(0))
    assert spy.fed == [{"pixels": (3, HEIGHT, WIDTH, 3), "bank": (1, D)}]


def test_a_runtime_failure(path: Path) -> None:
    found = OnnxRuntimeCpu(write(path, rows=1), threads=1)
    assert found.encode(images(1)).shape == (1, D)
    with pytest.raises(BackendError, match=r"^ONNX Runtime failed on 2 images \(.+\); try a smaller batch$") as caught:
        found.encode(images(2))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert_allclose(found.encode(images(1)), features_of(images(1)), rtol=1e-5)


class Broken:
    """Stands for a session whose error has no text."""

    def run(self, *args: object) -> None:
        raise RuntimeError


def test_a_failure_without_words_is_named_by_its_type(path: Path) -> None:
    engine = OnnxRuntimeCpu(write(path), threads=1)
    engine._session = Broken()
    with pytest.raises(BackendError, match=r"failed on 1 image \(RuntimeError\)"):
        engine.encode(images(1))


# its packages


def test_a_missing_runtime_names_the_cure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    wanted = r"^ONNX Runtime is not installed \(.*onnxruntime.*\); install it: pip install 'coder-engine\[cpu\]'$"
    with pytest.raises(BackendError, match=wanted):
        OnnxRuntimeCpu(path, threads=1)
    with pytest.raises(BackendError, match=wanted):
        open_session(path, threads=None)


def test_both_wheels(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coder_engine.backends.onnxruntime.metadata.distribution", lambda name: name)
    wanted = (
        r"^onnxruntime and onnxruntime-gpu are both installed; they are one module.* pip uninstall -y onnxruntime "
        r"onnxruntime-gpu, then pip install 'coder-engine\[gpu\]', or \[cpu\] without an NVIDIA GPU$"
    )
    with pytest.raises(BackendError, match=wanted):
        OnnxRuntimeCpu(write(path), threads=1)


def test_libraries_that_do_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: not found\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    wanted = r"^ONNX Runtime does not load \(libgomp\.so\.1: not found\); install it anew: pip install --force"
    with pytest.raises(BackendError, match=wanted):
        OnnxRuntimeCpu.require()


def test_no_telemetry_of_the_reference() -> None:
    """Its events go out from the first import on, so this asks a new process."""
    code = (
        "import os; from coder_engine.backends.onnxruntime import OnnxRuntimeCpu; OnnxRuntimeCpu.require();"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1\n"
