"""Stage 7 of the pipeline for lower precisions: what they cost and gain, and when that is not good enough.

A precision is refused where features are not finite or too far from fp32's, where the first class changes too often on
the user's own images, and, for int8, where it is no faster here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from coder_engine.backends import open_backend
from coder_engine.backends.base import Backend
from coder_engine.backends.onnxruntime import OnnxRuntimeCpu, open_session
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.errors import CoderError
from coder_engine.machine.available import Unavailable
from coder_engine.machine.cpus import usable_cpus
from coder_export.collapse import GeneralRows, stage_one
from coder_export.measure import interleaved
from coder_export.onnx_model import save_graph
from coder_export.precision import typed_copy

WIDER = {"int8": ("int8", "fp16", "bf16"), "fp16": ("fp16", "bf16"), "bf16": ("bf16", "fp16")}
"""What is tried for a precision, in turn: fp16 overflows where bf16 does not, and has more digits where it does not.

After int8 comes fp16, as every backend runs it; fp32 is what remains, and what int8 that is too slow gives way to.
"""
LEAST_COSINE = {"fp32": 0.999, "fp16": 0.999, "bf16": 0.999, "int8": 0.98}
"""The least cosine with fp32's features, which a plan may compute in another order. int8 has 8 bits and clips: of 2,000
test images with coder-tiny one was below 0.98, where bf16's smallest was 0.9994."""
LEAST_AGREEMENT = {"fp16": 0.99, "bf16": 0.99, "int8": 0.97}
"""The least share of images whose first class stays; with coder-tiny on 2,000 test images it was 99.5 % and 98.5 %."""
LEAST_IMAGES = 32
"""With fewer the agreement is told, but does not count: one image near a tie would decide."""

BATCHES = (1, 8)
"""Sizes that int8's speed is taken at; one has to gain."""

_CHUNK = 16
_SECONDS = 3.0
_Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class GateImages:
    """The images that judge a precision.

    Attributes:
        pixels: uint8 [N, H, W, 3].
        own: they are the user's, of the kind that will be classified, so that the agreement counts.
    """

    pixels: NDArray[np.uint8]
    own: bool


@dataclass(frozen=True, kw_only=True)
class PrecisionLoss:
    """What a lower precision changes.

    Attributes:
        cosine: smallest cosine between an image's features and fp32's; NaN where they are not finite.
        agreement: share of images whose first class of stage 1 is the same.
        images: how many were compared.
        runtime: what computed it.
        speedup: how many times as fast as the fp32 file in the fastest precision of this machine, by batch size;
            None: not measured.
        problem: why nothing could be measured.
    """

    precision: str
    cosine: float
    agreement: float
    images: int
    runtime: str = ""
    speedup: Mapping[str, float] | None = None
    problem: str = ""

    @property
    def slow(self) -> bool:
        """It was timed, and is no faster than the fp32 file."""
        return self.speedup is not None and max(self.speedup.values()) <= 1

    def to_json(self) -> dict[str, object]:
        found = asdict(self)
        if not np.isfinite(self.cosine):
            found["cosine"] = None  # JSON has no NaN
        return found

    def fault(self, *, cosine: float, agreement: float | None, slow: bool = False) -> str | None:
        """Why it is refused, or None.

        Args:
            cosine: the least allowed.
            agreement: the least allowed, None where it does not count. It is missed where the share is below it by more
                than the sampling error of so many images (one-sided, 95 %).
            slow: int8 may be slower than what it replaces.
        """
        if self.problem:
            return self.problem
        if not np.isfinite(self.cosine):
            return "its features are not finite"
        if self.cosine < cosine:
            return f"wanted a cosine of at least {cosine} (--min-cosine)"
        if agreement is not None and self.agreement < agreement - _sampling_error(agreement, self.images):
            return f"wanted the first class the same on at least {agreement:.1%} (--min-agreement)"
        if self.slow and not slow:
            return "it is not faster on this machine (--allow-slow takes it nevertheless, for another machine)"
        return None

    def __str__(self) -> str:
        first = f"first class the same on {self.agreement:.1%} of {self.images} images"
        times = " and ".join(f"{times:.2f} (B = {batch})" for batch, times in (self.speedup or {}).items())
        speed = f", {times} times as fast as the fp32 file" if times else ""
        where = f" ({self.runtime})" if self.runtime else ""
        return f"cosine >= {self.cosine:.6f}, {first}{speed}{where}"


def measure_loss(
    path: Path, model: onnx.ModelProto, precision: str, pixels: NDArray[np.uint8], rows: GeneralRows
) -> PrecisionLoss:
    """What ``typed_copy`` in ``precision`` would change, emulated in ONNX Runtime on the CPU.

    Args:
        path: the fp32 engine file; ``model`` is its content.
        pixels: uint8 [N, H, W, 3].
        rows: stage 1 of the label set, which decides the first class.
    """
    emulated = path.with_name(f"{path.stem}.{precision}.onnx")
    files = save_graph(typed_copy(model, precision, emulate=True), emulated)
    got = _features(_session(emulated), pixels)
    for file in files:
        file.unlink()
    return _loss(precision, _features(_session(path), pixels), got, rows)


def measure_int8(path: Path, quantized: Path, pixels: NDArray[np.uint8], rows: GeneralRows) -> PrecisionLoss:
    """What an int8 file changes in the worst of the CPU runtimes installed: they do not all fuse it alike.

    Args:
        path: the fp32 engine file.
        quantized: its int8 copy.
    """
    wanted = _features(_session(path), pixels)
    losses = [_loss_in(kind, quantized, wanted, pixels, rows) for kind in _runtimes()]
    worst = min(losses, key=lambda loss: -2.0 if loss.problem else loss.cosine)
    return replace(worst, agreement=min(loss.agreement for loss in losses))


def speedup(path: Path, quantized: Path, pixels: NDArray[np.uint8]) -> dict[str, float]:
    """How many times as fast ``quantized`` is, by batch size: medians of runs in turn, as "auto" runs both."""
    backends = [open_backend(file, threads=usable_cpus(), device="cpu") for file in (path, quantized)]
    found = {}
    for batch in BATCHES:
        images = pixels[np.arange(batch) % len(pixels)]
        wide, low = (partial(backend.encode, images) for backend in backends)
        times = interleaved({"wide": wide, "int8": low}, seconds=_SECONDS, least=7)
        found[str(batch)] = round(times["wide"].p50 / times["int8"].p50, 3)
    return found


def _runtimes() -> list[type[Backend]]:
    try:
        OpenVinoCpu.require()
    except Unavailable:
        return [OnnxRuntimeCpu]
    return [OnnxRuntimeCpu, OpenVinoCpu]


def _loss_in(
    kind: type[Backend], path: Path, wanted: NDArray[np.float32], pixels: NDArray[np.uint8], rows: GeneralRows
) -> PrecisionLoss:
    try:
        backend = kind(path, threads=usable_cpus())
        loss = _loss("int8", wanted, _features(backend.encode, pixels), rows)
        return replace(loss, runtime=backend.description)
    except CoderError as err:  # it does not compile, or gives features that are not of unit length
        nothing = PrecisionLoss(precision="int8", cosine=float("nan"), agreement=0.0, images=len(pixels))
        return replace(nothing, runtime=kind.title, problem=f"{kind.title} does not run it: {err}")


def _session(path: Path) -> _Encode:
    session: Any = open_session(path, threads=None)
    bank = np.zeros((1, int(session.get_inputs()[1].shape[1])), np.float32)

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = session.run(["features"], {"pixels": pixels, "bank": bank})[0]
        return features

    return encode


def _features(encode: _Encode, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([encode(pixels[i : i + _CHUNK]) for i in range(0, len(pixels), _CHUNK)])


def _loss(precision: str, wanted: NDArray[np.float32], got: NDArray[np.float32], rows: GeneralRows) -> PrecisionLoss:
    if not np.isfinite(got).all():
        return PrecisionLoss(precision=precision, cosine=float("nan"), agreement=0.0, images=len(got))
    first, same = (stage_one(features @ rows.bank.T, rows).argmax(axis=1) for features in (wanted, got))
    return PrecisionLoss(
        precision=precision,
        cosine=float((wanted * got).sum(axis=1).min()),
        agreement=float((first == same).mean()),
        images=len(got),
    )


def _sampling_error(share: float, images: int) -> float:
    return 1.645 * sqrt(share * (1 - share) / images)
