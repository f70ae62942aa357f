"""Text in the columns of a terminal: wide letters, marks above letters, what is cut off."""

from __future__ import annotations

import pytest

from coder_engine.columns import cut, pad, width_of

ACCENTED = "e\u0301"
"""Two characters, one column."""


@pytest.mark.parametrize(("text", "columns"), [("", 0), ("cat", 3), ("猫", 2), (ACCENTED, 1), (f"猫{ACCENTED}a", 4)])
def test_columns(text: str, columns: int) -> None:
    assert width_of(text) == columns
    assert width_of(pad(text, 6)) == 6
    assert pad(text, 6).rstrip() == text


@pytest.mark.parametrize(
    ("text", "columns", "start", "end"),
    [
        ("", 5, "", ""),
        ("abcde", 5, "abcde", "abcde"),
        ("abcdef", 5, "ab...", "...ef"),
        ("猫猫猫", 6, "猫猫猫", "猫猫猫"),
        ("猫猫猫", 5, "猫...", "...猫"),
        ("a猫猫猫", 6, "a猫...", "...猫"),  # half a letter cannot be shown
        ("abcd", 1, "...", "..."),
    ],
)
def test_what_does_not_fit_is_cut(text: str, columns: int, start: str, end: str) -> None:
    assert cut(text, columns) == start
    assert cut(text, columns, keep_end=True) == end


def test_a_mark_stays_with_its_letter() -> None:
    assert cut(ACCENTED * 6, 5) == f"{ACCENTED * 2}..."
