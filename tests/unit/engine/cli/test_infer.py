from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from coder_engine.cli import infer
from coder_engine.cli.infer import main
from coder_engine.errors import CoderError, EngineError, ImageError
from coder_engine.images import MAX_PIXELS
from unit.engine.cli.fake_engine import FakeEngine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(infer, "load_engine", lambda args: fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in {"a": (200, 30, 20), "b": (20, 220, 10), "c": (90, 80, 100)}.items():
        Image.new("RGB", (4, 4), colour).save(folder / f"{name}.png")
    return folder


def run(*arguments: str) -> int:
    return main([*arguments, "--engine", "model.onnx"])


def json_rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def damage(photos: Path) -> None:
    (photos / "b.png").write_bytes(b"")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 1
    return capsys.readouterr().err


# what comes out


def test_jsonl_to_a_pipe(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("photos") == 0
    out, err = capsys.readouterr()
    rows = json_rows(out)
    assert [row["path"] for row in rows] == ["photos/a.png", "photos/b.png", "photos/c.png"]
    assert [row["label"] for row in rows] == ["red", "green", "blue"]
    assert err.splitlines()[0] == "coder-infer: fake engine; 3 classes"
    assert re.fullmatch(r"coder-infer: 3 images, 0 failed, [\d.]+ images/s", err.splitlines()[1])


def test_a_table_to_a_terminal(engine: FakeEngine, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert run("photos", "--unknown-below", "0.5") == 0
    lines = sys.stdout.getvalue().splitlines()
    assert lines[0].split() == ["path", "label", "score", "next"]
    assert lines[1].split()[:3] == ["photos/a.png", "red", "0.800"]
    assert lines[3].split()[:2] == ["photos/c.png", "blue?"]
    assert lines[4] == "? unknown: the score is under the threshold"


def test_csv_has_as_many_columns_as_there_are_classes(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--format", "csv", "--top", "9") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label1"] for row in rows] == ["red", "green", "blue"]
    assert "label3" in rows[0]
    assert "label4" not in rows[0]


@pytest.mark.parametrize(("name", "start"), [("o.csv", "path,label"), ("o.jsonl", '{"path"'), ("o", '{"path"')])
def test_out_writes_a_file(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str], name: str, start: str
) -> None:
    assert run("photos", "--out", name) == 0
    assert Path(name).read_text().startswith(start)
    assert capsys.readouterr().out == ""


def test_out_is_no_terminal(engine: FakeEngine, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert run("photos", "--out", "o") == 0
    assert len(json_rows(Path("o").read_text())) == 3


def test_quiet_leaves_stderr_empty(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("photos", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_the_summary_counts_what_was_skipped(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "notes.txt").touch()
    assert run("photos") == 0
    assert capsys.readouterr().err.endswith("; skipped 1 .txt\n")


def test_explanations_follow_their_rows(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(photos)
    assert run("photos", "--explain") == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["    stage 1 said so", "    of photos/a.png"]
    assert "error: empty" in lines[4]
    assert lines[5].startswith("photos/c.png")


def test_an_image_that_changed_before_its_explanation(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(path: str) -> str:
        raise ImageError("missing", f"{path}: no such file")

    monkeypatch.setattr(engine, "explain", explain)
    assert run("photos/a.png", "--explain") == 0
    assert "    no explanation: photos/a.png: no such file\n" in capsys.readouterr().out


def test_options_reach_the_engine(engine: FakeEngine, photos: Path) -> None:
    options = ["--top", "2", "--batch-size", "3", "--workers", "4", "--unknown-below", "0.25"]
    assert run("photos", *options) == 0
    assert engine.options == {"top": 2, "batch_size": 3, "workers": 4, "unknown_below": 0.25}


def test_progress_shows_on_a_terminal_and_goes_away(
    engine: FakeEngine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run("photos") == 0
    text = sys.stderr.getvalue()
    assert re.search(r"\r1/3 images, [\d.]+/s, \d:\d\d:\d\d, \d:\d\d:\d\d left\x1b\[K", text)
    assert re.search(r"\r\x1b\[Kcoder-infer: 3 images", text)


@pytest.mark.parametrize("options", [["--quiet"], []])
def test_no_progress_where_rows_run_down_the_terminal(
    engine: FakeEngine, photos: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    if not options:
        monkeypatch.setattr(sys, "stdout", Terminal())
    assert run("photos", *options) == 0
    assert "\r" not in sys.stderr.getvalue()


def test_the_start_line_says_what_runs_before_the_first_row(
    engine: FakeEngine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = io.StringIO()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    run("photos")
    assert both.getvalue().startswith("coder-infer: fake engine")


# exit codes


def test_a_bad_image_is_a_row_and_exit_2(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(photos)
    assert run("photos") == 2
    out, err = capsys.readouterr()
    assert json_rows(out)[1] == {
        "path": "photos/b.png",
        "error": {
            "kind": "empty",
            "message": "photos/b.png: 0 bytes, wanted an image; copy or download it again",
        },
    }
    assert len(json_rows(out)) == 3
    assert "3 images, 1 failed" in err


def test_fail_fast_stops_there_and_keeps_what_was_written(engine: FakeEngine, photos: Path) -> None:
    damage(photos)
    assert run("photos", "--fail-fast", "--out", "o") == 2
    assert [row["path"] for row in json_rows(Path("o").read_text())] == ["photos/a.png", "photos/b.png"]
    assert engine.closed


def test_an_unreadable_sub_folder_is_a_row_in_its_place(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path) in ("photos/aa", "photos/zz"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    (photos / "aa").mkdir()
    (photos / "zz").mkdir()
    monkeypatch.setattr(os, "scandir", guarded)
    assert run("photos", "--recursive") == 2
    rows = json_rows(capsys.readouterr().out)
    assert [row["path"] for row in rows] == [
        "photos/a.png",
        "photos/aa",
        "photos/b.png",
        "photos/c.png",
        "photos/zz",
    ]
    assert rows[1]["error"]["kind"] == "unreadable"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EngineError("model.onnx: no such engine file"), "model.onnx: no such engine file"),
        (CoderError("x"), "x"),
    ],
)
def test_an_error_of_the_engine_is_one_line_and_exit_1(
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: CoderError,
    words: str,
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(infer, "load_engine", fail)
    assert run("photos") == 1
    assert capsys.readouterr() == ("", f"coder-infer: {words}\n")


def test_a_missing_folder_is_one_line_and_exit_1(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("nowhere") == 1
    assert capsys.readouterr() == ("", "coder-infer: nowhere: No such file or directory; check the path\n")


def test_no_images_is_found_out_before_the_engine_loads(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "empty").mkdir()
    monkeypatch.setattr(infer, "load_engine", lambda _: pytest.fail("loaded"))
    assert run("photos/empty") == 1
    assert "no images in photos/empty: looked for" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_exit_1(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--out", "gone/o.csv") == 1
    assert "coder-infer: cannot write gone/o.csv (No such file or directory)" in capsys.readouterr().err


def test_ctrl_c_is_130_and_leaves_no_file(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.interrupt_after = 2
    assert run("photos", "--out", "o") == 130
    assert capsys.readouterr().err.endswith("coder-infer: interrupted; o was not written\n")
    assert list(Path().iterdir()) == [Path("photos")]
    assert engine.closed


def test_ctrl_c_without_a_file(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.interrupt_after = 1
    assert run("photos") == 130
    out, err = capsys.readouterr()
    assert len(json_rows(out)) == 1
    assert err.endswith("coder-infer: interrupted\n")


# as a process of its own

SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
sys.path[:0] = {paths!r}
from coder_engine.cli import infer
from unit.engine.cli.fake_engine import FakeEngine
infer.load_engine = lambda args: FakeEngine()
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
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read().endswith("coder-infer: interrupted\n")


# options


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "coder-infer photos/ --engine model.onnx" in out
    assert "2 some images failed" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(r"coder-infer \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: IMAGE, --engine"),
        (["a.jpg", "--engine", "e", "--top", "0"], "--top: must be a whole number, at least 1, got '0'"),
        (["a.jpg", "--engine", "e", "--top", "x"], "--top: must be a whole number, at least 1, got 'x'"),
        (["a.jpg", "--engine", "e", "--batch-size", "0"], "--batch-size: must be a whole number"),
        (["a.jpg", "--engine", "e", "--workers", "-1"], "--workers: must be a whole number"),
        (["a.jpg", "--engine", "e", "--threads", "0"], "--threads: must be a whole number"),
        (["a.jpg", "--engine", "e", "--max-pixels", "0"], "--max-pixels: must be a whole number"),
        (["a.jpg", "--engine", "e", "--margin", "1.5"], "--margin: must be a number from 0 to 1, got '1.5'"),
        (["a.jpg", "--engine", "e", "--margin", "nan"], "--margin: must be a number from 0 to 1, got 'nan'"),
        (
            ["a.jpg", "--engine", "e", "--unknown-below", "-0.1"],
            "--unknown-below: must be a number from 0 to 1",
        ),
        (["a.jpg", "--engine", "e", "--no-rerank", "--margin", "0.1"], "not allowed with argument"),
        (["a.jpg", "--engine", "e", "--format", "xml"], "invalid choice: 'xml'"),
        (
            ["a.jpg", "--engine", "e", "--explain", "--format", "jsonl"],
            "--explain is for tables, got --format jso",
        ),
        (
            ["a.jpg", "--engine", "e", "--explain", "--out", "o.csv"],
            "--explain is for tables, got --format csv",
        ),
        (["a.jpg", "--engine", "e", "--null"], "--null is for a list on standard input; pass -"),
        (["a.jpg", "--engine", "e", "--recur"], "unrecognized arguments: --recur"),
    ],
)
def test_wrong_usage_is_exit_1(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    err = refused(capsys, *arguments)
    assert err.startswith("usage: coder-infer")
    assert words in err


# the engine it asks for


class Asked(Exception):
    pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    module = type(sys)("coder_engine.engine")
    calls: list[dict[str, object]] = []

    def engine(path: str, **options: object) -> FakeEngine:
        calls.append({"path": path, **options})
        if options["backend"] == "abacus":
            raise ValueError("backend must be auto or onnxruntime, got 'abacus'")
        return FakeEngine()

    monkeypatch.setattr(module, "Engine", engine, raising=False)
    monkeypatch.setitem(sys.modules, "coder_engine.engine", module)
    return calls


def test_the_engine_gets_its_options(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--labels-from", "w.safetensors", "--margin", "0.2", "--threads", "3") == 0
    assert opened == [
        {
            "path": "model.onnx",
            "weights": "w.safetensors",
            "backend": "auto",
            "device": "auto",
            "precision": "auto",
            "threads": 3,
            "margin": 0.2,
            "rerank": True,
            "max_pixels": MAX_PIXELS,
            "fast_decode": False,
        }
    ]


def test_no_rerank_and_a_limit(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--no-rerank", "--max-pixels", "1000") == 0
    assert (opened[0]["rerank"], opened[0]["max_pixels"], opened[0]["margin"]) == (False, 1000, None)


def test_fast_decode(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--fast-decode") == 0
    assert opened[0]["fast_decode"] is True


def test_a_value_the_engine_refuses_is_one_line(
    opened: list[dict[str, object]], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--backend", "abacus") == 1
    assert capsys.readouterr().err == "coder-infer: backend must be auto or onnxruntime, got 'abacus'\n"


def test_load_engine_names_the_engine_error(opened: list[dict[str, object]]) -> None:
    args = argparse.Namespace(
        engine="e",
        weights=None,
        backend="abacus",
        device="auto",
        precision="auto",
        threads=None,
        margin=None,
        no_rerank=False,
        max_pixels=1,
        fast_decode=False,
    )
    with pytest.raises(CoderError, match="backend must be auto or onnxruntime, got 'abacus'"):
        infer.load_engine(args)
