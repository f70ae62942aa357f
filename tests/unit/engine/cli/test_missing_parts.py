"""The commands where a part of the installation is missing: --help, one clear line, and a doctor that names it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # imports of it fail
from importlib import import_module
sys.exit(import_module("coder_engine.cli." + sys.argv[2]).main(sys.argv[3:]))
"""
PARTS = ("coder_engine._kernels", "safetensors", "numpy")
WORK = {
    "infer": ("a.png", "--engine", "model.onnx"),
    "fit": ("--engine", "model.onnx", "--support", "photos"),
    "eval": ("photos", "--engine", "model.onnx"),
}


def run(part: str, command: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, part, command, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("command", [*WORK, "doctor"])
def test_help_and_version_need_none_of_them(part: str, command: str) -> None:
    code, out, err = run(part, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: coder-{command}")
    assert max(map(len, out.splitlines())) <= 100
    assert run(part, command, "--version")[0] == 0


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("command", WORK)
def test_work_ends_in_one_line(part: str, command: str) -> None:
    code, out, err = run(part, command, *WORK[command])
    assert (code, out) == (1, "")
    assert err.startswith(f"coder-{command}: ")
    assert part in err
    assert err.endswith("; coder-doctor says what this machine lacks and how to install it\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("part", PARTS)
def test_the_doctor_names_the_fault(part: str) -> None:
    code, out, err = run(part, "doctor", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    mended = "coder-engine" if part == "coder_engine._kernels" else part
    first = found["todo"][0]
    assert first["level"] == "fault"
    assert f"import of {part} halted" in first["text"]
    assert first["commands"] == [f"pip install --force-reinstall --no-deps {mended}"]
    assert not any(backend["usable"] for backend in found["backends"])
    assert "must be mended" in run(part, "doctor")[1]


@pytest.mark.parametrize("part", ["safetensors", "numpy"])
def test_the_doctor_cannot_examine_an_engine_without_them(part: str) -> None:
    code, out, err = run(part, "doctor", "--engine", "model.onnx", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["engine"]["weights"].startswith("it cannot be examined (")
