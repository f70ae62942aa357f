"""A path that is no engine file: what it is, and which file was meant."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from coder_engine import Engine, EngineError, WeightsError
from coder_engine.engine_path import check_engine_path


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What coder-export leaves in a folder, and more."""
    monkeypatch.chdir(tmp_path)
    for name in ("birds.onnx", "birds.plan", "birds.safetensors", "birds.standalone.onnx", "labels.txt"):
        Path(name).touch()
    Path("lone.safetensors").touch()
    Path("models").mkdir()


@pytest.mark.usefixtures("birds")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("birds", "birds: no such engine file; there is birds.onnx or birds.plan"),
        ("none.onnx", "none.onnx: no such engine file; coder-export makes one"),
        ("birds.safetensors", "birds.safetensors: this is a weight file; pass birds.onnx or birds.plan"),
        ("lone.safetensors", "lone.safetensors: this is a weight file; pass the .onnx or .plan of its coder-export"),
        (
            "birds.standalone.onnx",
            "birds.standalone.onnx: a standalone graph holds its texts and runs in ONNX Runtime itself (README: one "
            "file for any language); pass birds.onnx or birds.plan",
        ),
        ("labels.txt", "labels.txt: not an engine file; wanted an .onnx or .plan of coder-export"),
        ("models", "models: this is a folder; pass the .onnx or .plan in it"),
    ],
)
def test_what_it_is_and_which_was_meant(path: str, message: str) -> None:
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        check_engine_path(Path(path))
    with pytest.raises(EngineError, match=re.escape(message)):
        Engine(path)


@pytest.mark.usefixtures("birds")
def test_engine_files_pass() -> None:
    check_engine_path(Path("birds.onnx"))
    check_engine_path(Path("birds.plan"))


@pytest.mark.usefixtures("birds")
def test_an_engine_file_that_came_alone() -> None:
    Path("lone.onnx").touch()
    Path("lone.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"beside the engine: copy both, or name it with --weights$"):
        Engine("lone.onnx")


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_what_cannot_be_looked_at(tiny: Path, suffix: str) -> None:
    path, engine = Path("x" * 300 + suffix), suffix == ".onnx"
    with pytest.raises(
        EngineError if engine else WeightsError, match=r"x+\.\w+: cannot be read \(File name too long\);"
    ):
        Engine(path) if engine else Engine(tiny, weights=path)


def test_what_may_not_be_read(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tiny.with_suffix(".safetensors")
    refused = [tiny]
    opened = Path.open

    def denied(path: Path, *args: Any, **options: Any) -> Any:  # root may read everything
        if path in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", denied)
    for refused[0], kind in ((tiny, EngineError), (weights, WeightsError)):
        with pytest.raises(
            kind, match=rf"{refused[0].name}: cannot be read \(Permission denied\); check its path, and"
        ):
            Engine(tiny)
