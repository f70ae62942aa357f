"""TensorRT and TensorRT-RTX, which have one Python interface under two names."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from types import ModuleType
from typing import Any

from coder_engine.machine.available import Unavailable, import_runtime
from coder_engine.machine.collector import uncollected

LIBRARIES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
"""What people call them by the module's name; the first that is installed is taken."""


def open_library(name: str | None = None) -> ModuleType:
    """The module by its name, or the first of ``LIBRARIES`` that is installed.

    Raises:
        Unavailable: it, or all of them, are not installed or do not load.
    """
    faults: list[Unavailable] = []
    for candidate in LIBRARIES if name is None else (name,):
        try:
            return import_runtime(candidate, LIBRARIES.get(candidate, candidate), candidate.replace("_", "-"))
        except Unavailable as err:
            faults.append(err)
    said = "; ".join(map(str, faults))
    raise Unavailable(faults[0].short, f"{said}. On a Jetson, JetPack brings TensorRT") from faults[0]


def title_of(library: str, version: str) -> str:
    """``TensorRT 10.13.2.6``."""
    return f"{LIBRARIES.get(library, library)} {version}"


_one_at_a_time = RLock()
_runtimes: list[Any] = []


@contextmanager
def exclusive() -> Iterator[None]:
    """For calls of the library that may log, and for freeing what it made: one thread at a time, and no collector.

    The library logs while it holds a lock that freeing a builder or a runtime takes, too. Our logger needs Python's,
    which whoever frees holds. Were one freed in another thread meanwhile, or by the collector, all would wait for ever.
    What the block's own calls made is freed before it ends, even what an error's traceback would keep.
    """
    with _one_at_a_time, uncollected():
        try:
            yield
        except BaseException as err:
            traceback.clear_frames(err.__traceback__)
            raise


def load_plan(trt: ModuleType, log: Log, content: bytes) -> Any:
    """The plan in GPU memory; None where the library does not load it."""
    with exclusive():
        runtime = trt.Runtime(log.logger)
        _runtimes.append(runtime)  # for good: it would be freed with the plan, and nobody knows when; see exclusive
        return runtime.deserialize_cuda_engine(content)


class Log:
    """A library's messages: errors are kept for ours, the rest is dropped.

    Attributes:
        logger: what the library is given; it must outlive whatever was made with it.
    """

    def __init__(self, trt: ModuleType) -> None:
        errors = self._errors = []  # type: list[str]

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    errors.append(message)

        self.logger = Logger()

    def take(self) -> str:
        """The last errors, which are then forgotten."""
        said = "; ".join(self._errors[-3:])[:500] or "it gave no reason"
        self._errors.clear()
        return said
