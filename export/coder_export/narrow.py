"""The engine in the precision asked for, or in the next wider one that passes the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import onnx
from numpy.typing import NDArray

from coder_engine.errors import EngineError, ModelError
from coder_engine.machine.available import first_line
from coder_engine.preprocess import Preprocess
from coder_export.collapse import GeneralRows
from coder_export.config import LEAST_CALIBRATION, ExportConfig
from coder_export.gate import (
    LEAST_AGREEMENT,
    LEAST_COSINE,
    LEAST_IMAGES,
    WIDER,
    GateImages,
    PrecisionLoss,
    measure_int8,
    measure_loss,
    speedup,
)
from coder_export.onnx_model import save_graph
from coder_export.photographs import image_files, photograph_pixels, read_pixels
from coder_export.precision import typed_copy
from coder_export.quantize import int8_copy
from coder_export.report import Report

MOST_GATE_IMAGES = 256
MOST_HELD_OUT = 128
"""Of the calibration images where ``--verify-images`` gives no judges: a quarter of what was read, and no more."""


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """What came of it.

    Attributes:
        files: the engine files as they are now.
        loss: of the precision taken; None where it is fp32.
        refused: the precisions that were not, with why.
    """

    files: list[Path]
    loss: PrecisionLoss | None
    refused: tuple[tuple[PrecisionLoss, str], ...] = ()

    @property
    def precision(self) -> str:
        return self.loss.precision if self.loss else "fp32"

    @property
    def refusal(self) -> str | None:
        """What was asked for and what came of it, in words; None where they are the same."""
        if not self.refused:
            return None
        reasons = "; ".join(f"{loss.precision}: {reason}" for loss, reason in self.refused)
        return f"asked for {self.refused[0][0].precision}, got {self.precision} ({reasons})"

    def to_json(self) -> dict[str, Any]:
        """For the weight file's ``fidelity``."""
        taken = self.loss.to_json() if self.loss else {"precision": "fp32"}
        refused = [{**loss.to_json(), "reason": reason} for loss, reason in self.refused]
        return {"precision": taken, **({"refused": refused} if refused else {})}


def narrow(
    config: ExportConfig, files: list[Path], preprocess: Preprocess, rows: GeneralRows, report: Report
) -> Narrowed:
    """Try ``config.precision`` and then the wider ones; fp32 stays if none passes.

    Args:
        files: the fp32 engine files, replaced where a precision passes.
        rows: stage 1 of the label set.

    Raises:
        ModelError: there are too few images.
        EngineError: the machine lacks space or memory to quantize.
    """
    if config.precision == "fp32":
        return Narrowed(files=files, loss=None)
    calibration, images = _images(config, preprocess, report)
    if images.own and len(images.pixels) < LEAST_IMAGES:
        report.say(
            f"  {len(images.pixels)} images of yours judge, too few for the first class to count (--min-agreement), as "
            f"{LEAST_IMAGES} would: give more"
        )
    refused: list[tuple[PrecisionLoss, str]] = []
    wider = ("fp16",) if config.format == "cuda" else WIDER[config.precision]
    for precision in wider:
        if precision == "int8":
            copy, loss = _quantized(config, files[0], calibration, images, rows, report)
        else:
            with report.stage(f"{precision} copy"):
                model = onnx.load(files[0])
                loss = measure_loss(files[0], model, precision, images.pixels, rows)
                copy = typed_copy(model, precision)
        reason = _fault(config, loss, images)
        if reason is None:
            report.say(f"{precision} against fp32: {loss}")
            for file in files:
                file.unlink()
            return Narrowed(files=save_graph(copy, files[0]), loss=loss, refused=tuple(refused))
        report.say(f"{precision} is refused: {reason if loss.problem else f'{loss}; {reason}'}")
        refused.append((loss, reason))
        if loss.slow:  # other machines' precisions are no answer to that
            break
    report.say("the engine stays in fp32")
    return Narrowed(files=files, loss=None, refused=tuple(refused))


def _fault(config: ExportConfig, loss: PrecisionLoss, images: GateImages) -> str | None:
    cosine = config.min_cosine or LEAST_COSINE[loss.precision]
    agreement = config.min_agreement or LEAST_AGREEMENT[loss.precision]
    counts = images.own and len(images.pixels) >= LEAST_IMAGES
    return loss.fault(cosine=cosine, agreement=agreement if counts else None, slow=config.allow_slow)


def _quantized(
    config: ExportConfig,
    path: Path,
    calibration: NDArray[Any],
    images: GateImages,
    rows: GeneralRows,
    report: Report,
) -> tuple[onnx.ModelProto, PrecisionLoss]:
    """The int8 copy, empty where there is none, and what it costs; timed only where that is little enough."""
    try:
        with report.progress("calibration", len(calibration)) as advance:
            copy = int8_copy(path, calibration, advance)
    except OSError as err:  # says nothing of the graph
        # A scratch folder, gone when this is read, stands for the one it lies in.
        beside = path.parent.parent if path.parent.name.startswith(".") else path.parent
        raise EngineError(
            f"int8: the quantizer's files cannot be written to {gettempdir()} and {beside.resolve()} "
            f"({err.strerror or err}); free space, or set TMPDIR to a folder that has some"
        ) from err
    except MemoryError as err:
        raise EngineError(
            "int8: there is not enough memory to quantize the model; free some, or give another --precision"
        ) from err
    except Exception as err:  # the quantizer's own, of many kinds: some graphs are beyond it
        return onnx.ModelProto(), PrecisionLoss(
            precision="int8", cosine=nan, agreement=0.0, images=0, problem=f"it cannot be quantized ({first_line(err)})"
        )
    scratch = path.with_name(f"{path.stem}.int8.onnx")
    with report.stage("int8 gate"):
        written = save_graph(copy, scratch)
        loss = measure_int8(path, scratch, images.pixels, rows)
        if _fault(config, loss, images) is None:
            loss = replace(loss, speedup=speedup(path, scratch, images.pixels))
        for file in written:
            file.unlink()
    return copy, loss


def _images(config: ExportConfig, preprocess: Preprocess, report: Report) -> tuple[NDArray[Any], GateImages]:
    """Pixels to calibrate int8 on, none for other precisions, and others that judge."""
    judges = [] if config.verify_images is None else image_files(config.verify_images)[:MOST_GATE_IMAGES]
    held = read_pixels(judges, preprocess, most=MOST_GATE_IMAGES)
    own = GateImages(pixels=held, own=True)
    if config.calibrate is None:
        if len(held):
            return held[:0], own
        return held[:0], GateImages(pixels=photograph_pixels(None, preprocess), own=False)
    apart = {path.resolve() for path in judges}
    paths = [path for path in image_files(config.calibrate) if path.resolve() not in apart]
    wanted = config.calibrate_count if len(held) else config.calibrate_count + MOST_HELD_OUT
    with report.progress("calibration images", min(wanted, len(paths))) as advance:
        pixels = read_pixels(paths, preprocess, most=wanted, progress=advance)
    if not len(held):
        split = min(len(pixels) // 4, MOST_HELD_OUT)
        own, pixels = GateImages(pixels=pixels[:split], own=True), pixels[split:]
    _check_enough(config, len(pixels), len(own.pixels))
    return pixels[: config.calibrate_count], own


def _check_enough(config: ExportConfig, calibration: int, judges: int) -> None:
    if calibration >= LEAST_CALIBRATION:
        return
    raise ModelError(
        f"{config.calibrate}: {calibration} readable images to calibrate int8 on, besides {judges} that judge the "
        f"result; wanted at least {LEAST_CALIBRATION}, better {config.calibrate_count}: give a folder with more of the "
        "kind that will be classified (--calibrate DIR; sub-folders count)"
    )
