"""Where rows go: a pipe, a terminal, a file that is whole or not there."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from coder_engine.cli.output import FileOutput, Output, OutputClosed, encodable, open_output, silence
from coder_engine.errors import CoderError


class Stream(io.StringIO):
    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.error = error
        self.flushed = ""

    def flush(self) -> None:
        if self.error is not None:
            raise self.error
        self.flushed = self.getvalue()


def test_every_row_is_flushed() -> None:
    stream = Stream()
    with Output(stream) as output:
        output.write("a\n")
        assert stream.flushed == "a\n"
        output.write("b\n")
        assert stream.flushed == "a\nb\n"


def test_a_reader_that_left_is_no_error_of_ours() -> None:
    with pytest.raises(OutputClosed):
        Output(Stream(BrokenPipeError())).write("a\n")


def test_a_full_disk_behind_standard_output() -> None:
    stream = Stream(OSError(28, "No space left on device"))
    with pytest.raises(CoderError, match=r"cannot write to standard output \(No space left on device\); make room"):
        Output(stream).write("a\n")


def test_silence_sends_the_rest_nowhere(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        silence(stream)
        stream.write("lost")
    assert (tmp_path / "out").read_text() == ""


def test_standard_output_passes_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    with open_output(None) as output:
        output.write(os.fsdecode(b"\xff\xc3\xa9"))
    assert raw.getvalue() == b"\xff\xc3\xa9"


def test_a_terminal_without_the_letters_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    encodable(stream)
    stream.write("é")
    stream.flush()
    assert raw.getvalue() == b"\\xe9"


def test_a_file_appears_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    with open_output(str(path)) as output:
        output.write("é\n" + os.fsdecode(b"\xff"))
        assert path.read_text() == "old\n"
        assert len(list(tmp_path.iterdir())) == 2
    assert path.read_bytes() == b"\xc3\xa9\n\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / f".out.{os.getpid()}.part").write_text("half\n")  # in a container, the next run has the same number
    with FileOutput(str(tmp_path / "out")) as output:
        output.write("whole\n")
    assert (tmp_path / "out").read_text() == "whole\n"


@pytest.mark.parametrize("error", [CoderError("no"), KeyboardInterrupt()])
def test_a_file_that_failed_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def run() -> None:
        with FileOutput(str(tmp_path / "out")) as output:
            output.write("half\n")
            raise error

    with pytest.raises(type(error)):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    link = tmp_path / "link"
    link.symlink_to("real")
    with FileOutput(str(link)) as output:
        output.write("a\n")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "a\n"


@pytest.mark.parametrize("name", ["file/out.csv", "."])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CoderError, match=r"cannot write .* \((Not a directory|it is a folder|File exists)\); make"):
        FileOutput(str(tmp_path / name))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_error() -> None:
    with (
        pytest.raises(CoderError, match=r"cannot write /dev/full \(No space left on device\); make room, or choose"),
        FileOutput("/dev/full") as output,
    ):
        output.write("a\n")


def test_a_full_disk_removes_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def run() -> None:
        with FileOutput(str(tmp_path / "out")) as output:
            monkeypatch.setattr(Path, "replace", full)
            output.write("a\n")

    with pytest.raises(CoderError, match=r"out \(No space left on device\)"):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_removes_the_part(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    def run() -> None:
        with FileOutput(str(tmp_path / "out")) as output:
            output._stream.close()
            output._stream = Full()
            output.write("a\n")

    with pytest.raises(CoderError, match=r"cannot write .*out \(No space left on device\); make room"):
        run()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_written_directly() -> None:
    with FileOutput(os.devnull) as output:
        output.write("a\n")
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CoderError, match=r"cannot write .*nodir/x: no folder .*nodir; make it, or choose"):
        FileOutput(str(tmp_path / "nodir" / "x"))
