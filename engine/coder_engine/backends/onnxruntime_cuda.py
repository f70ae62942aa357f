"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import re
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import EXPORT_AGAIN, Backend, is_fused
from coder_engine.backends.bound_session import BoundSession
from coder_engine.backends.cuda_graphs import graphs_in_words
from coder_engine.backends.cuda_memory import Cuda, OutOfDeviceMemory, Stream, alone, on_first_gpu
from coder_engine.backends.cuda_ranker import CudaRanker, Work
from coder_engine.backends.onnxruntime import import_onnxruntime, interface, new_session
from coder_engine.backends.session_memory import SessionMemory, out_of_memory
from coder_engine.errors import EngineError
from coder_engine.head import Ranking
from coder_engine.machine.available import Unavailable, first_line
from coder_engine.machine.cuda_driver import require_gpu
from coder_engine.weights import Weights

PROVIDER = "CUDAExecutionProvider"
_OPTIONS = {
    "device_id": "0",  # CUDA_VISIBLE_DEVICES chooses
    "use_tf32": "0",  # else fp32 would keep 10 bits of mantissa
    "cudnn_conv_algo_search": "HEURISTIC",  # the default times all algorithms again for every new batch size
    # Sums of LayerNormalization in fp32; later versions know no other (microsoft/onnxruntime, pull request 28682).
    "enable_skip_layer_norm_strict_mode": "1",
}
_GRAPHS_SINCE = (1, 31)
"""Before, a Concat copies its inputs' addresses from host memory, where a replay may find those of another batch size:
features are wrong then, and nothing is said (microsoft/onnxruntime, pull request 32121). Ours joins the class token so.
"""


class OnnxRuntimeCuda(Backend):
    """An .onnx engine in an ONNX Runtime session on the first visible NVIDIA GPU, fp32 in float32."""

    name = "onnxruntime"
    title = "ONNX Runtime CUDA"
    device = "cuda"
    precisions = ("fp32",)
    suffixes = (".onnx",)
    reads_fused = True
    overlaps = True

    @classmethod
    def require(cls) -> str:
        require_gpu()
        Cuda("gpu")
        return f"ONNX Runtime {_import_cuda().__version__}"

    def _open(self, threads: int, precision: str) -> None:
        try:
            self._open_on_gpu(threads)
        except Unavailable as err:
            if not is_fused(self._path):
                raise
            cure = str(err).replace("use --device cpu", "export it again without --format, for a CPU")
            raise Unavailable(err.short, cure) from err

    def _open_on_gpu(self, threads: int) -> None:
        driver = require_gpu()
        ort, cuda = _import_cuda(), Cuda("gpu")
        chosen = self.stored if self.stored in ("fp16", "bf16") else "fp32"  # it dequantizes int8
        computes_in = self._computes_in(chosen)
        right = graphs_are_right(ort.__version__)
        with alone, on_first_gpu(cuda):
            try:
                memory = self._memory(ort, cuda, threads, driver)
            except OutOfDeviceMemory as err:
                raise self._not_opened(err) from err
        self._bound: BoundSession | None = BoundSession(memory, graphs=right)
        fault = self._bound.first_run() if right else f"they need ONNX Runtime {'.'.join(map(str, _GRAPHS_SINCE))}"
        self.description = f"ONNX Runtime {ort.__version__}, CUDA, {computes_in}, {graphs_in_words(fault)}"

    def _memory(self, ort: ModuleType, cuda: Cuda, threads: int, driver: str) -> SessionMemory:
        stream = Stream(cuda)
        session = None
        try:
            session = self._session(ort, threads, driver, stream)
            self._check_interface(*interface(session))
        except BaseException:
            session = None  # before its stream
            stream.close()
            raise
        return SessionMemory(ort, session, cuda, stream, size=self.size, width=self.width)

    def _session(self, ort: ModuleType, threads: int, driver: str, stream: Stream) -> Any:
        options = _OPTIONS | {"user_compute_stream": str(stream.handle)}
        try:
            session = new_session(ort, self._path, [(PROVIDER, options)], threads=threads)
        except Exception as err:  # see open_session
            raise self._not_opened(err) from err
        # Where the provider does not load, the runtime only logs it and takes the CPU.
        if PROVIDER not in session.get_providers():
            built = getattr(ort, "cuda_version", "") or "another version"
            raise Unavailable(
                "its CUDA provider does not load",
                f"ONNX Runtime {ort.__version__} did not start its CUDA provider and fell back to "
                f"{', '.join(session.get_providers())}; it says why above. It is built for CUDA {built}, the driver "
                f"runs up to CUDA {driver}: update the driver, or pip install 'onnxruntime-gpu[cuda,cudnn]' for the "
                "CUDA libraries, or use --device cpu",
            )
        return session

    def _not_opened(self, err: Exception) -> Exception:
        if out_of_memory(err):
            return Unavailable(
                "not enough GPU memory",
                f"{self._path}: the GPU has not enough memory for its weights ({first_line(err)}); "
                "nvidia-smi shows what else uses it; or use --device cpu",
            )
        if "cuda" in str(err).lower():
            return Unavailable(
                "CUDA does not start",
                f"ONNX Runtime cannot start on the GPU ({first_line(err)}); nvidia-smi tells more; or use --device cpu",
            )
        return EngineError(f"{self._path}: ONNX Runtime cannot load it ({first_line(err)}); {EXPORT_AGAIN}")

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._open_session().encode(pixels)

    def ranker(self, weights: Weights) -> CudaRanker:
        return CudaRanker(self._using_session, weights)

    def _using_session(self, pixels: NDArray[np.uint8], work: Work) -> list[Ranking | None]:
        return self._open_session().each(pixels, work)

    def _open_session(self) -> BoundSession:
        bound = self._bound
        if bound is None:
            raise self._was_closed()
        return bound

    def _close(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.close()


def graphs_are_right(version: str) -> bool:
    """Whether this ONNX Runtime replays what it captured."""
    return tuple(map(int, re.findall(r"\d+", version)[:2])) >= _GRAPHS_SINCE


def _import_cuda() -> ModuleType:
    """ONNX Runtime with its CUDA libraries loaded, where the installed package has the provider."""
    ort = import_onnxruntime()
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it misses
            ort.preload_dlls()
    if PROVIDER not in ort.get_available_providers():
        raise Unavailable(
            "the CPU build of ONNX Runtime is installed",
            f"the installed ONNX Runtime {ort.__version__} is the CPU build: pip uninstall -y onnxruntime, "
            "then pip install 'coder-engine[gpu]'",
        )
    return ort
