"""Times taken in turn."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from coder_export.measure import TURN, Times, interleaved


def test_percentiles_are_in_ms() -> None:
    times = Times.of([0.001] * 90 + [0.1] * 10)
    assert (round(times.p50, 6), times.runs) == (1.0, 100)
    assert times.p99 > 50


def test_calls_take_turns_that_begin_uncounted() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0, settle=0, least=2)
    assert order == ["a", "b", *(["a"] * (1 + TURN) + ["b"] * (1 + TURN)) * 2]
    assert [found["a"].runs, found["b"].runs] == [2 * TURN, 2 * TURN]


def test_a_turn_settles_for_a_while() -> None:
    ran = []
    interleaved({"a": lambda: ran.append(time.sleep(0.001))}, seconds=0, settle=0.05, least=1)
    assert len(ran) > 1 + TURN + 5


def test_what_the_call_before_left_behind_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    clock = [0.0]

    def clean() -> None:
        clock[0] += 0.05 if left else 0.001
        left.clear()

    monkeypatch.setattr("coder_export.measure.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    times = interleaved(
        {"clean": clean, "foul": lambda: left.append("threads that spin")}, seconds=0, settle=0, least=5
    )
    assert times["clean"].p99 == pytest.approx(1)


def test_a_bound_on_rounds() -> None:
    assert interleaved({"a": lambda: None}, seconds=60, least=1, most=7)["a"].runs == 7 * TURN
