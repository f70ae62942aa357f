"""WordNet as expert: synonyms for every label set, and attributes and analogues where there is no LLM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.similarity import TextSpace
from coder_export.generate.wordnet import Sense, WordNet, choose_sense, expert_attributes, synonyms
from coder_export.matching import normal_name


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """The sense of each class.

    Attributes:
        labels: the C class names.
        senses: by class id; None where WordNet does not know the name.
    """

    labels: tuple[str, ...]
    senses: tuple[Sense | None, ...]

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        wordnet: WordNet,
        space: TextSpace | None,
        advance: Callable[[int], object] = lambda count: None,
    ) -> Lexicon:
        """Look up every label; the sense whose gloss is nearest to the name in CLIP's text space, as in the paper."""
        senses = []
        for label in labels:
            known = wordnet.senses(label) or wordnet.senses(normal_name(label))  # SeaLake: sea lake
            senses.append(choose_sense(label, known, space.of_gloss if space else None) if known else None)
            advance(1)
        return cls(labels=labels, senses=tuple(senses))

    @property
    def unknown(self) -> list[str]:
        """The labels that WordNet does not have."""
        return [label for label, sense in zip(self.labels, self.senses, strict=True) if sense is None]

    def synonyms(self) -> list[tuple[str, ...]]:
        """By class id, other names of the class; none that is a label, or that two classes would share."""
        found = [synonyms(label, sense) if sense else () for label, sense in zip(self.labels, self.senses, strict=True)]
        names = [normal_name(label) for label in self.labels]
        taken = _twice([*names, *(key for own in found for key in {normal_name(name) for name in own})]) | set(names)
        return [tuple(name for name in own if normal_name(name) not in taken) for own in found]

    def attributes(self) -> list[tuple[str, ...]]:
        """By class id, what the gloss says, and "a kind of ..." for the hypernyms."""
        return [expert_attributes(sense) if sense else () for sense in self.senses]

    def analogues(self, choose: AnalogueFilter, space: TextSpace | None, wanted: int) -> list[list[str]]:
        """By class id, the sister terms nearest to the class, without those that are other classes."""
        kept, _ = choose.sort([sense.sisters if sense else () for sense in self.senses])
        return [_nearest(label, own, space)[:wanted] for label, own in zip(self.labels, kept, strict=True)]


def _nearest(label: str, names: list[str], space: TextSpace | None) -> list[str]:
    """``names``, the most similar to ``label`` first; as they are where there is no text space."""
    if space is None or not names:
        return names
    cosines = space.between([label], names)[0]
    return [names[i] for i in sorted(range(len(names)), key=lambda i: -float(cosines[i]))]


def _twice(keys: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    return {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def merged(own: Sequence[Sequence[str]], more: Sequence[Sequence[str]]) -> list[list[str]]:
    """Two lists by class id, joined class by class."""
    return [[*a, *b] for a, b in zip(own, more, strict=True)]
