"""WordNet as expert: synonyms for every label set, and attributes and analogues where there is no LLM."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from textwrap import shorten

from coder_engine.errors import TextsError
from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.similarity import TextSpace
from coder_export.generate.wordnet.by_name import senses_by_name
from coder_export.generate.wordnet.senses import Sense, WordNet, choose_sense, expert_attributes, synonyms
from coder_export.labels import spoken_names
from coder_export.matching import normal_name
from coder_export.model import ClipModel
from coder_export.report import Report
from coder_export.textset import TextSet, names_only

_SHOWN = 10
"""Doubtful senses told."""


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """The sense of each class.

    Attributes:
        labels: the C class names.
        senses: by class id; None where WordNet does not know the name.
        doubtful: the classes of which another sense would have done as well, by their names alone.
    """

    labels: tuple[str, ...]
    senses: tuple[Sense | None, ...]
    doubtful: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        wordnet: WordNet,
        space: TextSpace | None,
        advance: Callable[[int], object] = lambda count: None,
    ) -> Lexicon:
        """Look up every label; the sense whose gloss is nearest to the name in CLIP's text space, as in the paper."""
        known, senses = [], []
        for label, spoken in zip(labels, spoken_names(labels), strict=True):
            own = wordnet.senses(label) or wordnet.senses(normal_name(label))  # SeaLake: sea lake
            known.append(own)
            senses.append(choose_sense(spoken, own, space.of_gloss) if space and own else None)
            advance(1)
        doubtful: list[str] = []
        if space is None:
            senses, doubtful = senses_by_name(labels, known)
        return cls(labels=labels, senses=tuple(senses), doubtful=tuple(doubtful))

    @property
    def unknown(self) -> list[str]:
        """The labels that WordNet does not have."""
        return [label for label, sense in zip(self.labels, self.senses, strict=True) if sense is None]

    def doubts(self) -> list[str]:
        """Lines about the senses that are doubtful, as they were taken."""
        sense_of = dict(zip(self.labels, self.senses, strict=True))
        found = [(label, sense) for label in self.doubtful if (sense := sense_of[label])]
        lines = [f"  {label}: {shorten(sense.gloss, 80, placeholder=' ...')}" for label, sense in found[:_SHOWN]]
        more = [f"  ... and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
        which = "has another sense in WordNet" if len(found) == 1 else "have other senses in WordNet"
        told = f"{len(found):,} of {len(self.labels):,} classes {which}, too; taken by their names alone:"
        return [told, *lines, *more] if found else []

    def synonyms(self) -> list[tuple[str, ...]]:
        """By class id, other names of the class; none that is a label, or that two classes would share."""
        found = [synonyms(label, sense) if sense else () for label, sense in zip(self.labels, self.senses, strict=True)]
        names = [normal_name(label) for label in self.labels]
        taken = _twice([*names, *(key for own in found for key in {normal_name(name) for name in own})])
        return [tuple(name for name in own if normal_name(name) not in taken) for own in found]

    def attributes(self, wanted: int) -> list[tuple[str, ...]]:
        """By class id, what the gloss says, and "a kind of ..." for the hypernyms: the first ``wanted`` of them."""
        return [expert_attributes(sense)[:wanted] if sense else () for sense in self.senses]

    def analogues(self, choose: AnalogueFilter, space: TextSpace | None, wanted: int) -> list[list[str]]:
        """By class id, the sister terms nearest to the class, without those that are other classes."""
        kept, _ = choose.sort([sense.sisters if sense else () for sense in self.senses])
        names = spoken_names(self.labels)
        return [_nearest(name, own, space)[:wanted] for name, own in zip(names, kept, strict=True)]


def _nearest(label: str, names: list[str], space: TextSpace | None) -> list[str]:
    """``names``, the most similar to ``label`` first; as they are where there is no text space."""
    if space is None or not names:
        return names
    cosines = space.between([label], names)[0]
    return [names[i] for i in sorted(range(len(names)), key=lambda i: -float(cosines[i]))]


def _twice(keys: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    return {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def names_and_synonyms(labels: tuple[str, ...], clip: ClipModel, report: Report) -> TextSet:
    """What is there where nobody wrote texts: class names, and WordNet's synonyms if this machine has WordNet.

    Raises:
        TextsError: there is none where CODER_WORDNET says.
    """
    try:
        wordnet = WordNet.open(download=False)
    except TextsError:
        if os.environ.get("CODER_WORDNET"):  # it was asked for
            raise
        report.say("no texts for these labels: class names only, which is plain CLIP (with WordNet here: synonyms too)")
        return names_only(labels)
    lexicon = Lexicon.of(labels, wordnet, TextSpace(clip))
    found = lexicon.synonyms()
    count = sum(map(len, found))
    report.say(f"no texts for these labels: class names and {count:,} synonyms of WordNet (--texts none: names only)")
    return TextSet(
        name="class names and WordNet's synonyms",
        labels=labels,
        texts=tuple({"synonym": own} if own else {} for own in found),
        pairs={},
        source={"kinds": {"synonym": {"expert": "wordnet", "clip": f"{clip.name} ({clip.pretrained})"}}},
    )
