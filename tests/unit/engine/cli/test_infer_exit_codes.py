"""How coder-infer ends: bad images, errors of the engine and of paths, Ctrl-C; one line and the exit code of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coder_engine.cli import infer_run
from coder_engine.errors import CoderError, EngineError
from helpers_infer import damage, json_rows, run
from unit.engine.cli.fake_engine import FakeEngine


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
    def fail(*_: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(infer_run, "open_engine", fail)
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
    monkeypatch.setattr(infer_run, "open_engine", lambda *_, **options: pytest.fail("loaded"))
    assert run("photos/empty") == 1
    assert "no images in photos/empty: looked for" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_exit_1(
    engine: FakeEngine, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--out", "gone/o.csv") == 1
    assert "coder-infer: cannot write gone/o.csv: no folder gone; make it" in capsys.readouterr().err


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
