"""A text set with holes exports, runs, and says what it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coder_engine import Engine
from coder_export.cli import main
from coder_export.generate.cli import main as coder_texts


def write(folder: Path) -> None:
    """Frog has no attribute, ship one name only, cat against dog stands in one direction."""
    folder.mkdir()
    (folder / "labels.txt").write_text("cat\ndog\nfrog\nship\n")
    texts = [
        ("cat", "attribute", "pointed ears"),
        ("cat", "synonym", "house cat"),
        ("dog", "attribute", "a wet nose"),
        ("dog", "synonym", "hound"),
        ("frog", "synonym", "toad"),
        ("ship", "attribute", "a tall mast"),
    ]
    pairs = [("cat", "dog", "a short muzzle"), ("cat", "ship", "soft fur"), ("ship", "cat", "a steel hull")]
    rows = [dict(zip(("class", "kind", "text"), text, strict=True)) for text in texts]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    duels = [dict(zip(("class", "other", "text"), pair, strict=True)) for pair in pairs]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in duels))


def test_holes_are_told_and_run(tmp_path: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "set")
    out = tmp_path / "holes"
    labels = ["--labels", str(tmp_path / "set" / "labels.txt"), "--texts", str(tmp_path / "set")]
    assert main(["--model", "coder-tiny", *labels, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "no attribute texts: 1 class (frog)" in told
    assert "one name only: 1 class (ship)" in told
    assert "texts in one direction only: 1 pair, left out" in told
    engine = Engine(f"{out}.onnx")
    assert {prediction.label for prediction in engine.predict(photographs)} <= {"cat", "dog", "frog", "ship"}


def test_check_finds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "set")
    assert coder_texts(["check", str(tmp_path / "set"), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert {(finding["kind"], finding["label"]) for finding in found["findings"]} == {
        ("hole", "frog"),
        ("one-sided", "cat"),
    }
    assert found["one_name"] == ["ship"]
