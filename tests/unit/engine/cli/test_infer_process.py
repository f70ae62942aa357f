"""coder-infer as a process of its own: pipes that close, paths that come one by one, a full disk, Ctrl-C."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
sys.path[:0] = {paths!r}
from coder_engine.cli import infer, infer_run
from unit.engine.cli.fake_engine import FakeEngine
infer_run.open_engine = lambda args, **options: FakeEngine()
sys.exit(infer.main(sys.argv[1:]))
"""


@pytest.fixture
def command(photos: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # buffers are what can still break at exit
    script = SCRIPT.format(paths=[path for path in sys.path if path])
    return [sys.executable, "-c", script, "--engine", "model.onnx"]


def test_a_reader_that_leaves_ends_it_quietly(command: list[str]) -> None:
    many = ["photos/a.png"] * 2000
    process = subprocess.Popen([*command, *many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["label"] == "red"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["coder-infer"] * 2


def test_a_reader_of_the_messages_that_leaves_stops_nothing(command: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*command, "photos", "--out", str(tmp_path / "o.csv"), "--format", "csv"], stderr=writer, check=False
    )
    os.close(writer)
    assert done.returncode == 0
    assert (tmp_path / "o.csv").read_text().startswith("path,label")


@pytest.mark.parametrize(("closed", "code"), [("2>&-", 0), (">&-", 1)])
def test_streams_that_were_closed_before(command: list[str], closed: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command, "photos"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert all(json.loads(line)["label"] for line in done.stdout.splitlines())
    assert bool(done.stdout) == (code == 0)
    assert ("cannot write to standard output (not writable); make room, or redirect it" in done.stderr) == (code == 1)


def test_rows_come_while_paths_are_still_coming(command: list[str]) -> None:
    with subprocess.Popen([*command, "-", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in ("a", "b"):
            process.stdin.write(f"photos/{name}.png\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["path"] == f"photos/{name}.png"
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_list_that_pauses_is_answered_up_to_there(tiny: Path, photos: Path) -> None:
    assert photos.is_dir()
    command = [
        sys.executable,
        "-m",
        "coder_engine.cli.infer",
        "--engine",
        str(tiny),
        "--quiet",
        "--batch-size",
        "8",
        "-",
    ]
    with subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for names in (("a",), ("b", "a", "c"), ("c",)):
            process.stdin.write("".join(f"{photos}/{name}.png\n" for name in names).encode())
            process.stdin.flush()
            for name in names:
                assert select.select([process.stdout], [], [], 60)[0]
                assert json.loads(process.stdout.readline())["path"] == str(photos / f"{name}.png")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "photos", "--quiet"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    expected = "cannot write to standard output (No space left on device); make room, or redirect it"
    assert done.stderr == f"coder-infer: {expected}\n"


def test_ctrl_c_in_a_process(command: list[str]) -> None:
    with subprocess.Popen(
        [*command, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("photos/a.png\n")
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(0.5)  # until it waits for more: where Python cleans up, an interrupt is only written about
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read().endswith("coder-infer: interrupted\n")
