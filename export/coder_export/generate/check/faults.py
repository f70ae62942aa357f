"""What can be wrong with a single text: it is there twice, names another class, or says nothing but a class name."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coder_export.textset import GENERAL_KINDS, TextSet

_ARTICLES = (("a",), ("an",), ("the",))
_LEAD = re.compile(r"^(?:which (?:has|is)|which|whose) ")
"""Words before an imported descriptor: they make no two texts alike."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: "hole", "leak", "name-only", "duplicate", "near-duplicate", "one-sided" or "long".
        label: the class it is about.
        other: the class that the text is against, or that it names.
        text: the raw text at fault; for "long" the sentence made of it.
        message: all of it in one sentence.
    """

    kind: str
    label: str
    other: str | None
    text: str | None
    message: str


class Text(NamedTuple):
    """A raw text in its place; its kind is "pair" where it is against an ``other``."""

    label: str
    other: str | None
    kind: str
    raw: str
    words: tuple[str, ...]

    def finding(self, kind: str, what: str, other: str | None = None) -> Finding:
        message = f"The {place('text', self.kind, self.label, self.other)} {what}: {self.raw}"
        return Finding(kind=kind, label=self.label, other=other or self.other, text=self.raw, message=message)


class Names:
    """The labels as words, to find them in texts in time that does not grow with their number."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels: dict[tuple[str, ...], str] = {}
        split = [(words, label) for label in labels if (words := _words(label))]
        plurals = [((*words[:-1], last), label) for words, label in split for last in _plurals(words[-1])]
        for words, label in (*split, *plurals):  # a label comes before another label's plural
            self._labels.setdefault(words, label)
        self._lengths: dict[str, list[int]] = defaultdict(list)
        for words in sorted(self._labels, key=len, reverse=True):
            self._lengths[words[0]].append(len(words))

    def named(self, words: tuple[str, ...]) -> str | None:
        """The label that ``words`` are, an article and the plural aside."""
        return self._labels.get(words) or (self._labels.get(words[1:]) if words[:1] in _ARTICLES else None)

    def mentioned(self, words: tuple[str, ...]) -> Iterator[str]:
        """The labels within ``words``; only the longest at a place, for who says "tiger shark" has not said "tiger"."""
        at = 0
        while at < len(words):
            length = next((n for n in self._lengths.get(words[at], ()) if words[at : at + n] in self._labels), 0)
            found = words[at : at + length]
            if found and found not in _ARTICLES:  # the class of the letter "a" is not meant
                yield self._labels[found]
            at += length or 1


def all_texts(textset: TextSet) -> Iterator[Text]:
    """Every raw text; those of one class, and of one direction of a pair, come together."""
    for label, texts in zip(textset.labels, textset.texts, strict=True):
        for kind in GENERAL_KINDS:
            for raw in texts.get(kind, ()):
                yield Text(label, None, kind, raw, _words(_LEAD.sub("", raw)))
    for (a, b), raws in sorted(textset.pairs.items()):
        for raw in raws:
            yield Text(textset.labels[a], textset.labels[b], "pair", raw, _words(raw))


def naming(text: Text, names: Names) -> Iterator[Finding]:
    """A text that is a class name and nothing more, or that brings in another class."""
    named = names.named(text.words)
    if not text.words:
        yield text.finding("name-only", "has no words")
    elif named is not None and named in (text.label, text.other):
        yield text.finding("name-only", f"is nothing but the class name {named!r}")
    elif text.kind == "attribute":
        for label in dict.fromkeys(names.mentioned(text.words)):
            if label != text.label:
                yield text.finding("leak", f"names the class {label!r}", label)
    elif named is not None and text.kind != "pair":
        yield text.finding("leak", f"is the class {named!r}", named)


def duplicates(texts: Iterable[Text]) -> Iterator[Finding]:
    """Texts that are there more than once in their kind, each told once."""
    alike: dict[tuple[str, str], list[Text]] = defaultdict(list)
    for text in texts:
        alike[text.kind, _key(text.raw)].append(text)
    for first, *more in alike.values():
        if more:
            yield first.finding("duplicate", f"is there {len(more) + 1} times")


def near_duplicates(texts: Iterable[Text]) -> Iterator[Finding]:
    """Texts that share 4/5 of all their words with an earlier one, each told once; duplicates count as one text.

    Synonyms share words by nature and only the best of them counts (Eq. 8): they are not compared with one another.
    """
    seen: list[tuple[Text, frozenset[str]]] = []
    having: dict[str, list[int]] = defaultdict(list)
    for text in {(text.kind, _key(text.raw)): text for text in texts}.values():
        words = frozenset(text.words)
        # Sets that much alike share one of their first n // 5 + 1 words in any common order; long words are rare.
        first = sorted(words, key=lambda word: (-len(word), word))[: len(words) // 5 + 1]
        earlier = (seen[i] for i in sorted({i for word in first for i in having[word]}))
        near = next(
            (old for old, its in earlier if _alike(words, its) and not text.kind == old.kind == "synonym"), None
        )
        if near is not None:
            yield text.finding("near-duplicate", f"nearly repeats the {near.kind} text {near.raw!r}")
        for word in first:
            having[word].append(len(seen))
        seen.append((text, words))


def _alike(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether the Jaccard index is 0.8 or more."""
    return 5 * len(a & b) >= 4 * len(a | b)


def place(what: str, kind: str, label: str, other: str | None) -> str:
    """Where a text stands, in words: "pair text of 'cat' against 'dog'"."""
    return f"{kind} {what} of {label!r}" + ("" if other is None else f" against {other!r}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFC", text).casefold()))


def _plurals(word: str) -> Iterator[str]:
    yield from (f"{word}s", f"{word}es")
    for end, plural in (("y", "ies"), ("f", "ves"), ("fe", "ves")):
        if word.endswith(end):
            yield word.removesuffix(end) + plural


def _key(text: str) -> str:
    """What makes two texts the same: case, spaces and final punctuation do not count."""
    return " ".join(text.casefold().split()).rstrip(".,;:!? ")
