"""The files of a small text set, and what is said of one that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.textset_file import load_textset

LABELS = ("cat", "elk", "owl")
TEXTS = [
    {"class": "cat", "kind": "attribute", "text": "whiskers"},
    {"class": "elk", "kind": "synonym", "text": "wapiti"},
    {"class": "cat", "kind": "synonym", "text": "house cat"},
    {"class": "cat", "kind": "attribute", "text": "retractable claws"},
    {"class": "cat", "kind": "analogous", "text": "ocelot"},
]
PAIRS = [
    {"class": "cat", "other": "elk", "text": "its size"},
    {"class": "elk", "other": "cat", "text": "its antlers"},
    {"class": "cat", "other": "elk", "text": "its claws"},
    {"class": "owl", "other": "cat", "text": "its beak"},
]
Write = Callable[..., Path]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def refused(folder: Path) -> str:
    with pytest.raises(TextsError) as caught:
        load_textset(folder)
    return str(caught.value).replace(str(folder), "animals")
