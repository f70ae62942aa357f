"""Times taken in turn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from coder_export.measure import TURN, Times, interleaved


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that ``interleaved`` reads, which stand still but for what a test adds."""
    now = [0.0]
    monkeypatch.setattr("coder_export.measure.time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_percentiles_are_in_ms() -> None:
    times = Times.of([0.001] * 90 + [0.1] * 10)
    assert (round(times.p50, 6), times.runs) == (1.0, 100)
    assert times.p99 > 50


def test_calls_take_turns_that_begin_uncounted() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0, settle=0, least=2)
    assert order == ["a", "b", *(["a"] * (1 + TURN) + ["b"] * (1 + TURN)) * 2]
    assert [found["a"].runs, found["b"].runs] == [2 * TURN, 2 * TURN]


def test_a_turn_settles_for_a_while(clock: list[float]) -> None:
    ran = []

    def call() -> None:
        clock[0] += 0.01
        ran.append(clock[0])

    interleaved({"a": call}, seconds=0, settle=0.045, least=1)
    assert len(ran) == 1 + 5 + TURN


def test_what_the_call_before_left_behind_is_not_counted(clock: list[float]) -> None:
    left: list[str] = []

    def clean() -> None:
        clock[0] += 0.05 if left else 0.001
        left.clear()

    times = interleaved(
        {"clean": clean, "foul": lambda: left.append("threads that spin")}, seconds=0, settle=0, least=5
    )
    assert times["clean"].p99 == pytest.approx(1)


def test_a_bound_on_rounds() -> None:
    assert interleaved({"a": lambda: None}, seconds=60, least=1, most=7)["a"].runs == 7 * TURN
