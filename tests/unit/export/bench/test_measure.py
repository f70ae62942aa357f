"""Times taken in turn."""

from __future__ import annotations

from coder_export.bench.measure import Times, interleaved


def test_percentiles_are_in_ms() -> None:
    times = Times.of([0.001] * 90 + [0.1] * 10)
    assert (round(times.p50, 6), times.runs) == (1.0, 100)
    assert times.p99 > 50


def test_calls_take_turns_after_a_warm_up_round() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0, least=3)
    assert order == ["a", "b"] * 4
    assert [found["a"].runs, found["b"].runs] == [3, 3]


def test_a_bound_on_rounds() -> None:
    assert interleaved({"a": lambda: None}, seconds=60, least=1, most=7)["a"].runs == 7
