"""Texts on their way in: by the class names of their file, cleaned, with a count of what the cleaning took away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from coder_export.generate.imports.phrase import NOTE, TEMPLATES, phrase
from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet

_CLEANED = {
    "empty": "Empty texts dropped: {:,}.",
    "duplicate": "Texts dropped because the same list has them already: {:,}.",
    "full stop": "Texts that lost their final full stop, because the sentence goes on after them: {:,}.",
    "itself": "Texts dropped because they set a class against itself: {:,}.",
}


@dataclass(kw_only=True)
class RawTexts:
    """The texts of a file in any form, being collected.

    Attributes:
        names: their class names.
        texts: by their class name, by kind, the cleaned texts.
        pairs: ``pairs[a, b]`` are the cleaned one-to-one texts of their class a against b.
        strays: names of one-to-one texts that the lists in the same file do not have.
        notes: what a user must know about the reading.
        cleaned: how many texts were dropped or changed, by the keys of ``_CLEANED``.
    """

    names: tuple[str, ...]
    texts: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    templates: Templates = field(default_factory=Templates)
    strays: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    cleaned: Counter[str] = field(default_factory=Counter)

    def put(self, name: str, kind: str, texts: Iterable[str], *, sentences: bool = False) -> None:
        """The texts of one kind of a class; whole ``sentences`` keep their full stop."""
        self._put(name, kind, self._clean(texts, sentences=sentences))

    def put_descriptors(self, name: str, texts: Iterable[str]) -> None:
        """The attribute texts of a class, each with the words that come before it in a sentence."""
        found = self._clean(texts, sentences=False)
        self._put(name, "attribute", dict.fromkeys(phrase(text, first=i == 0) for i, text in enumerate(found)))

    def describe(self) -> None:
        """The attribute texts are descriptors: take the sentences that these go into, and tell of it."""
        self.templates = replace(self.templates, attribute=TEMPLATES.attribute)
        self.notes.append(NOTE)

    def _put(self, name: str, kind: str, found: Iterable[str]) -> None:
        if found:
            self.texts.setdefault(name, {})[kind] = tuple(found)

    def put_pair(self, name: str, other: str, texts: Iterable[str]) -> None:
        """The texts of a class against another."""
        found = self._clean(texts, sentences=False)
        if name == other:
            self.cleaned["itself"] += len(found)
        elif found:
            self.pairs[name, other] = found

    def _clean(self, texts: Iterable[str], *, sentences: bool) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for text in (" ".join(text.split()) for text in texts):
            if not sentences and text.endswith(".") and not text.endswith(".."):
                text = text[:-1].rstrip()
                self.cleaned["full stop"] += 1
            if not text or text in found:
                self.cleaned["duplicate" if text else "empty"] += 1
            else:
                found[text] = None
        return tuple(found)


def for_labels(raw: RawTexts, labels: tuple[str, ...], found: Mapping[str, str], name: str) -> TextSet:
    """The text set of ``labels``: the texts of their class name go to the label that ``found`` maps it to."""
    ids = {label: i for i, label in enumerate(labels)}
    own = {theirs: ids[label] for theirs, label in found.items()}
    texts: list[Mapping[str, tuple[str, ...]]] = [{} for _ in labels]
    for theirs, label_id in own.items():
        texts[label_id] = raw.texts.get(theirs, {})
    pairs = {(own[a], own[b]): found for (a, b), found in raw.pairs.items() if a in own and b in own}
    return TextSet(name=name, labels=labels, texts=tuple(texts), pairs=pairs, templates=raw.templates)


def all_notes(raw: RawTexts, textset: TextSet) -> tuple[str, ...]:
    """What the reader noted, what was cleaned, what came in, and what was left out."""
    notes = raw.notes + [text.format(raw.cleaned[what]) for what, text in _CLEANED.items() if raw.cleaned[what]]
    there = _count(raw.texts.values(), raw.pairs.values())
    here = _count(textset.texts, textset.pairs.values())
    notes.append(f"Texts imported: {_numbers(here) or 'none'}.")
    if there != here:
        notes.append(f"Texts left out because their class matches no label: {_numbers(there - here)}.")
    return tuple(notes)


def _count(general: Iterable[Mapping[str, tuple[str, ...]]], pairs: Iterable[tuple[str, ...]]) -> Counter[str]:
    count: Counter[str] = Counter()
    for kinds in general:
        count.update({kind: len(texts) for kind, texts in kinds.items()})
    count["one-to-one"] = sum(map(len, pairs))
    return count


def _numbers(count: Counter[str]) -> str:
    return ", ".join(f"{count[kind]:,} {kind}" for kind in (*GENERAL_KINDS, "one-to-one") if count[kind])
