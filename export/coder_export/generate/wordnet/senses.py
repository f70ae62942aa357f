"""What WordNet knows about a class name: its senses, and for the right one synonyms, attributes and look-alikes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coder_export.generate.wordnet.data import find_wordnet, open_nouns, wordnet_errors

EXPERT_TEMPLATES = ("a photo of {a class}, {text}.",)
"""Attribute templates that ``expert_attributes`` fits into."""

_LEVELS_UP = 3
# Words that nearly every noun falls under: as a description they tell no class from another.
_TOO_GENERAL = {
    "entity", "physical entity", "abstraction", "abstract entity", "object", "physical object", "thing", "whole",
    "unit", "matter", "substance", "part", "artifact", "instrumentality", "article", "living thing", "organism",
    "causal agent", "psychological feature", "attribute", "relation", "group", "measure",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sense:
    """One noun synset.

    Attributes:
        name: NLTK's name of it, ``crane.n.05``.
        kind: the lexicographers' file that it is in, ``noun.animal``.
        gloss: its definition, without the examples.
        lemmas: its words, with spaces.
        hypernyms: the first word of each synset above it, nearest first, at most three levels up, the most general ones
            (entity, object, artifact ...) left out.
        sisters: the first word of each other synset directly below what is directly above it, in the order of WordNet's
            file.
    """

    name: str
    kind: str
    gloss: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    sisters: tuple[str, ...]


class WordNet:
    """WordNet's nouns; make it with ``open``."""

    def __init__(self, reader: Any, folder: Path) -> None:
        self._reader = reader
        self._folder = folder

    @classmethod
    def open(cls, *, download: bool = True) -> WordNet:
        """Open the WordNet that ``find_wordnet`` finds.

        Raises:
            TextsError: there is none, or NLTK cannot read it.
        """
        folder = find_wordnet(download=download)
        return cls(open_nouns(folder), folder)

    def senses(self, name: str) -> list[Sense]:
        """The noun senses of a class name, most frequent first; ``[]`` where WordNet does not know it.

        Case, plural, and whether words are joined by a space, an underscore, a hyphen or not at all do not matter.

        Raises:
            TextsError: WordNet's files are damaged.
        """
        with wordnet_errors(self._folder):
            return [_sense(synset) for synset in self._synsets(name)]

    def _synsets(self, name: str) -> list[Any]:
        found = (self._reader.synsets(form, pos="n") for form in _spellings(name))
        synsets: list[Any] = next(filter(None, found), [])
        return list(dict.fromkeys(synsets))


def choose_sense(
    name: str, senses: Sequence[Sense], similarity: Callable[[str, Sequence[str]], Sequence[float]] | None
) -> Sense:
    """The sense that a class name means: the one whose gloss is nearest to it in CLIP's text space, as in the paper.

    Args:
        name: the class name.
        senses: what ``WordNet.senses`` found, at least one.
        similarity: of a name to each of the texts; None takes the most frequent sense that spells the name so.

    Raises:
        ValueError: there are no senses, or not one similarity for each.
    """
    if not senses:
        raise ValueError(f"no senses of {name!r} to choose from; WordNet does not know the name")
    if similarity is None or len(senses) == 1:
        # "wren" is the bird: the architect, whose sense comes first, is only ever written "Wren".
        as_written = " ".join(name.replace("_", " ").split())
        return next((sense for sense in senses if as_written in sense.lemmas), senses[0])
    scores = list(similarity(name, [sense.gloss for sense in senses]))
    if len(scores) != len(senses):
        raise ValueError(
            f"similarity gave {len(scores)} values for the {len(senses)} senses of {name!r}; give one each"
        )
    return senses[scores.index(max(scores))]


def synonyms(name: str, sense: Sense) -> tuple[str, ...]:
    """The other words of ``sense``: not ``name`` in another spelling, case or number, and none twice."""
    seen = set(_keys(name))
    found = []
    for lemma in sense.lemmas:
        if seen.isdisjoint(_keys(lemma)):
            found.append(lemma)
            seen |= _keys(lemma)
    return tuple(found)


def expert_attributes(sense: Sense) -> tuple[str, ...]:
    """What WordNet says of ``sense``, as phrases for ``EXPERT_TEMPLATES``.

    Returns:
        The parts of its gloss, without examples, who was quoted, and remarks in parentheses; then "a kind of ..." for
        each hypernym.
    """
    phrases = [*_gloss_parts(sense.gloss), *(f"a kind of {word}" for word in sense.hypernyms)]
    return tuple(dict.fromkeys(phrases))


def _spellings(name: str) -> list[str]:
    words = re.split(r"[\s_-]+", name.strip().lower())
    # As written first: WordNet has "t-shirt" and "golden_retriever", and "re-creation" besides "recreation".
    forms = ("_".join(name.lower().split()), "_".join(words), "-".join(words), "".join(words))
    return list(dict.fromkeys(form for form in forms if form))


def _sense(synset: Any) -> Sense:
    return Sense(
        name=synset.name(),
        kind=synset.lexname(),
        gloss=synset.definition(),
        lemmas=tuple(_spaced(lemma) for lemma in synset.lemma_names()),
        hypernyms=_hypernyms(synset),
        sisters=_sisters(synset),
    )


def _hypernyms(synset: Any) -> tuple[str, ...]:
    level, words = [synset], []
    for _ in range(_LEVELS_UP):
        level = [above for below in level for above in _above(below)]
        words += [_first_word(above) for above in level]
    return tuple(dict.fromkeys(word for word in words if word not in _TOO_GENERAL))


def _sisters(synset: Any) -> tuple[str, ...]:
    below = [
        *(sister for above in _in_order(synset.hypernyms()) for sister in _in_order(above.hyponyms())),
        *(
            sister
            for above in _in_order(synset.instance_hypernyms())
            for sister in _in_order(above.instance_hyponyms())
        ),
    ]
    return tuple(dict.fromkeys(_first_word(sister) for sister in below if sister != synset))


def _above(synset: Any) -> list[Any]:
    return _in_order([*synset.hypernyms(), *synset.instance_hypernyms()])


def _in_order(synsets: Sequence[Any]) -> list[Any]:
    # NLTK keeps relations in a set: their order changes from one run to the next.
    return sorted(synsets, key=lambda synset: synset.offset())


def _first_word(synset: Any) -> str:
    return _spaced(synset.lemma_names()[0])


def _spaced(lemma: str) -> str:
    return lemma.replace("_", " ")


def _keys(word: str) -> set[str]:
    """The word without case and joints, and what could be its singular; words that share one are one word."""
    key = re.sub(r"[\s_.'-]+", "", word.casefold())
    endings = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("men", "man"))
    return {key, *(key.removesuffix(plural) + singular for plural, singular in endings if key.endswith(plural))}


def _gloss_parts(gloss: str) -> list[str]:
    text = re.sub(r'"[^"]*"', "", gloss)
    while text != (text := re.sub(r"\([^()]*\)", "", text)):  # innermost first
        pass
    parts = (re.sub(r"\s+([,:])", r"\1", " ".join(part.split())).strip(' ,.:"') for part in text.split(";"))
    # "- Mark Twain" is left of a quotation.
    return [part for part in parts if part and not part.startswith("-")]
