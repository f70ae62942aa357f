"""How far a build has come, as one number, from the phases that the builder tells of."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any

OnProgress = Callable[[float, str], object]
"""Called with how much is done, 0 to 1, never less than before, and the name of the builder's phase."""


class Phases:
    """Phases within phases: a step of one is done when the phases within it are."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str | None, int, int]] = {}
        self._most = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self._open[phase] = (parent, 0, steps)

    def step(self, phase: str, step: int) -> float:
        """Step number ``step`` of a phase is done; gives how much of the whole is."""
        if phase in self._open:
            parent, _, steps = self._open[phase]
            self._open[phase] = (parent, step + 1, steps)
        return self._done(phase)

    def finish(self, phase: str) -> None:
        self._open.pop(phase, None)

    def _done(self, phase: str) -> float:
        within, name = 0.0, phase  # type: float, str | None
        while name in self._open:
            name, done, steps = self._open[name]
            within = min((done + within) / max(steps, 1), 1.0)
        self._most = max(self._most, within)
        return self._most


def monitor(trt: ModuleType, progress: OnProgress) -> Any:
    """An IProgressMonitor for a builder, which calls it from several threads.

    An exception, Ctrl-C for one, cannot pass through the builder: it ends the build, and ``reraise`` raises it.
    """
    phases, lock = Phases(), Lock()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._guarded(lambda: phases.start(phase, parent, steps))

        def step_complete(self, phase: str, step: int) -> bool:
            self._guarded(lambda: progress(phases.step(phase, step), phase))
            return self.stopped is None

        def phase_finish(self, phase: str) -> None:
            self._guarded(lambda: phases.finish(phase))

        def reraise(self) -> None:
            # Not kept: its traceback holds the caller, who holds this, and so the builder would be garbage of a cycle.
            stopped, self.stopped = self.stopped, None
            try:
                if stopped is not None:
                    raise stopped
            finally:
                del stopped

        def _guarded(self, work: Callable[[], object]) -> None:
            try:
                with lock:
                    work()
            except BaseException as err:
                self.stopped = err

    return Monitor()
