"""What every backend does, and the checks they share.

A backend runs the image encoder: pixels in, unit features out. The matmul with the bank and all that follows is done
in fp32 by the head, so a backend's precision never reaches the ranking itself.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from coder_engine.arguments import OFF_UNIT
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import PassedOver
from coder_engine.weightfile.metadata import Metadata

if TYPE_CHECKING:
    from coder_engine.head import Ranking
    from coder_engine.weights import Weights

EXPORT_AGAIN = "export it again with coder-export"
STORED = ("fp32", "fp16", "bf16", "int8")
"""The precisions that an engine file may be stored in."""

_RECORD = re.compile(rb"coder\.precision\x12[\x04](%s)" % "|".join(STORED).encode())
_FUSED = b"coder.runtime\x12\x04cuda"
_TAIL = 1 << 16


class Ranker(Protocol):
    """Encoder and head in one go on a device, for one label set."""

    @property
    def description(self) -> str: ...

    def start(self, before: list[Any]) -> None:
        """Begin to put the label set on the device; until it is there, ``rank`` gives None.

        Args:
            before: label sets that are let go of first; the list is emptied.
        """

    def wait(self) -> None:
        """Until the label set is on the device, or known not to fit."""

    def rank(self, pixels: NDArray[np.uint8], *, top: int, margin: float | None, rerank: bool) -> Ranking | None: ...

    def close(self) -> None:
        """Let go of the label set on the device."""


class Backend(ABC):
    """One open engine file.

    Args:
        path: the engine file.
        threads: CPU threads, at least 1.
        precision: one of ``precisions``, or "auto" for the fastest that this machine computes natively. It is what an
            fp32 file is computed in, and whatever another file leaves open.
        meta: what the weight file says, for engine files that say nothing of themselves; that the two belong together
            is checked before.

    Raises:
        BackendError: the runtime or the device is missing, or lacks the precision.
        EngineError: the file is damaged or not an engine of coder-export.

    Attributes:
        name: what ``--backend`` calls it.
        title: what people call it.
        device: what ``--device`` calls the hardware it runs on.
        precisions: what ``--precision`` may say, fastest first.
        suffixes: the engine files it reads.
        reads_fused: whether it reads those of ``coder-export --format cuda``.
        overlaps: whether two batches at once are faster than one after the other: the host prepares one while the
            device computes the other.
        size: (H, W) of the pixels the engine takes.
        width: D of the features it gives.
        tower: the image tower's sha256 as recorded in the engine file, or in the weight file that belongs to a plan.
        stored: the precision of the engine file, one of ``STORED``; of a plan as its weight file says.
        description: backend, version, device, precision and threads in a few words.
        passed_over: the better backends that "auto" could not take.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    device: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    suffixes: ClassVar[tuple[str, ...]]
    reads_fused: ClassVar[bool] = False
    overlaps: ClassVar[bool] = False

    size: tuple[int, int]
    width: int
    tower: str
    stored: str
    description: str
    passed_over: tuple[PassedOver, ...] = ()

    def __init__(self, path: Path, *, threads: int, precision: str = "auto", meta: Metadata | None = None) -> None:
        self._path = path
        self._meta = meta
        self._closed = False
        self.stored = stored_precision(path)
        self._open(threads, precision)

    @classmethod
    @abstractmethod
    def require(cls) -> str:
        """The runtime's name and version.

        Raises:
            Unavailable: the runtime or the device is missing.
        """

    @abstractmethod
    def _open(self, threads: int, precision: str) -> None:
        """Load the file, have :meth:`_check_interface` look at it, and bind the bank."""

    @abstractmethod
    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The runtime's own call, on checked pixels, B >= 1."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of the runtime's objects. A run in another thread ends first, or with a BackendError."""

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Image features of ``pixels``: uint8 [B, H, W, 3] to float32 [B, D], unit length. Threads may share it.

        Raises:
            ValueError: the pixels have another dtype or shape.
            BackendError: the runtime failed, or the backend was closed.
            EngineError: the features it gave have another dtype, shape or length.
        """
        self.check_pixels(pixels)
        if not len(pixels):
            return np.empty((0, self.width), np.float32)
        return self._unit(self._run(np.ascontiguousarray(pixels)), len(pixels))

    def ranker(self, weights: Weights) -> Ranker | None:
        """The encoder and the head of a label set in one go on the device; None where the backend only encodes."""
        return None

    def check_pixels(self, pixels: NDArray[np.uint8]) -> None:
        """Refuse what is not uint8 [B, H, W, 3], and everything once the backend is closed."""
        if self._closed:
            raise self._was_closed()
        height, width = self.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (height, width, 3):
            raise ValueError(
                f"pixels must be uint8 [B, {height}, {width}, 3], got {pixels.dtype} {list(pixels.shape)}; "
                "resize and crop first, the engine does the scaling"
            )

    def _was_closed(self) -> BackendError:
        return BackendError(f"{self._path}: this engine was closed; open it again")

    def close(self) -> None:
        """Free what the runtime holds; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    def _unit(self, features: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Checked features, scaled in fp32 to the length that a runtime of less precision only nearly gave them."""
        if features.shape != (count, self.width) or features.dtype != np.float32:
            raise EngineError(
                f"the engine gave {features.dtype} {list(features.shape)} features, wanted float32 "
                f"[{count}, {self.width}]; {EXPORT_AGAIN}"
            )
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        off = np.abs(lengths - 1)
        if not (off <= OFF_UNIT).all():  # NaN is not
            worst = float(lengths.flat[np.argmax(off)])
            raise EngineError(
                f"the engine gave a feature of length {worst:.4g}, wanted 1 ({self.description}); "
                f"try --precision fp32, else {EXPORT_AGAIN}"
            )
        unit: NDArray[np.float32] = features / lengths
        return unit

    def _check_interface(
        self, inputs: Mapping[str, Sequence[int | str | None]], outputs: Collection[str], tower: str
    ) -> None:
        """Take size, width and tower from a graph of ours; refuse any other.

        Args:
            inputs: shape by name; an axis that is not fixed is no int.
            outputs: their names.
            tower: what the file records as ``coder.tower``, empty where it does not.
        """
        if set(inputs) != {"pixels", "bank"} or set(outputs) != {"features", "coder"} or not tower:
            raise EngineError(
                f"{self._path}: not an engine of coder-export (inputs {sorted(inputs)}, outputs {sorted(outputs)}; "
                "wanted pixels, bank and features, coder); make one with coder-export"
            )
        pixels, bank = list(inputs["pixels"]), list(inputs["bank"])
        height, width, channels = pixels[1:] if len(pixels) == 4 else (None, None, None)
        columns = bank[1] if len(bank) == 2 else None
        if not isinstance(height, int) or not isinstance(width, int) or not isinstance(columns, int) or channels != 3:
            raise EngineError(
                f"{self._path}: its inputs are pixels {pixels} and bank {bank}, wanted [B, H, W, 3] and [rows, D] with "
                f"H, W and D fixed; {EXPORT_AGAIN}"
            )
        self.size, self.width, self.tower = (height, width), columns, tower

    def _computes_in(self, chosen: str) -> str:
        """For the description: the file's precision, and what the runtime computes in where that leaves it a choice."""
        if self.stored in ("fp32", chosen):
            return chosen
        return f"int8 and {chosen}" if self.stored == "int8" else f"{self.stored} file in {chosen}"

    def _no_bank(self) -> NDArray[np.float32]:
        """What to bind as the bank: runtimes compute outputs nobody fetches, so it has one row.

        The graph offers the bank matmul to other programs; here the head's own kernel does it, in fp32.
        """
        return np.zeros((1, self.width), np.float32)


def stored_precision(path: Path) -> str:
    """The precision that coder-export recorded in an engine file, "fp32" where it recorded none."""
    found = _RECORD.findall(_metadata_of(path))
    return found[-1].decode() if found else "fp32"


def is_fused(path: Path) -> bool:
    """Whether an engine file is made of operators that only ONNX Runtime knows."""
    return _FUSED in _metadata_of(path)


def is_engine(path: Path) -> bool:
    """Whether an .onnx file is of coder-export."""
    return b"coder.tower" in _metadata_of(path)


def _metadata_of(path: Path) -> bytes:
    """The file's end, where ONNX has the metadata, read before any runtime has opened it: not all of them can."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read()
    except OSError:  # whoever opens it next tells what is wrong
        return b""
