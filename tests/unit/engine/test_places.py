"""Where commands write nothing: over a model, an image, what they read, or another engine's weight file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from coder_engine.cli import eval, fit, infer
from coder_engine.errors import CoderError
from coder_engine.places import check_text_place, check_weights_place


@pytest.fixture
def birds(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), f"birds{suffix}")
    return Path("birds.onnx")


@pytest.mark.parametrize("name", ["birds.onnx", "birds.safetensors", "a.PNG", "m.plan", "f.npz"])
def test_text_goes_into_no_model_and_no_image(birds: Path, name: str) -> None:
    with pytest.raises(CoderError, match=rf"--out {name}: text is written, which is no \.\w+; choose another name"):
        check_text_place("--out", name, [])


def test_text_goes_over_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("a.png,cat\n")
    Path("link.csv").symlink_to("list.csv")
    with pytest.raises(CoderError, match=r"--out link\.csv: would replace what is read; choose another place"):
        check_text_place("--out", "link.csv", [None, "list.csv"])
    check_text_place("--out", "other.csv", ["list.csv"])
    check_text_place("--out", "list.csv", ["*" * 300])
    check_text_place("--out", None, ["list.csv"])


def test_a_weight_file_goes_over_none_of_another(birds: Path) -> None:
    shutil.copy("birds.safetensors", "model.safetensors")
    check_weights_place("--out", Path("model.safetensors"), birds, [])
    shutil.copy("birds.onnx", "model.onnx")
    check_weights_place("--out", Path("model.safetensors"), birds, [])  # the same engine
    Path("model.onnx").write_bytes(birds.read_bytes() + b"\0")
    with pytest.raises(CoderError, match=r"model\.safetensors: is the weight file of model\.onnx, not of birds\.onnx"):
        check_weights_place("--out", Path("model.safetensors"), birds, [])
    save_file({"w": np.zeros(2, np.float32)}, "theirs.safetensors")
    with pytest.raises(CoderError, match=r"theirs\.safetensors: is there, and no whole weight file; move it away"):
        check_weights_place("--out", Path("theirs.safetensors"), birds, [])
    with pytest.raises(CoderError, match=r"birds\.onnx: would replace what is read"):
        check_weights_place("--out", birds, birds, [])


def test_the_commands_ask(birds: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = birds.read_bytes()
    Path("s.csv").write_text(f"{photographs[0]},cat\n")
    engine = ["--engine", "birds.onnx"]
    assert infer.main([str(photographs[0]), *engine, "--out", "birds.onnx"]) == 1
    assert eval.main(["s.csv", *engine, "--report", "birds.safetensors"]) == 1
    assert eval.main(["s.csv", *engine, "--out", "s.csv"]) == 1
    assert fit.main(["--support", "s.csv", *engine, "--out", "birds.onnx"]) == 1
    assert fit.main(["--support", "s.csv", *engine, "--out", "s.csv"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2].split("; ")[0] for line in told] == [
        "text is written, which is no .onnx",
        "text is written, which is no .safetensors",
        *["would replace what is read"] * 3,
    ]
    assert birds.read_bytes() == before
