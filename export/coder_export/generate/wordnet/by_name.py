"""The senses of class names where the names are all there is: the classes of one set are things of a few kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from coder_export.generate.wordnet.senses import Sense, choose_sense

_USUAL = 0.25
"""Share of the classes that makes a kind one of the set's, if they are two at least. Of the 212 classes of ImageNet
with several senses WordNet's most frequent one is right for 89, this choice for 131; in random sets of 20 of ImageNet's
classes 39 % and 60 %."""
_VISIBLE = frozenset(
    f"noun.{kind}"
    for kind in ("animal", "artifact", "body", "food", "group", "location", "object", "person", "phenomenon", "plant")
) | {"noun.substance"}


def senses_by_name(labels: Sequence[str], known: Sequence[Sequence[Sense]]) -> tuple[list[Sense | None], list[str]]:
    """The sense of each class (None: it has none), and the classes for which another would have done as well.

    A kind is one of the set's where many classes are of it by their most frequent sense. Of each class the most
    frequent sense of such a kind is taken, else of a kind that can be seen, else of any: a boxer among dogs is a dog.

    Args:
        labels: C class names.
        known: by class id, what ``WordNet.senses`` found.
    """
    first = Counter(choose_sense(label, own, None).kind for label, own in zip(labels, known, strict=True) if own)
    usual = {kind for kind, count in first.items() if count >= max(2, _USUAL * first.total())}
    chosen: list[Sense | None] = []
    doubtful = []
    for label, own in zip(labels, known, strict=True):
        likely = _of(usual, own) or _of(_VISIBLE, own) or own
        chosen.append(choose_sense(label, likely, None) if likely else None)
        doubtful += [label] if len(likely) > 1 else []
    return chosen, doubtful


def _of(kinds: frozenset[str] | set[str], senses: Sequence[Sense]) -> list[Sense]:
    return [sense for sense in senses if sense.kind in kinds]
