"""What one export is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coder_engine.plans.build import LARGEST_BATCH, MAX_BATCH
from coder_engine.plans.library import LIBRARIES

ON_LONG = ("error", "truncate")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
FORMATS = ("onnx", "cuda", "plan")
FUSED_PRECISIONS = ("fp16", "fp32")
"""What ``--format cuda`` may be in: its operators are there for no other."""
TRT = tuple(LIBRARIES)
LEAST_CALIBRATION = 32
"""Images that int8 is calibrated on, at the least."""
NO_TEXTS = "none"
"""``--texts none``: class names only, even where a shipped text set fits."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of ``coder-export``; see its ``--help``. Paths are not opened here.

    Raises:
        ValueError: a value is out of range.
    """

    model: str
    labels: Path
    pretrained: str | None = None
    checkpoint: Path | None = None
    texts: str | None = None
    out: Path = Path("model")
    engine: Path | None = None
    on_long: str = "error"
    keep_texts: bool = False
    general_texts: str | None = None
    support: Path | None = None
    shots: int | None = None
    standalone: bool = False
    margin: float | None = None
    tolerance: float = 1e-4
    verify_images: Path | None = None
    precision: str = "fp32"
    format: str = "onnx"
    max_batch: int = MAX_BATCH
    trt: str | None = None
    min_cosine: float | None = None
    min_agreement: float | None = None
    calibrate: Path | None = None
    calibrate_count: int = 256
    allow_slow: bool = False
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.out.name in ("", ".."):
            raise ValueError(f"--out must name the files to write, got {str(self.out)!r}; give a stem: --out birds")
        if self._with_suffix(".onnx").name.endswith(".standalone.onnx"):
            raise ValueError(f"--out {self.out}: standalone graphs are called STEM.standalone.onnx; give another stem")
        if self.on_long not in ON_LONG:
            raise ValueError(f"--on-long must be one of {', '.join(ON_LONG)}, got {self.on_long!r}")
        if self.margin is not None and not 0 <= self.margin <= 1:
            raise ValueError(f"--margin must be a difference of probabilities, 0 to 1, got {self.margin}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"--precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        self._check_format()
        self._check_standalone()
        self._check_reuse()
        for name, least in (("--min-cosine", self.min_cosine), ("--min-agreement", self.min_agreement)):
            if least is not None and not 0 < least <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {least}")
        self._check_calibration()
        if not 0 < self.tolerance < 1:
            raise ValueError(f"--tolerance must be between 0 and 1, got {self.tolerance}")
        if self.shots is not None and (self.support is None or self.shots < 1):
            raise ValueError(f"--shots must be at least 1, and goes with --support DIR, got {self.shots}")
        if self.seed != ExportConfig.seed and self.pretrained != "random":
            raise ValueError(f"--seed is of --pretrained random, got {self.pretrained or 'a tag'}; leave it out")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")

    def _check_standalone(self) -> None:
        if self.standalone and self.precision != "fp32":
            raise ValueError(
                f"standalone graphs run anywhere, so they are fp32; got --precision {self.precision} with "
                "--standalone; give --precision fp32, or leave --standalone out"
            )
        if self.standalone and self.engine is not None and self.engine.suffix != ".onnx":
            raise ValueError(f"a standalone graph is made from an .onnx file, got --engine {self.engine}")
        if self.standalone and self.support is not None:
            raise ValueError(
                f"a standalone graph ranks by texts, it has no few-shot adapter; got --support {self.support} with "
                "--standalone; leave one of them out"
            )

    def _check_reuse(self) -> None:
        if self.engine is None:
            return
        building = ["precision", "tolerance", "min_cosine", "min_agreement", "allow_slow", "max_batch", "trt"]
        building += ["calibrate_count"]
        building += [] if self.standalone else ["verify_images"]
        for name in building:
            if getattr(self, name) != getattr(ExportConfig, name):
                raise ValueError(
                    f"{_option(name)} is for an engine that is built, and {self.engine} exists; leave one of them out"
                )
        own = self.engine.with_suffix(".safetensors")
        if self.weights_path.resolve() == own.resolve():
            raise ValueError(f"{self.weights_path}: would replace the engine's own weight file; choose another --out")

    def _check_format(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"--format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.format != "onnx" and self.engine is not None:
            raise ValueError(
                f"--format {self.format} builds an engine, and --engine {self.engine} reuses one; leave one of them out"
            )
        if self.format == "cuda" and self.precision not in FUSED_PRECISIONS:
            raise ValueError(
                f"--format cuda is in {' or '.join(FUSED_PRECISIONS)}, got --precision {self.precision} with it; "
                "leave one of them out"
            )
        if self.format == "cuda" and self.standalone:
            raise ValueError(
                "standalone graphs run anywhere, got --format cuda with --standalone; leave one of them out"
            )
        if not 1 <= self.max_batch <= LARGEST_BATCH:
            raise ValueError(f"--max-batch must be from 1 to {LARGEST_BATCH}, got {self.max_batch}")
        for name in ("max_batch", "trt"):
            if self.engine is None and self.format != "plan" and getattr(self, name) != getattr(ExportConfig, name):
                raise ValueError(f"{_option(name)} is for a plan; add --format plan, or leave it out")

    def _check_calibration(self) -> None:
        if self.precision == "int8" and self.calibrate is None:
            raise ValueError(
                "int8 is calibrated on your own images: give --calibrate DIR, a folder of some "
                f"{self.calibrate_count} or more like those that will be classified (labels are not needed)"
            )
        if self.precision != "int8" and self.calibrate is not None:
            raise ValueError(
                f"--calibrate is for --precision int8, got {self.precision} with it; leave one of them out"
            )
        if self.precision != "int8" and self.allow_slow:
            raise ValueError(f"--allow-slow is for --precision int8, got {self.precision} with it; leave it out")
        if self.precision == "fp32" and self.min_agreement is not None:
            raise ValueError("--min-agreement is for a lower --precision, and fp32 is kept; leave it out")
        if self.precision == "fp32" and self.format == "onnx" and self.min_cosine is not None:
            raise ValueError("--min-cosine is for a lower --precision, and fp32 is kept (--tolerance bounds it)")
        if self.calibrate_count < LEAST_CALIBRATION:
            raise ValueError(
                f"--calibrate-count must be at least {LEAST_CALIBRATION} images, got {self.calibrate_count}"
            )

    @property
    def engine_path(self) -> Path:
        """The .onnx file: the one to write, or the one to reuse."""
        return self.engine or self._with_suffix(".onnx")

    @property
    def weights_path(self) -> Path:
        """The weight file to write."""
        return self._with_suffix(".safetensors")

    @property
    def plan_path(self) -> Path:
        """The plan to write, where it is asked for."""
        return self._with_suffix(".plan")

    @property
    def standalone_path(self) -> Path:
        """The standalone graph to write, where it is asked for."""
        return self._with_suffix(".standalone.onnx")

    def _with_suffix(self, suffix: str) -> Path:
        # A stem may have dots of its own ("vit-b.16"), so the suffix is added, not replaced.
        stem = self.out.name.removesuffix(".onnx").removesuffix(".plan").removesuffix(".safetensors")
        return self.out.with_name(stem + suffix)


def _option(name: str) -> str:
    """A field as the command has it."""
    return f"--{name.replace('_', '-')}"
