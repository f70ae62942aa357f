"""What the commands share: their exit codes, and how a fault ends one."""

from __future__ import annotations

import argparse
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import NoReturn

from coder_engine import __version__
from coder_engine.cli.output import open_closed, tell
from coder_engine.errors import CoderError

OK, FAILED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line, and leaves with 1: argparse's own 2 is for work that was done in part."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {message}{self._meant(message)}; see {self.prog} --help\n")

    def _meant(self, message: str) -> str:
        """The option that the first unknown one is nearest to."""
        unknown = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        near = get_close_matches(unknown, self._option_string_actions, 1)
        return f" (did you mean {near[0]}?)" if near else ""


def parser_of(name: str, description: str, *, epilog: str) -> Parser:
    """The parser of a command, with --version: its epilog stays as it is written, and no option is abbreviated.

    Every command begins with it, so standard streams that were closed before are seen to here.
    """
    open_closed()
    parser = Parser(
        prog=name,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"{name} {__version__}", help="print the version and leave"
    )
    return parser


def say(name: str, text: str) -> None:
    """A line for people: standard output is for data."""
    tell(f"{name}: {text}")


def guarded(name: str, run: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """The exit code of ``run``; our own errors, a part that is not installed and Ctrl-C become one line and theirs.

    SIGTERM, and a terminal that goes, are as Ctrl-C, so that scratch files go.

    ``run`` imports what it needs itself, so that what is missing is found in here.

    Args:
        name: the command.
        interrupted: what to say on Ctrl-C.
    """
    try:
        with _terminated_as_interrupted(), warnings.catch_warnings():
            # Pillow's remarks about damaged metadata, which decide nothing here
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return run()
    except CoderError as err:
        say(name, str(err))
        return FAILED
    except ImportError as err:
        say(name, f"{' '.join(str(err).split())}; coder-doctor says what this machine lacks and how to install it")
        return FAILED
    except KeyboardInterrupt:
        say(name, interrupted)
        return INTERRUPTED


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does.

    Under ``nohup``, which ignores the second, it stays ignored. Only a main thread may choose.
    """
    asked = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    here = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in asked if here and signal.getsignal(one) is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def whole(text: str) -> int:
    """An option's whole number, at least 1."""
    return int(_checked(int, "a whole number, at least 1", lambda value: value >= 1, text))


def seed(text: str) -> int:
    """An option's seed, from 0 to what NumPy and scikit-learn take."""
    most = 2**32 - 1
    return int(_checked(int, f"a whole number from 0 to {most}", lambda value: 0 <= value <= most, text))


def fraction(text: str) -> float:
    """An option's number from 0 to 1."""
    return _checked(float, "a number from 0 to 1", lambda value: 0 <= value <= 1, text)


def _checked(kind: Callable[[str], float], wanted: str, fits: Callable[[float], bool], text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value
