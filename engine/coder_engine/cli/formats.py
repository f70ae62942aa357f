"""Predictions -> text for people (table) and programs (jsonl, csv)."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from coder_engine.columns import cut, pad, width_of
from coder_engine.errors import ImageError

if TYPE_CHECKING:
    from coder_engine.explain import Explanation
    from coder_engine.prediction import Candidate, Prediction

FORMATS = ("table", "jsonl", "csv")


class Format(ABC):
    """Text for predictions. Every piece ends in a newline, or is empty."""

    def header(self) -> str:
        """What comes before the first row."""
        return ""

    @abstractmethod
    def row(self, found: Prediction, explanation: Explanation | ImageError | None = None) -> str:
        """One prediction, with why where that was asked for; an ImageError where the image has gone since."""

    def footer(self) -> str:
        """What comes after the last row."""
        return ""


class JsonLines(Format):
    """One object a line. ASCII only, so that any terminal, locale and file name passes."""

    def row(self, found: Prediction, explanation: Explanation | ImageError | None = None) -> str:
        data = found.to_json()
        if isinstance(explanation, ImageError):
            data["explanation"] = {"error": {"kind": explanation.kind, "message": str(explanation)}}
        elif explanation is not None:
            data["explanation"] = explanation.to_json()
        return json.dumps(data, allow_nan=False) + "\n"


class Csv(Format):
    """A header, then fixed columns and ``top`` times label, score, gap. An explanation has no place in it."""

    def __init__(self, top: int) -> None:
        self._top = top

    def header(self) -> str:
        fixed = ["path", "label", "score", "reranked", "unknown", "error_kind", "error_message"]
        tops = [f"{name}{n + 1}" for n in range(self._top) for name in ("label", "score", "gap")]
        return _csv_line(fixed + tops)

    def row(self, found: Prediction, explanation: Explanation | ImageError | None = None) -> str:
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
        width: columns of the terminal; None cuts nothing off, and the first column grows with the paths.
    """

    def __init__(self, labels: Iterable[str], width: int | None) -> None:
        longest = max((width_of(_plain(label)) for label in labels), default=0)
        self._terminal = width
        self._path = 32 if width is None else min(60, max(16, width * 3 // 10))
        self._label = 2 + max(5, longest if width is None else min(longest, max(12, width // 4)))
        self._marks: set[str] = set()

    def header(self) -> str:
        return self._line("path", "label", "score", "next")

    def row(self, found: Prediction, explanation: Explanation | ImageError | None = None) -> str:
        return self._answer(found) + ("" if explanation is None else self._why(explanation))

    def _answer(self, found: Prediction) -> str:
        path = _plain(found.path or "-")
        if self._terminal is not None:
            path = cut(path, self._path, keep_end=True)
        self._path = max(self._path, width_of(path))
        if found.error is not None:
            message = _plain(found.error.message.removeprefix(f"{found.path}: "))
            return f"{pad(path, self._path)}  error: {found.error.kind}: {message}\n"
        marks = ("*" if found.reordered else "") + ("?" if found.unknown else "")
        self._marks.update(marks)
        label = _plain(found.label or "")
        if self._terminal is not None:
            label = cut(label, self._label - 2)
        score = "" if found.score is None else f"{found.score:.3f}"
        return self._line(path, label + marks, score, self._next(found.top[1:]))

    def _next(self, others: Sequence[Candidate]) -> str:
        """The other candidates, as many as the terminal shows whole."""
        words = [f"{_plain(one.label)} {one.score:.3f}" for one in others]
        if self._terminal is None:
            return ", ".join(words)
        room = self._terminal - self._path - self._label - len("    0.000  ")
        shown = 0
        for word in words:
            room -= width_of(word) + len(", ")
            if room < (-len(", ") if shown + 1 == len(words) else len("...")):
                break
            shown += 1
        return ", ".join(words[:shown] + ["..."] * (shown < len(words)))

    def _why(self, explanation: Explanation | ImageError) -> str:
        missing = isinstance(explanation, ImageError)
        text = f"no explanation: {explanation}" if missing else str(explanation)
        lines = [f"    {_plain(line)}" for line in text.splitlines()]
        return "".join((line if self._terminal is None else cut(line, self._terminal)) + "\n" for line in lines)

    def footer(self) -> str:
        words = {"*": "the rerank changed the first place", "?": "unknown: the score is under the threshold"}
        return "".join(f"{mark} {meaning}\n" for mark, meaning in words.items() if mark in self._marks)

    def _line(self, path: str, label: str, score: str, rest: str) -> str:
        line = f"{pad(path, self._path)}  {pad(label, self._label)}  {score:5}  {rest}".rstrip()
        return (line if self._terminal is None else cut(line, self._terminal)) + "\n"


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(text: str) -> str:
    """No control characters: a file name must not drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
