"""Where a command's text goes: standard output, or a file that appears whole."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO

from coder_engine.errors import CoderError
from coder_engine.files import replacing


class OutputClosed(Exception):
    """Whoever read the output has enough (``coder-infer ... | head``)."""


class Output:
    """Standard output, line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def write(self, text: str) -> None:
        """Write and flush, so that a pipe sees each row as it comes.

        Raises:
            OutputClosed: nobody reads any more.
            CoderError: it cannot be written.
        """
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as err:
            silence(self._stream)
            if isinstance(err, BrokenPipeError):
                raise OutputClosed from err
            why = f"cannot write to standard output ({err.strerror or err})"
            raise CoderError(f"{why}; make room, or redirect it") from err


class FileOutput(Output):
    """A file that appears whole or not at all: written beside its place and renamed, or removed on errors.

    What is no regular file (``/dev/stdout``, a pipe) cannot be renamed over and is written directly.

    Raises:
        CoderError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._name = path
        place = Path(os.path.realpath(path))  # a link keeps pointing at the file
        direct = place.exists() and not place.is_file() and not place.is_dir()
        with ExitStack() as stack:
            try:
                if place.is_dir():
                    raise IsADirectoryError(21, "it is a folder")
                target = place if direct else stack.enter_context(replacing(place))
                stream = target.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            except OSError as err:
                raise self._error(err) from err
            super().__init__(stack.enter_context(stream))
            self._open = stack.pop_all()  # closes the file, then renames it

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.__exit__(kind, err, trace)
        except OSError as failed:
            raise self._error(failed) from failed

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError as err:
            raise self._error(err) from err

    def _error(self, err: OSError) -> CoderError:
        folder = Path(self._name).parent
        if not folder.exists():
            return CoderError(f"cannot write {self._name}: no folder {folder}; make it, or choose another place")
        return CoderError(f"cannot write {self._name} ({err.strerror}); make room, or choose another place")


def tell(line: str) -> None:
    """A line on standard error. Where nobody reads that any more, the work goes on without."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def open_closed() -> None:
    """Stand in for a standard stream that was closed before the start, which Python has as None.

    Lines for people go nowhere, rather than among the data; data cannot be written, and none comes in. Each takes the
    lowest number that is free, so they are seen to in order.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process


def silence(stream: TextIO) -> None:
    """Send what a broken stream still holds nowhere, or Python complains about it when it exits."""
    try:
        target = stream.fileno()
    except (OSError, ValueError):  # no file behind it
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, target)
    os.close(nowhere)


def encodable(stream: TextIO) -> None:
    """Let file names and labels that a terminal cannot show pass: raw bytes in UTF-8, escapes elsewhere."""
    if isinstance(stream, io.TextIOWrapper):
        utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def open_output(path: str | None) -> Output:
    """Standard output, or the file ``path``."""
    if path is not None:
        return FileOutput(path)
    encodable(sys.stdout)
    return Output(sys.stdout)
