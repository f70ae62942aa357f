"""What one export is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ON_LONG = ("error", "truncate")
PRECISIONS = ("fp32", "fp16", "bf16")
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
    min_cosine: float = 0.999
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.on_long not in ON_LONG:
            raise ValueError(f"on_long must be one of {', '.join(ON_LONG)}, got {self.on_long!r}")
        if self.margin is not None and not 0 <= self.margin <= 1:
            raise ValueError(f"margin must be a difference of probabilities, 0 to 1, got {self.margin}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.standalone and self.precision != "fp32":
            raise ValueError(
                f"standalone graphs run anywhere, so they are fp32; got precision {self.precision!r} with it"
            )
        if not 0 < self.min_cosine <= 1:
            raise ValueError(f"min_cosine must be above 0 and at most 1, got {self.min_cosine}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be between 0 and 1, got {self.tolerance}")
        if self.shots is not None and (self.support is None or self.shots < 1):
            raise ValueError(f"shots must be at least 1, and goes with support, got {self.shots}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    @property
    def engine_path(self) -> Path:
        """The .onnx file: the one to write, or the one to reuse."""
        return self.engine or self._with_suffix(".onnx")

    @property
    def weights_path(self) -> Path:
        """The weight file to write."""
        return self._with_suffix(".safetensors")

    @property
    def standalone_path(self) -> Path:
        """The standalone graph to write, where it is asked for."""
        return self._with_suffix(".standalone.onnx")

    def _with_suffix(self, suffix: str) -> Path:
        # A stem may have dots of its own ("vit-b.16"), so the suffix is added, not replaced.
        stem = self.out.name.removesuffix(".onnx").removesuffix(".safetensors")
        return self.out.with_name(stem + suffix)
