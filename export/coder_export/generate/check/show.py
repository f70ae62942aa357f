"""All sentences of one class, as the text tower reads them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from coder_engine.errors import TextsError
from coder_export.matching import normal_name
from coder_export.textset import GENERAL_KINDS, TextSet
from coder_export.words import some


def show_class(textset: TextSet, label: str) -> str:
    """The sentences of a class by kind, then those of its pairs in both directions, for people.

    Raises:
        TextsError: the text set has no such class.
    """
    data = class_json(textset, label)
    blocks = list(data["sentences"].items())
    for pair in data["pairs"]:
        blocks += [(f"against {pair['other']}", pair["class_has"]), (f"{pair['other']} against it", pair["other_has"])]
    heads = [f"{label} (class {data['id']} of {len(textset.labels):,}, counted from 0)"]
    return "\n\n".join([*heads, *(_block(head, sentences) for head, sentences in blocks)])


def class_json(textset: TextSet, label: str) -> dict[str, Any]:
    """The same for machines: class, id, sentences by kind, and for each pair those of either side.

    Raises:
        TextsError: the text set has no such class.
    """
    own = _find(textset, label)
    kinds: dict[str, list[str]] = {kind: [] for kind in ("name", *GENERAL_KINDS)}
    for sentence in textset.sentences(own):
        kinds[sentence.kind].append(sentence.text)
    others = sorted({b if a == own else a for a, b in textset.pairs if own in (a, b)})
    pairs = [
        {
            "other": textset.labels[other],
            "class_has": textset.duel_sentences(own, other),
            "other_has": textset.duel_sentences(other, own),
        }
        for other in others
    ]
    return {"class": label, "id": own, "sentences": kinds, "pairs": pairs}


def _find(textset: TextSet, label: str) -> int:
    if label in textset.labels:
        return textset.labels.index(label)
    spelled: dict[str, list[str]] = {}
    for known in textset.labels:
        spelled.setdefault(normal_name(known), []).append(known)
    near = [name for key in get_close_matches(normal_name(label), spelled, n=3) for name in spelled[key]]
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?" if near else f"give one of its labels: {some(textset.labels)}"
    )
    raise TextsError(f"text set {textset.name!r} has no class {label!r}; {hint}")


def _block(head: str, sentences: list[str]) -> str:
    return "\n".join([f"{head}: {len(sentences) or 'none'}", *(f"  {sentence}" for sentence in sentences)])
