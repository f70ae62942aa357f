"""What a trial of each backend says of an engine file, and files that get none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from coder_engine.doctor.engine_file import examine, in_own_process


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'outcome: [true, \"fine\"]'; echo noise at the end", (True, "fine")),
        ("echo 'outcome: [false, \"no GPU\"]'", (False, "no GPU")),
        ("kill -ILL $$", (False, "its process ended with signal 4")),
        ("echo 'outcome: [true, \"fine\"]'; echo gone >&2; exit 3", (False, "its process ended with code 3: gone")),
        ("echo hello", (False, "its process ended with code 0: hello")),
    ],
)  # fmt: skip
def test_what_a_trial_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: tuple[bool, str]) -> None:
    fake_python(tmp_path, monkeypatch, body)
    assert in_own_process("onnxruntime", "cpu", Path("x.onnx"), weights=Path("x.safetensors")) == said


def test_a_trial_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path, monkeypatch, "exec sleep 60")
    runs, said = in_own_process("onnxruntime", "cpu", Path("x.onnx"), weights=Path("x.safetensors"), timeout=0.2)
    assert (runs, said) == (False, "python gave no answer in 0 s")


def test_every_backend_gets_its_trial(tiny: Path) -> None:
    asked = []

    def attempt(name: str, device: str, path: Path) -> tuple[bool, str]:
        asked.append((name, device, path))
        return device == "cpu", "said"

    found = examine(tiny, attempt=attempt)
    assert found.ok
    assert ("onnxruntime", "cpu", tiny) in asked
    assert [trial.runs for trial in found.trials] == [device == "cpu" for _, device, _ in asked]


def test_damaged_pair_rows(tiny: Path, tmp_path: Path) -> None:
    weights = bytearray(tiny.with_suffix(".safetensors").read_bytes())
    length = int.from_bytes(weights[:8], "little")
    start = 8 + length + json.loads(bytes(weights[8 : 8 + length]))["pair_rows"]["data_offsets"][0]
    weights[start] ^= 1
    copy = tmp_path / "damaged.safetensors"
    copy.write_bytes(weights)
    found = examine(tiny, copy, attempt=lambda *_: (True, ""))
    assert not found.belongs
    assert "'pair_rows' was edited or damaged" in found.weights


def test_an_engine_that_may_not_be_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, weights: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("coder_engine.weights.check_belongs", forbidden)
    found = examine(tiny)
    assert (found.belongs, "Permission denied" in found.weights) == (False, True)


def test_a_kind_of_file_that_no_backend_reads(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny.engine"
    other.write_bytes(tiny.read_bytes())
    found = examine(other, tiny.with_suffix(".safetensors"), attempt=lambda *_: (True, ""))
    assert (found.belongs, found.trials, found.ok) == (False, (), False)
    assert "not an engine file; wanted an .onnx or .plan" in found.weights


def test_a_trial_takes_no_module_of_the_current_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not NumPy')")
    monkeypatch.chdir(tmp_path)
    runs, said = in_own_process("onnxruntime", "cpu", tiny, weights=tiny.with_suffix(".safetensors"))
    assert runs, said
