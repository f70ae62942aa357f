"""The options of coder-infer: help, wrong usage, what the engine gets of them, and --rebuild."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coder_engine.cli import infer
from coder_engine.cli.infer import main
from coder_engine.pixels.formats import MAX_PIXELS
from helpers_infer import run
from unit.engine.cli.fake_engine import FakeEngine


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 1
    return capsys.readouterr().err


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
            ["a.jpg", "--engine", "e", "--explain", "--out", "o.csv"],
            "--explain has no place in a csv; use --format jsonl or table",
        ),
        (["a.jpg", "--engine", "e", "--null"], "--null is for a list on standard input; pass -"),
        (["a.jpg", "--engine", "e", "--recur"], "unrecognized arguments: --recur (did you mean --recursive?)"),
        (["a.jpg", "--engine", "e", "--max-pixel=3"], "--max-pixel=3 (did you mean --max-pixels?)"),
        (["a.jpg", "--engine", "e", "-x", "--zzz"], "unrecognized arguments: -x --zzz; see coder-infer --help"),
    ],
)
def test_wrong_usage_is_exit_1(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    err = refused(capsys, *arguments)
    assert words in err
    assert err.count("\n") == 1  # usage would push it out of sight
    assert err.startswith("coder-infer: ")
    assert err.endswith("; see coder-infer --help\n")


# the engine it asks for


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


def test_options_reach_the_engine(engine: FakeEngine, photos: Path) -> None:
    options = ["--top", "2", "--batch-size", "3", "--workers", "4", "--unknown-below", "0.25"]
    assert run("photos", *options) == 0
    assert engine.options == {"top": 2, "batch_size": 3, "workers": 4, "unknown_below": 0.25}


def test_the_engine_gets_its_options(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--labels-from", "w.safetensors", "--margin", "0.2", "--threads", "3") == 0
    assert opened == [
        {
            "path": Path("model.onnx"),
            "weights": Path("w.safetensors"),
            "backend": "auto",
            "device": "auto",
            "precision": "auto",
            "threads": 3,
            "margin": 0.2,
            "rerank": True,
            "adapter": True,
            "max_pixels": MAX_PIXELS,
            "fast_decode": False,
        }
    ]


def test_no_rerank_and_a_limit(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--no-rerank", "--no-adapter", "--max-pixels", "1000") == 0
    assert opened[0]["adapter"] is False
    assert (opened[0]["rerank"], opened[0]["max_pixels"], opened[0]["margin"]) == (False, 1000, None)


@pytest.mark.parametrize("option", [["--no-rerank"], ["--margin", "0.2"]])
def test_a_rerank_that_an_adapter_goes_without(
    engine: FakeEngine, photos: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = f"the few-shot adapter ranks, without a rerank, so {option[0]} changes no answer; --no-adapter goes without"
    assert run("photos", *option) == 0
    assert told not in capsys.readouterr().err
    engine.adapter = object()
    assert run("photos", *option, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert run("photos", *option) == 0
    assert told in capsys.readouterr().err


def test_fast_decode(opened: list[dict[str, object]], photos: Path) -> None:
    assert run("photos", "--fast-decode") == 0
    assert opened[0]["fast_decode"] is True


def test_a_value_the_engine_refuses_is_one_line(
    opened: list[dict[str, object]], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("photos", "--backend", "abacus") == 1
    assert capsys.readouterr().err == "coder-infer: backend must be auto or onnxruntime, got 'abacus'\n"


# --rebuild


@pytest.fixture
def rebuilt(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Stands for the build; the calls it got."""
    from coder_engine.plans import rebuild

    calls: list[tuple[object, ...]] = []

    def build(path: str, *, weights: str | None, progress: Callable[[float, str], object]) -> str:
        calls.append((path, weights))
        progress(0.25, "Timing tactics")
        return "TensorRT 11 for Orin"

    monkeypatch.setattr(rebuild, "rebuild_plan", build)
    return calls


def test_rebuild_before_the_engine_opens(
    opened: list[dict[str, object]],
    rebuilt: list[tuple[object, ...]],
    photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("photos", "--rebuild", "--weights", "w") == 0
    assert rebuilt == [(Path("model.onnx"), Path("w"))]
    assert capsys.readouterr().err.startswith("coder-infer: model.onnx: built by TensorRT 11 for Orin\n")
    assert run("photos", "--rebuild", "--quiet") == 0
    assert "built" not in capsys.readouterr().err


def test_a_build_shows_how_far_it_is(
    opened: list[dict[str, object]],
    rebuilt: list[tuple[object, ...]],
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("photos", "--rebuild") == 0
    assert capsys.readouterr().err.startswith("\rbuilding model.onnx:  25% (Timing tactics)\x1b[K\r\x1b[K")


def test_nothing_to_rebuild_from(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer.main(["photos", "--engine", "none.plan", "--rebuild"]) == 1
    assert "none.onnx: no such file; a plan is rebuilt from the .onnx" in capsys.readouterr().err
