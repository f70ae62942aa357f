"""Predictions -> text for people (table) and programs (jsonl, csv), and the places it goes to."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from coder_engine.errors import CoderError
from coder_engine.prediction import Prediction

FORMATS = ("table", "jsonl", "csv")


class OutputClosed(Exception):
    """Whoever read the output has enough (``coder-infer ... | head``)."""


class Format(ABC):
    """Text for predictions. Every piece ends in a newline, or is empty."""

    def header(self) -> str:
        """What comes before the first row."""
        return ""

    @abstractmethod
    def row(self, found: Prediction) -> str:
        """One prediction."""

    def footer(self) -> str:
        """What comes after the last row."""
        return ""


class JsonLines(Format):
    """One object a line. ASCII only, so that any terminal, locale and file name passes."""

    def row(self, found: Prediction) -> str:
        return json.dumps(found.to_json(), allow_nan=False) + "\n"


class Csv(Format):
    """A header, then fixed columns and ``top`` times label, score, gap."""

    def __init__(self, top: int) -> None:
        self._top = top

    def header(self) -> str:
        fixed = ["path", "label", "score", "reranked", "unknown", "error_kind", "error_message"]
        tops = [f"{name}{n + 1}" for n in range(self._top) for name in ("label", "score", "gap")]
        return _csv_line(fixed + tops)

    def row(self, found: Prediction) -> str:
        fault = found.error
        fixed = [
            found.path,
            found.label,
            found.score,
            None if fault else str(found.reranked).lower(),
            None if fault else str(found.unknown).lower(),
            fault and fault.kind,
            fault and fault.message,
        ]
        tops = [value for one in found.top[: self._top] for value in (one.label, one.score, one.gap)]
        return _csv_line(fixed + tops + [None] * (3 * self._top - len(tops)))


class Table(Format):
    """Aligned columns: path, label, score, and the classes that came next.

    Args:
        labels: all class names, for the width of their column.
        width: columns of the terminal; None cuts nothing off.
    """

    def __init__(self, labels: Iterable[str], width: int | None) -> None:
        longest = max((_width(_plain(label)) for label in labels), default=0)
        self._terminal = width
        self._path = 32 if width is None else min(60, max(16, width * 2 // 5))
        self._label = 2 + max(5, longest if width is None else min(longest, max(12, width // 4)))
        self._marks: set[str] = set()

    def header(self) -> str:
        return self._line("path", "label", "score", "next")

    def row(self, found: Prediction) -> str:
        path = _plain(found.path or "-")
        if self._terminal is not None:
            path = _cut(path, self._path, keep_end=True)
        if found.error is not None:
            message = _plain(found.error.message.removeprefix(f"{found.path}: "))
            return f"{_pad(path, self._path)}  error: {found.error.kind}: {message}\n"
        marks = ("*" if found.reordered else "") + ("?" if found.unknown else "")
        self._marks.update(marks)
        label = _plain(found.label or "")
        if self._terminal is not None:
            label = _cut(label, self._label - 2)
        score = "" if found.score is None else f"{found.score:.3f}"
        rest = ", ".join(f"{_plain(one.label)} {one.score:.3f}" for one in found.top[1:])
        return self._line(path, label + marks, score, rest)

    def footer(self) -> str:
        words = {"*": "the rerank changed the first place", "?": "unknown: the score is under the threshold"}
        return "".join(f"{mark} {meaning}\n" for mark, meaning in words.items() if mark in self._marks)

    def _line(self, path: str, label: str, score: str, rest: str) -> str:
        line = f"{_pad(path, self._path)}  {_pad(label, self._label)}  {score:5}  {rest}".rstrip()
        return (line if self._terminal is None else _cut(line, self._terminal)) + "\n"


class Output:
    """Standard output, line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: object, trace: TracebackType | None) -> None:
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
            why = f"cannot write to standard output ({err.strerror})"
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
        self._place = None if direct else place
        self._part = place if direct else place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            if place.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            mode: Literal["w", "x"] = "w" if direct else "x"
            stream = self._part.open(mode, encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as err:
            raise self._error(err) from err
        super().__init__(stream)

    def __exit__(self, kind: type[BaseException] | None, err: object, trace: TracebackType | None) -> None:
        try:
            self._stream.close()
            if kind is None and self._place is not None:
                self._part.replace(self._place)
        except OSError as failed:
            self._discard()
            raise self._error(failed) from failed
        if kind is not None:
            self._discard()

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError as err:
            raise self._error(err) from err

    def _discard(self) -> None:
        if self._place is not None:
            self._part.unlink(missing_ok=True)

    def _error(self, err: OSError) -> CoderError:
        return CoderError(f"cannot write {self._name} ({err.strerror}); make room, or choose another place")


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


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(text: str) -> str:
    """No control characters: a file name must not drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _width(text: str) -> int:
    """Terminal columns."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    if _width(text) <= width:
        return text
    if keep_end:
        return _cut(text[::-1], width)[::-1]
    while text and _width(text) > width - 3:
        text = text[:-1]
    return text + "..."
