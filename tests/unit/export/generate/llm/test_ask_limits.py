"""What bounds a run of questions: its budget, and how many calls are under way at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm.ask import Asker, BudgetSpent
from coder_export.generate.llm.prices import Estimate
from coder_export.generate.llm.questions import Question
from helpers_ask import ANIMALS, asking, attribute, rows, run
from llm_server import reply_to, serving

pytestmark = pytest.mark.usefixtures("impatient")


def of_calls(tokens: tuple[int, int]) -> float:
    return tokens[0] / 100  # our server counts a hundred for each


def test_a_spent_budget_ends_the_run_even_of_questions_without_end(path: Path) -> None:
    questions = (question for n in itertools.count() for question in attribute(f"class {n}"))
    with serving() as server:
        with pytest.raises(BudgetSpent):
            run(server, path, asking(questions), price=of_calls, budget=5.0, concurrency=1)
        assert len(rows(path)) == len(server.served) == 5


def test_refused_replies_cost_too(path: Path) -> None:
    with serving(answer=lambda prompt: "no") as server, pytest.raises(BudgetSpent):
        run(server, path, asking(attribute("cat")), price=of_calls, budget=2.0, attempts=9)
    assert len(rows(path)) == 2


@pytest.mark.parametrize("budget", [1, 3, 8])
def test_calls_beside_each_other_do_not_overdraw_it(path: Path, budget: int) -> None:
    with serving(latency=0.05) as server:
        with pytest.raises(BudgetSpent):
            run(server, path, asking(attribute(*ANIMALS)), price=of_calls, budget=float(budget), concurrency=8)
        assert len(rows(path)) == len(server.served) == budget


def test_a_budget_that_is_ample_holds_nobody_up(path: Path) -> None:
    def answer(prompt: str) -> str:
        together.wait(60)  # where one of them was held up, all fail
        return reply_to(prompt)

    together = threading.Barrier(len(ANIMALS))
    with serving(answer=answer) as server:
        run(server, path, asking(attribute(*ANIMALS)), price=of_calls, budget=1e5, concurrency=12, tries=1)
        assert len(server.served) == 12


def test_a_server_that_counts_no_tokens_costs_what_was_estimated(path: Path) -> None:
    with serving(usage=False) as server:
        with pytest.raises(BudgetSpent):
            run(server, path, asking(attribute(*ANIMALS)), price=of_calls, budget=5.0, concurrency=1)
        assert 1 <= len(server.served) <= 3  # some 300 tokens a prompt
    assert rows(path)[0]["tokens"] == [0, 0]


@pytest.mark.parametrize("fault", ["timeout", "cut"])
def test_a_call_that_is_lost_costs_what_was_estimated(fault: str, path: Path) -> None:
    async def work(asker: Asker) -> None:
        askers.append(asker)
        await asker.ask(attribute("cat"))

    askers: list[Asker] = []
    with serving(faults={fault: 1.0}, hang=0.4) as server:
        with pytest.raises(BudgetSpent):  # some 300 tokens a prompt
            run(server, path, work, price=of_calls, budget=7.0, tries=8, timeout=0.2)
        assert server.visits.total() == 2
    assert askers[0].tally.lost == 2
    assert askers[0].tally.tokens == tuple(2 * count for count in Estimate().add([attribute("cat")]).tokens)


def test_a_call_that_was_never_sent_costs_nothing(path: Path) -> None:
    async def work(asker: Asker) -> None:
        askers.append(asker)
        await asker.ask(attribute("cat"))

    askers: list[Asker] = []
    with serving() as server:
        pass
    with pytest.raises(TextsError, match="no server answers there"):
        run(server, path, work, price=of_calls, budget=5.0)
    assert askers[0].tally.lost == 0


def test_a_refusal_costs_nothing(path: Path) -> None:
    with serving(faults={"429": 0.5, "500": 0.2}, seed=1) as server:
        asker = run(server, path, asking(attribute(*ANIMALS)), price=of_calls, budget=12.0, concurrency=1, tries=50)
        assert server.met["429"] > 2 < server.met["500"]
    assert asker.tally.calls == 12
    assert asker.tally.lost == 0


def test_a_limit_of_calls_a_time_gives_no_call_up(path: Path) -> None:
    def fault(prompt: str) -> str | None:
        with lock:
            began, count = window
            window[:] = (began, count + 1) if time.monotonic() - began < 0.3 else (time.monotonic(), 1)
            return "429" if window[1] > 3 else None

    lock, window = threading.Lock(), [0.0, 0]
    with serving() as server:
        server.fault = fault  # type: ignore[method-assign]
        asker = run(server, path, asking(attribute(*(f"class {n}" for n in range(30)))), tries=3)
    assert asker.tally.failures == []
    assert asker.tally.calls == 30


def test_a_budget_that_is_enough(path: Path) -> None:
    with serving() as server:
        asker = run(server, path, asking(attribute("cat", "elk")), price=of_calls, budget=2.5, concurrency=1)
    assert asker.tally.calls == 2


def test_no_more_calls_at_once_than_asked_for(path: Path) -> None:
    lock = threading.Lock()
    now = most = 0

    def answer(prompt: str) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return reply_to(prompt)

    with serving(answer=answer) as server:
        run(server, path, asking(attribute(*ANIMALS)), concurrency=3)
    assert most == 3


def test_questions_are_taken_as_they_are_asked(path: Path) -> None:
    def questions() -> Iterable[Question]:
        for n, label in enumerate(ANIMALS):
            ahead.append(n - len(server.served))
            yield from attribute(label)

    ahead: list[int] = []
    with serving(latency=0.02) as server:
        run(server, path, asking(questions()), concurrency=2)
    assert len(ahead) == 12
    assert max(ahead) <= 3
