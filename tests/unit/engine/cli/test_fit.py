"""coder-fit as a command: the engine it opens, the threads it takes, the progress it shows."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coder_engine import fit
from coder_engine.cli.fit import main
from coder_engine.fit import embed
from coder_engine.weights import load_weights, update_weights

COLOURS = {"frog": (30, 160, 40), "ship": (40, 60, 170)}


@pytest.fixture
def command(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """coder-fit on an engine file of its own, with two images of each of two classes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which the command sets for its own process
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"engine{suffix}")
    images(tmp_path / "support", 2)
    options = ["--backend", "onnxruntime", "--device", "cpu", "--views", "1"]
    return ["--engine", str(tmp_path / "engine.onnx"), "--support", str(tmp_path / "support"), *options]


def images(folder: Path, each: int, shade: int = 0) -> Path:
    for name, (red, green, blue) in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for n in range(each):
            Image.new("RGB", (64, 64), (red + shade, green + 9 * n, blue)).save(folder / name / f"{n}.png")
    return folder


def test_the_engine_is_opened_as_it_will_be_served(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--precision", "fp32", "--threads", "1"]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert re.match(r"coder-fit: ONNX Runtime \S+, CPU, fp32, 1 thread;", first)


def test_an_engine_that_nothing_here_has(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--precision", "bf16"]) == 1
    assert "no backend has backend onnxruntime, device cpu, precision bf16" in capsys.readouterr().err


def test_threads_are_as_many_as_the_decoders(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ahead = embed.decode_ahead

    def decode_ahead(*args: object, workers: int, **options: object) -> object:
        asked.append(workers)
        return ahead(*args, workers=workers, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(embed, "decode_ahead", decode_ahead)
    assert main([*command, "--threads", "3", "--quiet"]) == 0
    assert asked == [3]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads by /proc")
def test_threads_bound_those_of_numpy() -> None:
    code = (
        "import os, sys; from coder_engine.cli.fit import main; "
        "main(['--engine', 'none', '--support', '.', '--threads', '1']); "
        "assert 'numpy' in sys.modules; print(len(os.listdir('/proc/self/task')))"
    )
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_weight_file_that_was_changed_meanwhile_stays(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, fitted = tmp_path / "engine.safetensors", fit.fit_engine

    def slow(*args: Any, **options: Any) -> Any:
        update_weights(path, margin=0.5)
        return fitted(*args, **options)

    monkeypatch.setattr(fit, "fit_engine", slow)
    assert main(command) == 1
    assert "was changed meanwhile by another program; nothing is written, do it once more" in capsys.readouterr().err
    assert (load_weights(path).meta.margin, load_weights(path).adapter_keys) == (0.5, None)


def test_progress_starts_anew_for_the_validation_images(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    val = images(tmp_path / "val", 1, shade=40)
    monkeypatch.setattr(sys, "stderr", Terminal())
    ticks = count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))  # every image is worth a line
    assert main([*command, "--val", str(val)]) == 0
    shown = re.findall(r"\r(\d+)/(\d+) images, [\d.]+/s, \d:\d\d:\d\d, \d:\d\d:\d\d left", sys.stderr.getvalue())
    assert shown == [("1", "4"), ("2", "4"), ("3", "4"), ("4", "4"), ("1", "2"), ("2", "2")]
