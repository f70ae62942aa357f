"""What coder-infer writes: rows by form and place, explanations, the start line, progress and summary."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

from coder_engine.errors import ImageError
from helpers_infer import damage, json_rows, run
from unit.engine.cli.fake_engine import FakeEngine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
    assert lines[2:4] == ["    red, as stage 1 said; no rerank:", "      of photos/a.png"]
    assert "error: empty" in lines[6]
    assert lines[7].startswith("photos/c.png")


def test_explanations_as_json(engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(photos)
    assert run("photos", "--explain", "--format", "jsonl") == 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("explanation", {}).get("no_rerank") for row in rows] == ["of photos/a.png", None, "of photos/c.png"]
    assert "explanation" not in rows[1]


def test_an_image_that_changed_before_its_explanation(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(path: str) -> str:
        raise ImageError("missing", f"{path}: no such file")

    monkeypatch.setattr(engine, "explain", explain)
    assert run("photos/a.png", "--explain") == 0
    assert "    no explanation: photos/a.png: no such file\n" in capsys.readouterr().out
    assert run("photos/a.png", "--explain", "--format", "jsonl") == 0
    fault = {"kind": "missing", "message": "photos/a.png: no such file"}
    assert json.loads(capsys.readouterr().out)["explanation"] == {"error": fault}


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
