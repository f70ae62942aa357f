from __future__ import annotations

import pytest

from coder_engine.plans.progress import Phases


def test_phases_within_phases() -> None:
    phases = Phases()
    phases.start("build", None, 4)
    phases.start("time", "build", 2)
    phases.start("kernels", "time", 5)
    assert phases.step("kernels", 0) == pytest.approx(1 / 5 / 2 / 4)
    assert phases.step("kernels", 4) == pytest.approx(1 / 2 / 4)
    phases.finish("kernels")
    assert phases.step("time", 0) == pytest.approx(1 / 8)
    assert phases.step("time", 1) == pytest.approx(1 / 4)
    phases.finish("time")
    assert phases.step("build", 3) == 1


def test_it_never_goes_back() -> None:
    phases = Phases()
    phases.start("build", None, 2)
    assert phases.step("build", 0) == 0.5
    phases.start("late", "build", 10)
    phases.start("none", None, 0)
    assert phases.step("none", 5) == 1  # more steps than were told of
    assert phases.step("late", 0) == 1


def test_phases_nobody_told_of() -> None:
    assert Phases().step("unknown", 3) == 0
