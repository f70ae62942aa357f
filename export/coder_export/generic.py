"""Texts of no class: plain nouns by which the few-shot adapter measures images where the classes have few texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError
from coder_export.labels import load_labels

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


def shipped_generic() -> dict[str, Path]:
    """The banks inside the package: name -> folder with ``texts.txt`` and ``source.json``."""
    root = Path(str(files("coder_export.textsets")))
    return {entry.name: entry for entry in sorted(root.iterdir()) if (entry / "texts.txt").is_file()}


def open_generic(name_or_file: str) -> GenericTexts:
    """Load a shipped bank by name, or a file with one text a line.

    Raises:
        TextsError: neither such a name nor such a file, or the file is malformed.
    """
    banks = shipped_generic()
    if name_or_file in banks:
        folder = banks[name_or_file]
        source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
        template = source["template"]
        return _bank(name_or_file, folder / "texts.txt", template, source)
    path = Path(name_or_file)
    if not path.is_file():
        raise TextsError(
            f"--general-texts {name_or_file}: neither a file with one text a line nor a shipped bank; "
            f"shipped are {', '.join(banks)}"
        )
    return _bank(path.name, path, TEMPLATE, {"file": path.name, "template": TEMPLATE})


def _bank(name: str, path: Path, template: str, source: Mapping[str, Any]) -> GenericTexts:
    texts = load_labels(path)  # the same rules: UTF-8, one a line, none twice
    return GenericTexts(name=name, sentences=tuple(template.replace("{text}", text) for text in texts), source=source)
