"""Runtimes that can run an engine file, one module each, and the choice among them."""

from __future__ import annotations

from pathlib import Path

from coder_engine.backends.base import STORED, Backend, is_fused, stored_precision
from coder_engine.backends.onnxruntime import OnnxRuntimeCpu
from coder_engine.backends.onnxruntime_cuda import OnnxRuntimeCuda
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.backends.tensorrt import TensorRt
from coder_engine.errors import BackendError, CoderError, EngineError
from coder_engine.machine.available import PassedOver, Unavailable
from coder_engine.plans.record import SUFFIX as PLAN
from coder_engine.weightfile.metadata import Metadata

__all__ = ["BACKENDS", "Backend", "PassedOver", "Unavailable", "open_backend"]

BACKENDS: tuple[type[Backend], ...] = (TensorRt, OnnxRuntimeCuda, OpenVinoCpu, OnnxRuntimeCpu)
"""Best first. A name may stand for several, on different devices."""


def open_backend(
    path: Path,
    *,
    threads: int,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    meta: Metadata | None = None,
) -> Backend:
    """Open an engine file with what was asked for; where that leaves a choice, with the best that works here.

    Args:
        precision: what an fp32 file is computed in. A file stored in another takes only its own name and "auto".
        meta: that of the weight file the engine file belongs to; plans are not opened without.

    Raises:
        ValueError: no such backend, device or precision, or no backend has all three, or the file is of another.
        EngineError: the file is damaged, not one of ours, or of a kind that no backend reads.
        BackendError: no runtime that could run it is there and works.
    """
    precision = _left_open(path, precision)
    kinds = _of_kind(path, _asked(backend, device, precision))
    failed: list[tuple[type[Backend], CoderError]] = []
    for kind in kinds:
        try:
            opened = kind(path, threads=threads, precision=precision, meta=meta)
        except CoderError as err:
            failed.append((kind, err))
        else:
            opened.passed_over = tuple(_passed_over(*pair) for pair in failed)
            return opened
    raise _none_opened(failed)


def _left_open(path: Path, precision: str) -> str:
    """What a caller's precision leaves for the backend to choose by, given the one the file is stored in."""
    stored = stored_precision(path)
    if precision not in STORED:  # "auto", or wrong
        return precision
    if stored not in ("fp32", precision):
        raise ValueError(
            f"{path} is an engine stored in {stored}, got precision {precision}; "
            f"leave it out, or export it again with coder-export --precision {precision}"
        )
    if stored != "fp32":
        return "auto"
    if not any(precision in kind.precisions for kind in BACKENDS if path.suffix in kind.suffixes):
        calibrate = " --calibrate DIR" if precision == "int8" else ""
        raise ValueError(
            f"{path} is an fp32 engine, and {precision} is made at export: coder-export --precision "
            f"{precision}{calibrate}"
        )
    return precision


def _asked(backend: str, device: str, precision: str) -> list[type[Backend]]:
    """The backends that a caller's three choices leave."""
    options = {
        "backend": (backend, [kind.name for kind in BACKENDS]),
        "device": (device, sorted(kind.device for kind in BACKENDS)),
        "precision": (precision, [*STORED, *(name for kind in BACKENDS for name in kind.precisions)]),
    }
    for option, (value, known) in options.items():
        if value not in ("auto", *known):
            raise ValueError(f"{option} must be auto or one of {', '.join(dict.fromkeys(known))}, got {value!r}")
    named = [kind for kind in BACKENDS if backend in ("auto", kind.name) and device in ("auto", kind.device)]
    found = [kind for kind in named if precision in ("auto", *kind.precisions)]
    if not found:
        known = [f"{kind.name} on {kind.device} in {' or '.join(kind.precisions)}" for kind in BACKENDS]
        asked = f"backend {backend}, device {device}, precision {precision}"
        raise ValueError(f"no backend has {asked}; there are: {', '.join(known)}")
    return found


def _of_kind(path: Path, kinds: list[type[Backend]]) -> list[type[Backend]]:
    """The backends that read such files."""
    found = [kind for kind in kinds if path.suffix in kind.suffixes]
    if not found:
        readable = sorted({suffix for kind in kinds for suffix in kind.suffixes})
        makes = "coder-export --format plan" if readable == [PLAN] else "coder-export"
        raise EngineError(f"{path}: not a kind of engine file this can run ({', '.join(readable)}); {makes} makes one")
    return _of_fused(path, found) if is_fused(path) else found


def _of_fused(path: Path, kinds: list[type[Backend]]) -> list[type[Backend]]:
    """The backends that know the operators of ``coder-export --format cuda``."""
    found = [kind for kind in kinds if kind.reads_fused]
    if not found:
        raise EngineError(
            f"{path}: made for ONNX Runtime on NVIDIA GPUs (coder-export --format cuda); leave --backend, "
            "--device and --precision out, or export it again without --format"
        )
    return found


def _passed_over(kind: type[Backend], err: CoderError) -> PassedOver:
    short = err.short if isinstance(err, Unavailable) else "cannot run this file"
    return PassedOver(title=kind.title, short=short, reason=str(err))


def _none_opened(failed: list[tuple[type[Backend], CoderError]]) -> CoderError:
    """The one error that helps most: a fault of the file, as the reference sees it, before one of the machine."""
    of_file = [err for _, err in failed if isinstance(err, EngineError)]
    if of_file or len(failed) == 1:
        return of_file[-1] if of_file else failed[0][1]
    return BackendError("nothing here runs this engine. " + ". ".join(f"{kind.title}: {err}" for kind, err in failed))
