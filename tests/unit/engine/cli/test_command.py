"""How a command ends that something from outside ends."""

from __future__ import annotations

import signal
import threading

import pytest

from coder_engine.cli import command
from coder_engine.cli.command import INTERRUPTED, OK, guarded


def _send(one: signal.Signals) -> int:
    signal.raise_signal(one)
    return OK


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_ends_a_process_is_an_interrupt_meanwhile(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = getattr(signal, name)
    before = signal.signal(one, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert guarded("coder-x", lambda: _send(one), interrupted="nothing was written") == INTERRUPTED
        assert signal.getsignal(one) is signal.SIG_DFL
        signal.signal(one, signal.SIG_IGN)  # as under nohup
        assert guarded("coder-x", lambda: _send(one)) == OK
    finally:
        signal.signal(one, before)
    assert capsys.readouterr().err == "coder-x: nothing was written\n"


def test_other_threads_choose_no_signals() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(guarded("coder-x", lambda: command.SOME_FAILED)))
    thread.start()
    thread.join()
    assert found == [command.SOME_FAILED]
