"""ONNX Runtime on the CPU: runs everywhere, and is the reference the others are held against."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import Backend
from coder_engine.errors import BackendError, EngineError

_EXPORT_AGAIN = "export it again with coder-export"


class OnnxRuntimeCpu(Backend):
    """An .onnx engine in an ONNX Runtime session on the CPU, in float32."""

    name = "onnxruntime"
    suffixes = (".onnx",)

    def __init__(self, path: Path, *, threads: int) -> None:
        ort = _import_runtime()
        self._session = open_session(path, threads=threads)
        self.size, self.width, self.tower = _interface(path, self._session)
        # The graph offers the bank matmul to other runtimes; here the head's own kernel does it. The runtime computes
        # outputs nobody fetches, so it gets a bank of one row.
        self._no_bank = np.zeros((1, self.width), np.float32)
        self.description = f"ONNX Runtime {ort.__version__}, CPU, fp32, {threads} thread{'s' if threads > 1 else ''}"

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            feeds = {"pixels": pixels, "bank": self._no_bank}
            features: NDArray[np.float32] = self._session.run(["features"], feeds)[0]
        except Exception as err:  # as in open_session
            raise BackendError(
                f"ONNX Runtime failed on {len(pixels)} images ({_first_line(err)}); try a smaller batch"
            ) from err
        return features


def open_session(path: Path, *, threads: int | None) -> Any:
    """A plain CPU session on ``path``; ``threads`` None leaves the choice to the runtime.

    Raises:
        BackendError: ONNX Runtime is not installed.
        EngineError: the file is not a graph it can load.
    """
    ort = _import_runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # the runtime raises a class of its own for each status code, under no common base
        raise EngineError(f"{path}: ONNX Runtime cannot load it ({_first_line(err)}); {_EXPORT_AGAIN}") from err


def _import_runtime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as err:
        raise BackendError(
            f"ONNX Runtime is not installed ({err}); install it: pip install 'coder-engine[cpu]'"
        ) from err
    return onnxruntime  # type: ignore[no-any-return]


def _interface(path: Path, session: Any) -> tuple[tuple[int, int], int, str]:
    """Image size, feature width and tower hash of one of our graphs; refuses any other."""
    inputs = {item.name: item for item in session.get_inputs()}
    outputs = {item.name: item for item in session.get_outputs()}
    tower = session.get_modelmeta().custom_metadata_map.get("coder.tower", "")
    if set(inputs) != {"pixels", "bank"} or set(outputs) != {"features", "coder"} or not tower:
        raise EngineError(
            f"{path}: not an engine of coder-export (inputs {sorted(inputs)}, outputs {sorted(outputs)}; "
            "wanted pixels, bank and features, coder); make one with coder-export"
        )
    pixels, bank = inputs["pixels"].shape, inputs["bank"].shape
    fixed = [*pixels[1:], *bank[1:]]
    if len(pixels) != 4 or len(bank) != 2 or not all(isinstance(n, int) for n in fixed) or pixels[3] != 3:
        raise EngineError(
            f"{path}: its inputs are pixels {pixels} and bank {bank}, wanted [B, H, W, 3] and [rows, D] with "
            f"H, W and D fixed; {_EXPORT_AGAIN}"
        )
    return (pixels[1], pixels[2]), bank[1], tower


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
