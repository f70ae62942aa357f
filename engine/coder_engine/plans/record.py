"""What a plan was built by and for, and whether that is this machine. Asked before TensorRT sees the file.

TensorRT's own refusals name numbers of its inside; ours name both sides and the command that mends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from coder_engine.errors import EngineError
from coder_engine.machine.available import Unavailable
from coder_engine.machine.cuda_driver import Gpu
from coder_engine.plans.library import LIBRARIES, open_library, title_of
from coder_engine.weightfile.metadata import Metadata

SUFFIX = ".plan"

_RTX_FROM = 8.0
"""What plans for no GPU in particular run on. RTX can build for 7.5 alone, but not the fp32 products in our graphs."""


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What a weight file says of one plan; the plan's own sha256 is among its ``engine_files``.

    Attributes:
        library: "tensorrt" or "tensorrt_rtx".
        version: of the library; a plan runs with this one only.
        gpu: name of the GPU it was built on and for; None where it runs on all that the library builds for.
        compute_capability: of that GPU, like "8.7"; None with it.
        max_batch: the largest B of its second profile; the first is for B = 1.
        precision: of its encoder, as in the graph it was built from.
        onnx_sha256: of that graph's file.
    """

    library: str
    version: str
    gpu: str | None
    compute_capability: str | None
    max_batch: int
    precision: str
    onnx_sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        gpu = "any GPU it supports" if self.gpu is None else f"{self.gpu} ({self.compute_capability})"
        return f"{title_of(self.library, self.version)} for {gpu}, B up to {self.max_batch}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlanRecord:
        """Inverse of :meth:`to_json`; raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
        found = cls(**{item.name: data[item.name] for item in fields(cls)})
        if not isinstance(found.max_batch, int) or found.max_batch < 1:
            raise ValueError(f"max_batch must be a number from 1 on, got {found.max_batch!r}")
        if found.library not in LIBRARIES:
            raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {found.library!r}")
        return found


def record_of(path: Path, meta: Metadata) -> PlanRecord:
    """What the weight file says of the plan ``path``, which it knows by its file's name.

    Raises:
        EngineError: nothing, or nothing that can be read.
    """
    if path.name not in meta.plans:
        known = ", ".join(meta.plans) or "no plan"
        raise EngineError(
            f"{path}: its weight file does not say what it was built by and for (it knows {known}); "
            f"{rebuild_hint(path)}"
        )
    try:
        return PlanRecord.from_json(meta.plans[path.name])
    except (KeyError, TypeError, ValueError) as err:
        raise EngineError(
            f"{path}: what its weight file says of it cannot be read ({err!r}); {rebuild_hint(path)}"
        ) from err


def library_of(path: Path, record: PlanRecord) -> ModuleType:
    """The library that a plan was built with, in the same version.

    Raises:
        EngineError: another one is installed, or another version.
        Unavailable: none is installed.
    """
    built = title_of(record.library, record.version)
    try:
        trt = open_library(record.library)
    except Unavailable as missing:
        try:
            trt = open_library()
        except Unavailable:
            raise missing from None
    if (trt.__name__, trt.__version__) != (record.library, record.version):
        here = title_of(trt.__name__, trt.__version__)
        raise EngineError(f"{path}: built by {built}, this machine has {here}; {rebuild_hint(path)}")
    return trt


def check_gpu(path: Path, record: PlanRecord, gpu: Gpu) -> None:
    """Refuse a plan for another GPU. TensorRT picks kernels by timing them: even a like GPU is another one.

    Raises:
        EngineError: the GPU's name or its compute capability is not the recorded one.
    """
    if record.gpu is None and float(gpu.capability) < _RTX_FROM:
        raise EngineError(
            f"{path}: plans of TensorRT-RTX run from compute capability {_RTX_FROM} on, this machine has {gpu}; "
            f"run {path.with_suffix('.onnx').name} instead"
        )
    wanted = record.gpu or gpu.name, record.compute_capability or gpu.capability
    if wanted != (gpu.name, gpu.capability):
        built = Gpu(name=wanted[0], capability=wanted[1])
        raise EngineError(f"{path}: built for {built}, this machine has {gpu}; {rebuild_hint(path)}")


def rebuild_hint(path: Path) -> str:
    return f"rebuild it from {path.with_suffix('.onnx').name}: coder-infer IMAGES --engine {path} --rebuild"
