"""Texts that others made, in the forms they published them in, as a text set for one's own labels."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError
from coder_export.generate.imports.authors import KEYS, read_coder
from coder_export.generate.imports.file import read_texts, shape, strings
from coder_export.generate.imports.raw import RawTexts, all_notes, for_labels
from coder_export.matching import Matches, match_names
from coder_export.templates import Templates
from coder_export.textset import TextSet

FORMS = ("vcd", "cupl", "waffle", "coder")
_WORDS_OF = {
    "vcd": "class -> descriptors",
    "cupl": "class -> whole sentences",
    "waffle": "a list of words",
    "coder": "lists in class order and one-to-one texts",
}
_SEED = 0
_RANDOM_TEXTS = 15
"""Descriptors of two random words a class, as in WaffleCLIP."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What a file of texts holds for our labels.

    Attributes:
        textset: for all the labels, in their order; classes that nothing was found for have no texts.
        matches: their class names against our labels.
        strays: names of one-to-one texts that are neither labels nor among the classes of the same file's lists.
        notes: what a user must know: the form, what was dropped and why, with counts.
    """

    textset: TextSet
    matches: Matches
    strays: tuple[str, ...]
    notes: tuple[str, ...]


def import_texts(
    path: Path,
    labels: tuple[str, ...],
    *,
    form: str | None = None,
    theirs: tuple[str, ...] | None = None,
) -> Imported:
    """Read texts that others made; nothing in the file is run.

    Args:
        path: a JSON file, or for WaffleCLIP a word list, JSON or plain.
        labels: our class names.
        form: one of ``FORMS``; None recognises it.
        theirs: for the form coder: the class names its lists stand for, in order. Other forms name their classes.

    Raises:
        TextsError: the file cannot be read, is a pickle, or has another shape than its form.
    """
    if form is not None and form not in FORMS:
        raise TextsError(f"--import-form {form}: unknown; forms are {', '.join(FORMS)}")
    data = read_texts(path)
    known = form or _recognised(data)
    readers: dict[str, Callable[[], RawTexts]] = {
        "vcd": lambda: _read_classes(data, str(path), sentences=False),
        "cupl": lambda: _read_classes(data, str(path), sentences=True),
        "waffle": lambda: _read_words(data, str(path), labels),
        "coder": lambda: read_coder(data, str(path), labels, theirs),
    }
    raw = readers[known]()
    raw.notes.insert(0, f"{'Read' if form else 'Recognised'} as the form {known}: {_WORDS_OF[known]}.")
    matches = match_names(raw.names, labels)
    textset = for_labels(raw, labels, matches.found, path.stem)
    source = {"writer": "imported", "file": path.name, "form": known}
    return Imported(
        textset=replace(textset, source=source),
        matches=matches,
        strays=tuple(name for name in matches.unknown if name in raw.strays),
        notes=all_notes(raw, textset),
    )


def _recognised(data: dict[str, Any] | list[Any]) -> str:
    if isinstance(data, list):
        return "waffle"
    # A list of strings under such a key is the descriptors of a class that happens to be called so.
    if any(key in data and not _is_texts(data[key]) for key in KEYS):
        return "coder"
    texts = [text.strip() for own in data.values() if _is_texts(own) for text in own]
    sentences = sum(text[:1].isupper() and text.endswith(".") for text in texts)
    return "cupl" if sentences > len(texts) / 2 else "vcd"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _read_classes(data: object, where: str, *, sentences: bool) -> RawTexts:
    if not isinstance(data, dict) or not data:
        raise TextsError(f"{where}: expected an object class -> list of texts, got {shape(data)}; name another form")
    raw = RawTexts(names=tuple(data))
    if sentences:
        raw.templates = Templates(attribute=("{text}",))
        raw.notes.append("The texts are whole sentences: their template is {text} alone.")
    else:
        raw.describe()
    for name, texts in data.items():
        own = strings(texts, f"{where}: class {name!r}")
        if sentences:
            raw.put(name, "attribute", own, sentences=True)
        else:
            raw.put_descriptors(name, own)
    return raw


def _read_words(data: object, where: str, labels: tuple[str, ...]) -> RawTexts:
    words = list(dict.fromkeys(filter(None, map(str.strip, strings(data, where)))))
    phrase = next((word for word in words if len(word.split()) > 1), None)
    if phrase:
        raise TextsError(f"{where}: expected a list of single words, got {phrase[:60]!r}; give a word list")
    if len(words) < 2 * _RANDOM_TEXTS:
        raise TextsError(
            f"{where}: {len(words)} different words, {2 * _RANDOM_TEXTS} at least are needed; give a longer list"
        )
    drawn = random.Random(_SEED).sample(words, 2 * _RANDOM_TEXTS)
    raw = RawTexts(names=labels)
    raw.notes.append(
        f"These texts are random, and say nothing about the classes: {_RANDOM_TEXTS} pairs of words drawn with seed "
        f"{_SEED}, the same for every class. Use them as the baseline that real texts must beat."
    )
    for label in labels:
        raw.put(label, "attribute", map(" ".join, zip(drawn[::2], drawn[1::2], strict=True)))
    return raw
