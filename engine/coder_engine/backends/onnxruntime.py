"""ONNX Runtime on the CPU: runs everywhere, and is the reference the others are held against."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import EXPORT_AGAIN, Backend
from coder_engine.counts import count_of
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import Unavailable, first_line, import_runtime

WHEELS = ("onnxruntime", "onnxruntime-gpu")
"""Packages that bring the module ``onnxruntime``: whichever was installed last has overwritten the other's files."""


class OnnxRuntimeCpu(Backend):
    """An .onnx engine in an ONNX Runtime session on the CPU, in float32."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    device = "cpu"
    precisions = ("fp32",)
    suffixes = (".onnx",)

    @classmethod
    def require(cls) -> str:
        return f"ONNX Runtime {import_onnxruntime().__version__}"

    def _open(self, threads: int, precision: str) -> None:
        runtime = self.require()
        if self.stored == "bf16":
            raise Unavailable(
                "no bf16",
                f"{self._path} is bf16, which ONNX Runtime does not compute on CPUs; OpenVINO does (pip install "
                "'coder-engine[openvino]'), or export it again with coder-export --precision fp16 or fp32",
            )
        self._session = open_session(self._path, threads=threads)
        self._check_interface(*interface(self._session))
        self._bank = self._no_bank()
        self.description = f"{runtime}, CPU, {self._computes_in('fp32')}, {count_of(threads, 'thread')}"

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        session = self._session
        if session is None:
            raise self._was_closed()
        try:
            feeds = {"pixels": pixels, "bank": self._bank}
            features: NDArray[np.float32] = session.run(["features"], feeds)[0]
        except Exception as err:  # as in open_session
            raise BackendError(
                f"ONNX Runtime failed on {count_of(len(pixels), 'image')} ({first_line(err)}); try a smaller batch"
            ) from err
        return features

    def _close(self) -> None:
        self._session = None


def open_session(path: Path, *, threads: int | None) -> Any:
    """A plain CPU session on ``path``; ``threads`` None leaves the choice to the runtime.

    Raises:
        BackendError: ONNX Runtime is not installed.
        EngineError: the file is not a graph it can load.
    """
    ort = import_onnxruntime()
    try:
        return new_session(ort, path, ["CPUExecutionProvider"], threads=threads)
    except Exception as err:  # the runtime raises a class of its own for each status code, under no common base
        raise EngineError(f"{path}: ONNX Runtime cannot load it ({first_line(err)}); {EXPORT_AGAIN}") from err


def new_session(ort: ModuleType, path: Path, providers: list[Any], *, threads: int | None) -> Any:
    """A session that raises where it cannot have its providers; whatever the runtime raises passes through."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # its own fallback tells about itself on stdout, among the results
    return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)


def interface(session: Any) -> tuple[dict[str, list[int | str | None]], set[str], str]:
    """What :meth:`Backend._check_interface` looks at."""
    inputs = {item.name: item.shape for item in session.get_inputs()}
    outputs = {item.name for item in session.get_outputs()}
    return inputs, outputs, session.get_modelmeta().custom_metadata_map.get("coder.tower", "")


def import_onnxruntime() -> ModuleType:
    """The module, where just one of its packages is installed, with its telemetry off.

    Raises:
        Unavailable: none is, or two are.
    """
    # From 1.32 on it writes an identifier and sends events to its maker, unless this is set before the first import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    found = [name for name in WHEELS if _installed(name)]
    if len(found) > 1:
        raise Unavailable(
            f"{' and '.join(found)} are both installed",
            f"{' and '.join(found)} are both installed; they are one module, and their files are mixed now. Keep one: "
            f"pip uninstall -y {' '.join(found)}, then pip install 'coder-engine[gpu]', or [cpu] without an NVIDIA GPU",
        )
    return import_runtime("onnxruntime", "ONNX Runtime", "cpu")


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
