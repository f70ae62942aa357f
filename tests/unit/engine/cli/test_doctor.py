"""coder-doctor as a command: its two forms, its exit codes, and real runs on this machine."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from coder_engine.cli import doctor
from coder_engine.cli.doctor import main
from coder_engine.doctor.facts import Facts
from coder_engine.doctor.report import as_text
from helpers_doctor import HEALTHY, having


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_facts", lambda: HEALTHY)


@pytest.mark.usefixtures("healthy")
def test_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == as_text(HEALTHY, None)
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["cpu"] == "Some CPU"


@pytest.mark.usefixtures("healthy")
def test_an_engine_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", str(tmp_path / "no.onnx")]) == 1
    assert "no such engine file; coder-export makes one." in " ".join(capsys.readouterr().out.split())


def test_exit_code_of_a_conflict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "find_facts", lambda: having(HEALTHY, onnxruntime_gpu="1.31"))
    assert main([]) == 1
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in capsys.readouterr().out


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> Facts:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "find_facts", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "coder-doctor: interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.usefixtures("healthy")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, which is the point
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([]) == 1
    assert "cannot write to standard output" in capsys.readouterr().err
    stream.close()


@pytest.mark.usefixtures("healthy")
def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []
    monkeypatch.setattr(doctor, "as_text", lambda *_, columns: asked.append(columns) or "")
    main([])
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main([])
    monkeypatch.setenv("COLUMNS", "300")
    main([])
    assert asked == [99, 72, 99]


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--enginee", "x"])
    assert caught.value.code == 1
    assert "coder-doctor: unrecognized arguments" in capsys.readouterr().err


# this machine


def test_a_real_run(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--engine", str(tiny), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["engine"]["ok"] is True
    assert found["engine"]["weights"].endswith("coder-tiny (cifar10), 10 classes, 45 pairs")
    reference = next(trial for trial in found["engine"]["trials"] if trial["title"] == "ONNX Runtime")
    assert reference["runs"] is True
    assert found["facts"]["packages"]["numpy"]
    assert found["facts"]["isas"][-1] == "scalar"
    assert found["facts"]["memory"] > 1 << 20


def test_a_real_run_on_a_pair_that_does_not_belong_together(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(tiny, other)
    with other.open("ab") as stream:
        stream.write(b" ")
    main(["--engine", str(other), "--weights", str(tiny.with_suffix(".safetensors")), "--json"])
    engine = json.loads(capsys.readouterr().out)["engine"]
    assert (engine["ok"], engine["belongs"], engine["trials"]) == (False, False, [])
    assert "do not belong together" in engine["weights"]
