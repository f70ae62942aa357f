"""coder-engine, run side: CLIP classification with two-stage CODER, without PyTorch."""

from coder_engine.engine import Engine
from coder_engine.errors import (
    BackendError,
    CoderError,
    DataError,
    EngineError,
    ImageError,
    ModelError,
    TextsError,
    WeightsError,
)
from coder_engine.explain import Explanation
from coder_engine.prediction import Candidate, Fault, Prediction

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Candidate",
    "CoderError",
    "DataError",
    "Engine",
    "EngineError",
    "Explanation",
    "Fault",
    "ImageError",
    "ModelError",
    "Prediction",
    "TextsError",
    "WeightsError",
]
