"""What the commands share: their exit codes, and how a fault ends one."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from coder_engine.errors import CoderError

OK, FAILED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """argparse leaves with 2 on wrong usage, which our commands keep for work that was done in part."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def say(name: str, text: str) -> None:
    """A line for people: standard output is for data."""
    print(f"{name}: {text}", file=sys.stderr, flush=True)


def guarded(name: str, run: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """The exit code of ``run``; our own errors and Ctrl-C become one line and theirs.

    Args:
        name: the command.
        interrupted: what to say on Ctrl-C.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's remarks about damaged metadata, which decide nothing here
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return run()
    except CoderError as err:
        say(name, str(err))
        return FAILED
    except KeyboardInterrupt:
        say(name, interrupted)
        return INTERRUPTED
