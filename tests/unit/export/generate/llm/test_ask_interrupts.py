"""Ctrl-C and SIGTERM while questions are asked: calls that are paid for are stored, a second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coder_engine.cli.command import INTERRUPTED, guarded
from helpers_ask import ANIMALS, asking, attribute, rows, run
from llm_server import LlmServer, reply_to, serving

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Signals as a terminal's program has them: what runs in the background, or under nohup, ignores some."""
    plain = {
        signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL
    }  # fmt: skip
    before = {number: signal.signal(number, handler) for number, handler in plain.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def code(server: LlmServer, path: Path) -> int:
    """The exit code of a command that asks, four calls at once."""

    def command() -> int:
        run(server, path, asking(attribute(*ANIMALS)), concurrency=4, timeout=30.0)
        return 0

    return guarded("coder-texts", command)


def signalling(*signals: tuple[signal.Signals, float], latency: float) -> Callable[[str], str]:
    """Answers; when four calls are under way the first one sends ``signals``, each after its seconds."""

    def answer(prompt: str) -> str:
        if together.wait(30) == 0:
            for number, seconds in signals:
                time.sleep(seconds)
                os.kill(os.getpid(), number)
        time.sleep(latency)
        return reply_to(prompt)

    together = threading.Barrier(4)
    return answer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_calls_under_way_are_waited_for_and_stored(
    number: signal.Signals, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with serving(answer=signalling((number, 0.0), latency=0.3)) as server:
        assert code(server, path) == INTERRUPTED
        assert server.visits.total() == len(rows(path)) == 4
    assert capsys.readouterr().err.splitlines() == [
        "coder-texts: interrupted; waiting for 4 calls under way, paid for: a second Ctrl-C ends at once",
        "coder-texts: interrupted",
    ]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_at_once(number: signal.Signals, path: Path) -> None:
    start = time.monotonic()
    with serving(answer=signalling((number, 0.0), (number, 0.2), latency=4.0)) as server:
        assert code(server, path) == INTERRUPTED
        assert time.monotonic() - start < 3.0
    assert rows(path) == []


def test_nobody_waits_where_no_call_is_under_way(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(prompt: str) -> str:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        return "500"

    start = time.monotonic()
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("coder_export.generate.llm.waits.FIRST_WAIT", 60.0)
        patch.setattr(server, "fault", refused)

        def command() -> int:
            run(server, path, asking(attribute("cat")))
            return 0

        assert guarded("coder-texts", command) == INTERRUPTED
    assert time.monotonic() - start < 20.0
    assert capsys.readouterr().err == "coder-texts: interrupted\n"


def test_a_refused_answer_is_not_asked_again(path: Path) -> None:
    answer = signalling((signal.SIGINT, 0.0), latency=0.3)
    with serving(answer=lambda prompt: answer(prompt) and "no") as server:
        assert code(server, path) == INTERRUPTED
        assert server.visits.total() == len(rows(path)) == 4


def test_signals_that_are_ignored_stay_ignored(path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serving(answer=signalling((signal.SIGHUP, 0.0), latency=0.1)) as server:
            assert code(server, path) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_elsewhere_than_in_the_main_thread_questions_are_asked_too(path: Path) -> None:
    with serving() as server:
        asking_thread = threading.Thread(target=run, args=(server, path, asking(attribute(*ANIMALS))))
        asking_thread.start()
        asking_thread.join()
    assert len(rows(path)) == 12
