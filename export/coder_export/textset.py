"""Stage 2 of the pipeline: the texts that describe the classes; ``textset_file`` reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coder_engine.errors import TextsError
from coder_export.labels import spoken_names
from coder_export.matching import match_names
from coder_export.templates import Templates
from coder_export.words import some

GENERAL_KINDS = ("attribute", "analogous", "synonym")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One text as the text tower reads it."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """The texts of C classes.

    Attributes:
        name: what messages and the weight file call it.
        labels: the C labels, in id order: what predictions say.
        names: the C class names that sentences say, where they are spelt otherwise than the labels; left out: the
            labels, with spaces for underscores.
        texts: by class id, by kind of ``GENERAL_KINDS``, the raw texts.
        pairs: ``pairs[a, b]`` are the raw one-to-one texts of class a against class b.
        source: who wrote the texts: writer, model, date, licence.
    """

    name: str
    labels: tuple[str, ...]
    texts: tuple[Mapping[str, tuple[str, ...]], ...]
    pairs: Mapping[tuple[int, int], tuple[str, ...]]
    templates: Templates = field(default_factory=Templates)
    source: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            object.__setattr__(self, "names", spoken_names(self.labels))

    def sentences(self, label_id: int) -> list[Sentence]:
        """The general texts of one class (Eq. 7), in the order name, attribute, analogous, synonym."""
        name = self.names[label_id]
        found = [Sentence(kind="name", text=text) for text in self.templates.render("name", {"class": name})]
        for kind in GENERAL_KINDS:
            for raw in self.texts[label_id].get(kind, ()):
                words = {"class": name, "text": raw}
                found += [Sentence(kind=kind, text=text) for text in self.templates.render(kind, words)]
        return found

    def holes(self) -> dict[str, list[str]]:
        """By general kind that some class has: the labels of those that have none of it."""
        return {
            kind: [label for label, own in zip(self.labels, self.texts, strict=True) if not own.get(kind)]
            for kind in GENERAL_KINDS
            if any(own.get(kind) for own in self.texts)
        }

    def duel_sentences(self, a: int, b: int) -> list[str]:
        """The one-to-one texts of class ``a`` against class ``b`` (Eq. 11), rendered."""
        words = {"class": self.names[a], "other": self.names[b]}
        raws = self.pairs.get((a, b), ())
        return [text for raw in raws for text in self.templates.render("pair", {**words, "text": raw})]

    def for_labels(self, labels: tuple[str, ...]) -> TextSet:
        """The same texts for ``labels``, which may be fewer, in another order, and spelt otherwise.

        Raises:
            TextsError: a label has no texts here.
        """
        if labels == self.labels:
            return self
        found = match_names(labels, self.labels, self.source.get("aliases"))
        if found.unknown:
            raise TextsError(
                f"text set {self.name!r} has no texts for {len(found.unknown)} of {len(labels)} labels "
                f"({some(found.unknown)}); give the labels it was written for, or another text set"
            )
        ids = {label: i for i, label in enumerate(self.labels)}
        old = [ids[found.found[label]] for label in labels]
        new = {i: n for n, i in enumerate(old)}
        return replace(
            self,
            labels=labels,
            names=tuple(self.names[i] for i in old),
            texts=tuple(self.texts[i] for i in old),
            pairs={(new[a], new[b]): texts for (a, b), texts in self.pairs.items() if a in new and b in new},
        )


def names_only(labels: tuple[str, ...]) -> TextSet:
    """A text set of nothing but the class names: plain CLIP's prompts."""
    return TextSet(name="class names only", labels=labels, texts=tuple({} for _ in labels), pairs={})
