"""Texts of no class: plain nouns by which the few-shot adapter measures images where the classes have few texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError
from coder_export.labels import label_key, read_lines
from coder_export.shipped import shipped_generic

TEMPLATE = "a photo of {text}."
"""How a text of a user's own file is said, as the shipped bank says its own."""


@dataclass(frozen=True, kw_only=True)
class GenericTexts:
    """A bank of texts: ``sentences`` as the text tower reads them, and who wrote them."""

    name: str
    sentences: tuple[str, ...]
    source: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What the weight file says of them."""
        return {"name": self.name, "count": len(self.sentences), "source": dict(self.source)}


def open_generic(name_or_file: str) -> GenericTexts:
    """Load a shipped bank by name, or a file with one text a line.

    Raises:
        TextsError: neither such a name nor such a file, or the file is malformed.
    """
    path, banks = Path(name_or_file), shipped_generic()
    if path.is_file():  # one's own comes first, as with text sets
        return _bank(path.name, path, TEMPLATE, {"file": path.name, "template": TEMPLATE})
    if name_or_file not in banks:
        raise TextsError(
            f"--general-texts {name_or_file}: neither a file with one text a line nor a shipped bank; "
            f"shipped are {', '.join(banks)}"
        )
    folder = banks[name_or_file]
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    return _bank(name_or_file, folder / "texts.txt", source["template"], source)


def _bank(name: str, path: Path, template: str, source: Mapping[str, Any]) -> GenericTexts:
    texts = _texts(path)
    return GenericTexts(name=name, sentences=tuple(template.replace("{text}", text) for text in texts), source=source)


def _texts(path: Path) -> list[str]:
    texts, first = read_lines(path), dict[str, int]()
    if not texts:
        raise TextsError(f"{path}: no texts in it; write one text a line")
    for number, text in enumerate(texts, start=1):
        if not text:
            raise TextsError(f"{path}:{number}: blank line; remove it")
        before = first.setdefault(label_key(text), number)
        if before != number:
            raise TextsError(f"{path}:{number}: text {text!r} stands on line {before} already; remove one of them")
    return texts
