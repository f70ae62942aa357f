"""Other people's files, read without running anything in them and checked for their shape."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError

_PICKLES = (".pkl", ".pickle", ".pt", ".pth")
_MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def read_texts(path: Path) -> dict[str, Any] | list[Any]:
    """The parsed JSON of ``path``, or the list of its lines where it is a plain text file of one word a line.

    Raises:
        TextsError: the file cannot be read, is a pickle, is not UTF-8, or starts as JSON and is none.
    """
    content = _bytes(path)
    if content.startswith(_MAGIC) or path.suffix.lower() in _PICKLES:
        raise TextsError(
            f"{path}: a pickle, got where JSON or plain text is wanted; reading a pickle runs code from it. "
            "Load it where you trust it, and write json.dump(..) of what it holds"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise TextsError(f"{path}: not UTF-8 at byte {err.start}; save it as UTF-8") from err
    if text.lstrip()[:1] in ("{", "["):
        return _parse(text, path)
    return _words(text, path)


def strings(value: object, where: str) -> list[str]:
    """``value``, if it is a list of strings.

    Raises:
        TextsError: it is something else.
    """
    if not isinstance(value, list):
        raise TextsError(f"{where}: expected a list of texts, got {shape(value)}; write its texts as a list of strings")
    for number, text in enumerate(value):
        if not isinstance(text, str):
            raise TextsError(f"{where}[{number}]: expected a text, got {shape(text)}; make it a string or remove it")
        _check_whole(text, f"{where}[{number}]")
    return value


def shape(value: object) -> str:
    """What ``value`` is, for a message."""
    if isinstance(value, dict):
        return f"an object of {len(value):,} keys"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return json.dumps(value, ensure_ascii=False)[:80]


def _check_whole(text: str, where: str) -> None:
    """JSON can spell half a surrogate pair, which no file can be saved with."""
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise TextsError(f"{where}: half a character in {text[:60]!a}; write it whole or remove it")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as err:
        raise TextsError(f"{path}: no such file; give a file of texts to import") from err
    except OSError as err:
        raise TextsError(f"{path}: cannot be read ({err.strerror}); check the path and its permissions") from err


def _parse(text: str, path: Path) -> dict[str, Any] | list[Any]:
    try:
        data: dict[str, Any] | list[Any] = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, path))
    except (ValueError, RecursionError) as err:  # ValueError alone: an integer of thousands of digits
        raise TextsError(f"{path}: not JSON ({err}); mend it, or export it once more") from err
    return data


def _object(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """Whole names, unique as keys: json keeps the last of equal ones, the others' texts would be lost."""
    found = dict(pairs)
    for name in (*found, *found.values()):  # a class name can be a value, too
        if isinstance(name, str):
            _check_whole(name, str(path))
    if len(found) < len(pairs):
        double = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise TextsError(f"{path}: key {double!r} is there twice in one object; rename or join the two")
    return found


def _words(text: str, path: Path) -> list[str]:
    # Not splitlines(): it also breaks where no editor counts a line, and the numbers in messages would be wrong.
    lines = [line.strip() for line in text.split("\n")]
    for number, line in enumerate(lines, start=1):
        if len(line.split()) > 1:
            raise TextsError(
                f"{path}:{number}: neither JSON nor a list of one word a line, got {line[:60]!r}; "
                "give a JSON file of texts, or a word list"
            )
    return [line for line in lines if line]
