"""What can go wrong, one class a kind.

CoderError
 ├─ EngineError    an engine file (.onnx, .plan) is not ours, is damaged, or does not belong to its weight file
 ├─ WeightsError   a weight file is truncated, edited, of a newer format, or of another model
 ├─ BackendError   a runtime or device that was asked for is missing, or failed while running
 ├─ ImageError     one image cannot be read; ``kind`` says why in one word
 ├─ TextsError     a label file or a text set is malformed
 ├─ DataError      labelled images, or a file of features, do not fit the labels or one another
 └─ ModelError     a model, its pretrained weights or its export is not usable

Wrong arguments stay ``ValueError`` and ``TypeError``.
"""

from __future__ import annotations


class CoderError(Exception):
    """Base of every error this project raises for bad files, machines and models."""


class EngineError(CoderError):
    """An engine file is not ours, is damaged, or does not belong to its weight file."""


class WeightsError(CoderError):
    """A weight file is truncated, edited, of a newer format, or of another model."""


class BackendError(CoderError):
    """A runtime or device that was asked for is missing, or failed while running."""


class ImageError(CoderError):
    """One image cannot be read.

    Attributes:
        kind: one word for programs: ``missing``, ``unreadable``, ``empty``, ``truncated``, ``too-large``,
            ``not-an-image``, ``unsupported``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class TextsError(CoderError):
    """A label file or a text set is malformed."""


class DataError(CoderError):
    """Labelled images, or a file of features, do not fit the labels or one another."""


class ModelError(CoderError):
    """A model, its pretrained weights or its export is not usable."""
