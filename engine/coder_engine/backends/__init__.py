"""Runtimes that can run an engine file, one module each."""

from __future__ import annotations

from pathlib import Path

from coder_engine.backends.base import Backend
from coder_engine.backends.onnxruntime import OnnxRuntimeCpu
from coder_engine.errors import EngineError

__all__ = ["BACKENDS", "Backend", "open_backend"]

BACKENDS: dict[str, type[Backend]] = {OnnxRuntimeCpu.name: OnnxRuntimeCpu}
"""By name, best first."""


def open_backend(path: Path, *, backend: str, threads: int) -> Backend:
    """Open an engine file with the backend asked for, or with the best one that reads such files ("auto").

    Raises:
        ValueError: no such backend.
        EngineError: no backend reads this kind of file.
        BackendError: the runtime is missing or refuses the file.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"backend must be auto or one of {', '.join(BACKENDS)}, got {backend!r}")
    chosen = list(BACKENDS.values()) if backend == "auto" else [BACKENDS[backend]]
    for kind in chosen:
        if path.suffix in kind.suffixes:
            return kind(path, threads=threads)
    readable = sorted({suffix for kind in chosen for suffix in kind.suffixes})
    raise EngineError(f"{path}: not a kind of engine file this can run ({', '.join(readable)}); coder-export makes one")
