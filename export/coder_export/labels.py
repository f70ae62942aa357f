"""Stage 1 of the pipeline: a label file to an ordered, unique tuple of class names."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError

MAX_LABELS = 50_000
"""More lines than this is nearly always a caption file or a log given by mistake (ImageNet-21k has 21,841)."""

_MAX_MB = 32
_OUTER = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u2060"
"""All spaces, and what has no width: nobody sees it, and a name with it is another one."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""All control characters but those that are spaces."""
_STRAIGHT = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')


def load_labels(path: str | Path) -> tuple[str, ...]:
    """Read one class name a line; the line number, from 0, is the class id.

    Args:
        path: a UTF-8 text file. Byte-order marks and a trailing newline are fine.

    Returns:
        The C class names in file order, outer spaces removed, those without width, too.

    Raises:
        TextsError: the file is missing, not plain UTF-8 text, empty, has a blank or duplicate line, or is too long.
    """
    return check_labels(read_lines(Path(path)), where=str(path))


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, outer spaces and blank lines at the end removed.

    Raises:
        TextsError: the file is missing, not plain UTF-8 text, or too large.
    """
    # Not splitlines(): it also breaks at form feeds and U+2028, where no editor and no `wc -l` counts a line.
    lines = [line.strip(_OUTER) for line in _read_utf8(path).split("\n")]
    for number, line in enumerate(lines, start=1):
        if found := _CONTROL.search(line):
            raise TextsError(
                f"{path}:{number}: not plain UTF-8 text, got the control character {found[0]!r}; save it as UTF-8"
            )
    while lines and not lines[-1]:
        lines.pop()
    return lines


def check_labels(names: list[str], *, where: str) -> tuple[str, ...]:
    """Check that ``names`` can serve as labels, and freeze them; ``where`` names their origin in errors."""
    if not names:
        raise TextsError(f"{where}: no labels in it; write one class name a line")
    if len(names) > MAX_LABELS:
        raise TextsError(
            f"{where}: {len(names):,} lines, at most {MAX_LABELS:,} labels are supported; is it a label file?"
        )
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise TextsError(f"{where}:{number}: blank line; the line number is the class id, so remove it")
        key = label_key(name)
        if key in first:
            raise TextsError(
                f"{where}:{number}: label {name!r} stands on line {first[key]} already (case, spaces, curly quotes, "
                "HTML's entities and Unicode's compositions do not count); give each class its own name"
            )
        first[key] = number
    return tuple(names)


def doubt(labels: tuple[str, ...]) -> str | None:
    """Why ``labels`` may come from a file of another kind, which is read all the same; None where they look well."""
    marked = next((number for number, name in enumerate(labels, start=1) if name.startswith("#")), None)
    if any(all(_numbered(name, i + start) for i, name in enumerate(labels)) for start in (0, 1)):
        why = "every line begins with its number"
    elif labels[0][0] in '[{"':
        why = "it looks like JSON"
    elif all("," in name for name in labels):
        why = "every line is a list"
    elif marked:
        why = f"line {marked} begins with #"
    elif len(labels) == 1:
        why = "there is one class only"
    else:
        return None
    wanted = "a label file has one class name a line, and the line number, from 0, is the class id"
    return f"{why}; {wanted}: is {labels[marked - 1 if marked else 0]!r} a class?"


def _numbered(name: str, number: int) -> bool:
    return re.match(rf"{number}[\s.,:;)]+\S", name) is not None


def label_key(name: str) -> str:
    """Equal for names that CLIP's tokenizer reads as one text: their classes would have one feature and always tie."""
    # Twice, as the tokenizer does, for what was escaped twice.
    plain = html.unescape(html.unescape(name)).translate(_STRAIGHT)
    return " ".join(unicodedata.normalize("NFKC", plain).casefold().split())


def spoken_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels as sentences say them: "ceiling_fan" as "ceiling fan", if no other one of them is called so."""
    if not any("_" in label for label in labels):
        return tuple(labels)
    plain = [" ".join(label.replace("_", " ").split()) if "_" in label else label for label in labels]
    count = Counter(map(label_key, plain))
    return tuple(
        name if name and count[label_key(name)] == 1 else label for name, label in zip(plain, labels, strict=True)
    )


def same_tokens(labels: tuple[str, ...], tokenizer: Callable[[list[str]], Any]) -> list[str]:
    """Labels that a model's tokenizer reads as one text, though they are written otherwise: a line for each text."""
    found: dict[bytes, list[str]] = {}
    for name, row in zip(labels, tokenizer(list(labels)), strict=True):
        found.setdefault(row.numpy().tobytes(), []).append(name)
    return [", ".join(map(repr, names)) for names in found.values() if len(names) > 1]


def _read_utf8(path: Path) -> str:
    most = _MAX_MB * 1_000_000
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise TextsError(f"{path}: more than {_MAX_MB} MB, too much for names, one a line; is it a label file?")
        # As files opened as text are read: a line may end in CR and LF, or in CR alone. Files that were joined have a
        # byte-order mark in their midst.
        return content.decode("utf-8").replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as err:
        raise TextsError(f"{path}: no such file; give a text file with one class name a line") from err
    except UnicodeDecodeError as err:
        raise TextsError(f"{path}: not UTF-8 at byte {err.start}; save it as UTF-8") from err
    except OSError as err:
        raise TextsError(f"{path}: cannot be read ({err.strerror}); check the path and its permissions") from err
