"""OpenVINO on the CPU: the fast default on x86 and Arm where it is installed.

Any batch size runs in the one model that was compiled at the start, as it is. Measured with ViT-B/16 in bf16: the very
first run lays the weights out and takes as long as four; the first of a further size takes a seventh longer than its
next ones; and going back and forth between sizes costs 1 to 5 %. So three images are not filled up to four, which would
cost a third.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import EXPORT_AGAIN, Backend
from coder_engine.backends.openvino_rows import cut_rows, pays
from coder_engine.counts import count_of
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import Unavailable, import_runtime
from coder_engine.machine.caches import cache_folder, prune
from coder_engine.machine.cpus import fast_bf16

_HINTS = {"bf16": "bf16", "fp32": "f32"}
_TOWER = ["framework", "coder.tower"]
"""Where OpenVINO's reader puts the ONNX metadata."""


class OpenVinoCpu(Backend):
    """An .onnx engine compiled for this CPU, in bf16 where the CPU computes in it natively."""

    name = "openvino"
    title = "OpenVINO"
    device = "cpu"
    precisions = ("bf16", "fp32")
    suffixes = (".onnx",)

    @classmethod
    def require(cls) -> str:
        return f"OpenVINO {import_openvino().__version__.split('-')[0]}"

    def _open(self, threads: int, precision: str) -> None:
        runtime = self.require()
        self._ov = import_openvino()
        core = _core(self._ov)
        chosen = choose_precision(core, precision)
        model = self._read()
        self._check_interface(*_interface(model))
        cache = cache_folder("openvino")
        self._compiled = self._compile(core, model, chosen, threads, cache)
        if cache is not None:
            prune(cache)
        self._bank = self._ov.Tensor(self._no_bank())
        self._placeholder = self._ov.Tensor(np.zeros((1, *self.size, 3), np.uint8))
        self._idle: deque[Any] = deque()
        used = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        uncached = "" if cache else ", no cache folder"
        self.description = f"{runtime}, CPU, {self._computes_in(chosen)}, {count_of(used, 'thread')}{uncached}"

    def _read(self) -> Any:
        # Read by itself and then compiled: by path, the cache knows a file by its name, size and time only, and would
        # give an older engine's answers for a newer one unpacked with the same time.
        try:
            # By this reader alone: ``read_model`` shows what is no ONNX to those of all other formats, which print.
            reader = self._ov.frontend.FrontEndManager().load_by_framework("onnx")
            return reader.convert(reader.load(str(self._path)))
        except Exception as err:  # RuntimeError and others that OpenVINO has changed over time
            raise EngineError(f"{self._path}: OpenVINO cannot load it ({last_line(err)}); {EXPORT_AGAIN}") from err

    def _compile(self, core: Any, model: Any, precision: str, threads: int, cache: Path | None) -> Any:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if cache is not None:
            options["CACHE_DIR"] = str(cache)
        try:
            if pays(precision, threads):
                cut_rows(model)
            compiled = core.compile_model(model, "CPU", options)
        except Exception as err:  # as in _read
            raise BackendError(
                f"{self._path}: OpenVINO cannot compile it ({last_line(err)}); use --backend onnxruntime"
            ) from err
        got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if got != _HINTS[precision]:
            raise BackendError(f"OpenVINO computes in {got}, wanted {_HINTS[precision]}; use --backend onnxruntime")
        return compiled

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        compiled = self._compiled
        if compiled is None:
            raise self._was_closed()
        try:
            request = self._request(compiled)
            # Whatever cannot be written to is copied: OpenVINO has no other memory for it.
            request.set_tensor("pixels", self._ov.Tensor(pixels, shared_memory=pixels.flags.writeable))
            request.infer(share_outputs=True)
            features: NDArray[np.float32] = np.array(request.get_tensor("features").data)
            request.set_tensor("pixels", self._placeholder)  # it would keep the caller's until the next run
        except Exception as err:  # as in _read; the request is not used again
            raise BackendError(
                f"OpenVINO failed on {count_of(len(pixels), 'image')} ({last_line(err)}); try a smaller batch"
            ) from err
        self._idle.append(request)
        if self._closed:  # meanwhile: it would keep all the others' memory
            self._idle.clear()
        return features

    def _request(self, compiled: Any) -> Any:
        """A request that no other thread uses, with the bank bound; there come to be as many as threads at once."""
        try:
            return self._idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
            request.set_tensor("bank", self._bank)
            return request

    def _close(self) -> None:
        self._idle.clear()
        self._compiled = None


@functools.cache
def _core(openvino: ModuleType) -> Any:
    """One for as long as the process, which keeps the CPU plugin loaded.

    As that comes it gives its thread a stack for signal handlers, and frees it as it goes, from whatever thread: then
    the next signal of the first thread, such as Ctrl-C, would end the process in a segmentation fault.
    """
    return openvino.Core()


def choose_precision(core: Any, wanted: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """fp32 or bf16: what is wanted, else bf16 where the CPU is fast in it.

    Raises:
        Unavailable: bf16 is wanted of a CPU that does not compute in it.
    """
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "bf16" and not native:
        name = core.get_property("CPU", "FULL_DEVICE_NAME")
        raise Unavailable(
            "no bf16 in this CPU",
            f"this CPU ({name}) does not compute in bf16 (on x86 that takes AVX512_BF16 or AMX); use --precision fp32",
        )
    if wanted != "auto":
        return wanted
    return "bf16" if native and fast_bf16(cpuinfo) else "fp32"


def last_line(err: Exception) -> str:
    """What OpenVINO says went wrong; it puts its own source lines first."""
    return (str(err).strip().splitlines() or [type(err).__name__])[-1][:200]


def _interface(model: Any) -> tuple[dict[str, list[int | str | None]], set[str], str]:
    inputs = {item.any_name: _axes(item.partial_shape) for item in model.inputs}
    outputs = {item.any_name for item in model.outputs}
    return inputs, outputs, str(model.get_rt_info(_TOWER).value) if model.has_rt_info(_TOWER) else ""


def _axes(shape: Any) -> list[int | str | None]:
    if shape.rank.is_dynamic:
        return []
    return [axis.get_length() if axis.is_static else "?" for axis in shape]


def import_openvino() -> ModuleType:
    with _no_telemetry():
        return import_runtime("openvino", "OpenVINO", "openvino")


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Keep the first import of OpenVINO from writing ~/intel and calling an analytics server, which it does unasked.

    Without the package ``openvino_telemetry`` it does neither, so it is not to be found meanwhile.
    """
    name = "openvino_telemetry"
    if "openvino" in sys.modules or name in sys.modules:  # the program around us has decided
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
