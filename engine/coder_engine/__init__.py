"""coder-engine, run side: CLIP classification with two-stage CODER, without PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {"Engine": "engine", "Explanation": "explain"} | dict.fromkeys(
    ("Candidate", "Fault", "Prediction"), "prediction"
)
"""Where the names are that are not in ``errors``."""

if not TYPE_CHECKING:  # type checkers would take any name for there

    def __getattr__(name: str) -> object:
        # Loaded at first use: coder-doctor and every --help run where a part of the installation is missing.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
