"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import EXPORT_AGAIN, Backend
from coder_engine.backends.cuda_memory import alone
from coder_engine.backends.onnxruntime import import_onnxruntime, interface, new_session
from coder_engine.counts import count_of
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import Unavailable, first_line, no_memory_for
from coder_engine.machine.cuda_driver import require_gpu

PROVIDER = "CUDAExecutionProvider"
_OPTIONS = {
    "device_id": "0",  # CUDA_VISIBLE_DEVICES chooses
    "use_tf32": "0",  # else fp32 would keep 10 bits of mantissa
    "cudnn_conv_algo_search": "HEURISTIC",  # the default times all algorithms again for every new batch size
}
_GRAPHS = {"enable_cuda_graph": "1"}
_GRAPHS_SINCE = (1, 30)
"""Before, a replayed Concat reads its inputs' addresses where a run of another batch size has since put its own. Then
features are wrong and nothing is said (microsoft/onnxruntime, pull request 32121); ours joins the class token so."""
_NO_MEMORY = ("out of memory", "failed to allocate memory", "cuda failure 2:", "alloc_failed")


class OnnxRuntimeCuda(Backend):
    """An .onnx engine in an ONNX Runtime session on the first visible NVIDIA GPU, in float32."""

    name = "onnxruntime"
    title = "ONNX Runtime CUDA"
    device = "cuda"
    precisions = ("fp32",)
    suffixes = (".onnx",)
    most = 32  # as many as the engine runs at once

    @classmethod
    def require(cls) -> str:
        require_gpu()
        return f"ONNX Runtime {_import_cuda().__version__}"

    def _open(self, threads: int, precision: str) -> None:
        driver = require_gpu()
        ort = _import_cuda()
        with alone:
            session, graphs = self._session(ort, threads, driver)
            self._check_interface(*interface(session))
            bound = BoundSession(ort, session, self._no_bank(), size=self.size, device="cuda")
        self._bound: BoundSession | None = bound
        chosen = self.stored if self.stored in ("fp16", "bf16") else "fp32"  # it dequantizes int8
        self.description = f"ONNX Runtime {ort.__version__}, CUDA, {self._computes_in(chosen)}, {graphs}"

    def _session(self, ort: ModuleType, threads: int, driver: str) -> tuple[Any, str]:
        """The session, and in words whether it takes CUDA graphs."""
        try:
            session, graphs = self._with_graphs(ort, threads)
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
        return session, graphs

    def _with_graphs(self, ort: ModuleType, threads: int) -> tuple[Any, str]:
        """With CUDA graphs where they are right and the runtime takes them: not where it leaves a node to the CPU."""
        if graphs_are_right(ort.__version__):
            try:
                return new_session(ort, self._path, [(PROVIDER, _OPTIONS | _GRAPHS)], threads=threads), "CUDA graphs"
            except Exception as err:  # see open_session
                if "graph capture" not in str(err):
                    raise
            words = "no CUDA graphs"
        else:
            words = "no CUDA graphs (they need ONNX Runtime 1.30)"
        return new_session(ort, self._path, [(PROVIDER, _OPTIONS)], threads=threads), words

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
        bound = self._bound
        if bound is None:
            raise self._was_closed()
        return bound.run(pixels)

    def _close(self) -> None:
        with alone:  # as freeing breaks captures, too
            self._bound = None


class BoundSession:
    """A session whose bank stays on the device, with memory of its own for every batch size.

    A CUDA graph replays addresses, so each size keeps its tensors. The first run of a size captures its graph, the
    next ones copy pixels there, launch it once and copy features back. The runtime keeps graphs for each thread that
    runs it, for ever: so one thread of our own does all of it, whoever asks.

    Args:
        size: (H, W) of the pixels.
        device: ``cuda``, or ``cpu`` to see the same calls on a machine without a GPU.
    """

    def __init__(
        self, ort: ModuleType, session: Any, bank: NDArray[np.float32], *, size: tuple[int, int], device: str
    ) -> None:
        self._ort, self._session, self._size, self._device = ort, session, size, device
        self._width = bank.shape[1]
        self._bound: dict[int, _Bound] = {}
        self._graph_ids = count(1)
        self._thread = ThreadPoolExecutor(1, "coder-engine ONNX Runtime")
        try:
            self._bank = ort.OrtValue.ortvalue_from_numpy(bank, device, 0)
        except Exception as err:  # see open_session
            raise BackendError(f"ONNX Runtime cannot use {device} ({first_line(err)}); use --device cpu") from err

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of ``pixels`` in host memory.

        Raises:
            BackendError: the device has not enough memory, or the runtime failed.
        """
        return self._thread.submit(self._run_alone, pixels).result()

    def _run_alone(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with alone:
            return self._run(pixels)

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = len(pixels)
        try:
            bound = self._bound.get(images) or self._bind(images)
            bound.pixels.update_inplace(pixels)
            self._session.run_with_iobinding(bound.binding, bound.options)
            features: NDArray[np.float32] = np.array(bound.features.numpy())
        except Exception as err:  # see open_session
            self._bound.pop(images, None)
            raise BackendError(_failure(err, images)) from err
        self._bound[images] = bound
        return features

    def _bind(self, images: int) -> _Bound:
        empty = self._ort.OrtValue.ortvalue_from_shape_and_type
        pixels = empty([images, *self._size, 3], np.uint8, self._device, 0)
        features = empty([images, self._width], np.float32, self._device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("pixels", pixels)
        binding.bind_ortvalue_input("bank", self._bank)
        binding.bind_ortvalue_output("features", features)
        options = self._ort.RunOptions()
        # A new one for new tensors: by that of tensors that were dropped, their graph would run on freed memory.
        options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)))
        return _Bound(binding=binding, options=options, pixels=pixels, features=features)


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """One batch size's binding, run options and tensors on the device."""

    binding: Any
    options: Any
    pixels: Any
    features: Any


def graphs_are_right(version: str) -> bool:
    """Whether this ONNX Runtime replays what it captured."""
    return tuple(map(int, re.findall(r"\d+", version)[:2])) >= _GRAPHS_SINCE


def out_of_memory(err: Exception) -> bool:
    """Whether the runtime's error means that the device has not enough memory."""
    said = str(err).lower()
    return isinstance(err, MemoryError) or any(sign in said for sign in _NO_MEMORY)


def _failure(err: Exception, count: int) -> str:
    if not out_of_memory(err):
        return f"ONNX Runtime failed on {count_of(count, 'image')} ({first_line(err)}); try a smaller batch"
    return no_memory_for(count, err)


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
