"""A path somebody gave for an engine file: refused by its name, with the file that was meant, before it is opened."""

from __future__ import annotations

from pathlib import Path

from coder_engine.errors import EngineError
from coder_engine.files import cannot_be_read

SUFFIXES = (".onnx", ".plan")
_STANDALONE = ".standalone.onnx"


def check_engine_path(path: Path) -> None:
    """Refuse what cannot be an engine file.

    Raises:
        EngineError: there is no such file, it cannot be read, or its name says that it is something else.
    """
    try:
        problem = _problem(path)
        if not problem:
            with path.open("rb"):
                pass
    except OSError as err:
        raise EngineError(f"{path}: {cannot_be_read(err)}") from err
    if problem:
        raise EngineError(f"{path}: {problem}")


def _problem(path: Path) -> str:
    if path.is_dir():
        return "this is a folder; pass the .onnx or .plan in it"
    if not path.is_file():
        there = _siblings(path.name, path)
        return f"no such engine file; {f'there is {there}' if there else 'coder-export makes one'}"
    if path.name.endswith(_STANDALONE):
        meant = _siblings(path.name.removesuffix(_STANDALONE), path)
        return (
            "a standalone graph holds its texts and runs in ONNX Runtime itself (README: one file for any language); "
            f"pass {meant or 'the other .onnx of its coder-export'}"
        )
    if path.suffix == ".safetensors":
        return f"this is a weight file; pass {_siblings(path.stem, path) or 'the .onnx or .plan of its coder-export'}"
    return "" if path.suffix in SUFFIXES else "not an engine file; wanted an .onnx or .plan of coder-export"


def _siblings(stem: str, path: Path) -> str:
    """The engine files of a stem beside ``path``."""
    return " or ".join(str(near) for suffix in SUFFIXES if (near := path.with_name(stem + suffix)).is_file())
