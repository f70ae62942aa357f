"""coder-eval from the command line: images with an engine, the report, and what is told."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coder_engine.cli import eval_run
from coder_engine.cli.eval import main
from coder_engine.cli.eval_options import METHODS
from coder_engine.files import sha256_of
from coder_engine.weights import load_weights, update_weights
from helpers_evaluate import result


@pytest.fixture(scope="module")
def engine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose weight file may be changed."""
    folder = tmp_path_factory.mktemp("engine")
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), folder)
    return folder / tiny.name


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Noise in the colours of two classes, one folder each, with a broken file and a folder that is no class."""
    rng = np.random.default_rng(0)
    for name, colour in (("Airplane", (120, 170, 230)), ("frog", (60, 110, 40)), ("zebra", (128, 128, 128))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for n in range(4):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{n}.png")
    (tmp_path / "photos" / "frog" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    return tmp_path / "photos"


def test_images(engine: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(photos), "--engine", str(engine), "--texts-ablation", "--methods", "clip,vcd,coder,coder-star"]
    assert main([*args, "--bootstrap", "20", "--out", str(tmp_path / "found.csv"), "--format", "csv"]) == 2
    said = capsys.readouterr()
    assert "1 name matches no label: 'zebra'; its 4 images are left out" in said.err
    assert "8 labels have no image" in said.err
    assert "1 image could not be read, the first: " in said.err
    assert said.out == ""
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 1 + 4 + 5


def test_a_report_names_what_it_is_of(
    engine: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the [eval] extra is not installed")
    args = [str(photos), "--engine", str(engine), "--methods", "coder", "--bootstrap", "20", "--format", "json"]
    assert main([*args, "--report", str(tmp_path / "r.html")]) == 2
    made = json.loads(capsys.readouterr().out)["made"]
    for name, path in (("engine", engine), ("weights", engine.with_suffix(".safetensors"))):
        assert made[name] == f"{path}, sha256 {sha256_of(path)}"
    assert re.fullmatch(r"8, sha256 [0-9a-f]{64}", made["images"])
    assert made["engine"] in (tmp_path / "r.html").read_text()


def test_a_table_says_what_its_columns_are(
    engine: Path, photos: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "--engine", str(engine), "--methods", "clip,coder", "--bootstrap", "20"]) == 2
    told = capsys.readouterr().out
    assert "gain: top-1 over that of the first row, with its 95% interval" in told
    assert "--help says what the rows are" in told
    assert main([files[0], "--shots", "1", "--norm", "l2"]) == 0
    assert "gain:" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for name in (*METHODS, *("P+Att+Ana+Syn+1v1", "gain", "ECE")):
        assert f" {name} " in told
    assert max(map(len, told.splitlines())) <= 100


def test_notes_come_last(
    files: tuple[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    assert main([files[0], "--shots", "1", "--norm", "l2"]) == 0
    table, note = capfd.readouterr().out.rstrip().rsplit("\n", 1)
    assert "few-shot" in table
    assert note == (
        "coder-eval: there are no general texts: no TIP-X, CODER-Adapter or spectral; --texts TEXTS.npz brings them"
    )


def test_the_rerank_is_told_of_where_a_method_reranks(
    engine: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [str(photos), "--engine", str(engine), "--bootstrap", "20"]
    assert main([*args, "--methods", "clip,coder"]) == 2
    assert "the rerank turned" not in capsys.readouterr().out
    for method in ("coder-star", "votes", "gated"):
        assert main([*args, "--methods", method]) == 2
        assert "the rerank turned" in capsys.readouterr().out


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(eval_run, "run", interrupted)
    assert main(["photos", "--engine", "e.onnx"]) == 130
    assert capsys.readouterr().err == "coder-eval: interrupted; features computed so far are kept\n"
    assert main(["photos", "--engine", "e.onnx", "--no-cache"]) == 130
    assert capsys.readouterr().err == "coder-eval: interrupted\n"


def test_the_report_is_announced_before_it_is_made(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the [eval] extra is not installed")
    said: list[str] = []
    monkeypatch.setattr(
        "coder_engine.evaluate.report.render_report", lambda found, seed: said.append(capsys.readouterr().err) or "html"
    )
    report = tmp_path / "report.html"
    assert main([files[0], "--texts", files[1], "--report", str(report)]) == 0
    assert said == ["coder-eval: making the report ...\n"]
    assert report.read_text() == "html"


def test_without_a_cache_folder_images_are_measured_all_the_same(
    engine: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    got = result(capsys, str(photos), "--engine", str(engine), "--methods", "coder", code=2)
    assert got["images"] == 8
    assert "features are not kept: no cache folder can be written; XDG_CACHE_HOME names another" in got["notes"]
    again = result(capsys, str(photos), "--engine", str(engine), "--methods", "coder", "--no-cache", code=2)
    assert not any("kept" in note for note in again["notes"])


def test_images_and_texts_of_another_model(
    engine: Path, photos: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--support", str(photos), "--shots", "1"]
    assert main([str(photos), "--engine", str(engine), "--texts", files[1], *few]) == 1
    assert "texts.npz is 16 wide" in capsys.readouterr().err


def test_a_weight_file_that_changes_meanwhile_is_left(
    engine: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fitting(*args: Any, **options: Any) -> Any:
        update_weights(engine.with_suffix(".safetensors"), margin=0.25)  # by another program
        return fit(*args, **options)

    fit = eval_run.fit
    monkeypatch.setattr(eval_run, "fit", fitting)
    assert main([str(photos), "--engine", str(engine), "--fit-temperature"]) == 1
    assert "was changed meanwhile by another program; nothing is written, do it once more" in capsys.readouterr().err
    assert load_weights(engine.with_suffix(".safetensors")).meta.temperature == 1


def test_images_with_support_and_unknown(engine: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "frog" / "broken.jpg").unlink()
    assert main([str(photos), "--engine", str(engine), "--support", str(photos), "--shots", "1"]) == 1
    assert "class 'automobile' has 0 support images, wanted 1; add" in capsys.readouterr().err
    got = result(capsys, str(photos), "--engine", str(engine), "--unknown-from", str(photos / "zebra"), "--quiet")
    assert got["images"] == 8
    assert got["fitted"][0].startswith("unknown below ")
    assert load_weights(engine.with_suffix(".safetensors")).meta.unknown_below is not None
