"""The pairs of one run: by the ``--pairs`` option, by what stage 1 confuses, and by what the budget affords."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coder_engine.errors import TextsError
from coder_export.collapse import collapse_general
from coder_export.encode import TextEncoder
from coder_export.generate.draft import Draft
from coder_export.generate.pairs import Pair, PairChoice, all_pairs, count_seen, nearest_pairs
from coder_export.generate.seen import candidates, check_folder
from coder_export.generate.similarity import TextSpace
from coder_export.labels import spoken_names
from coder_export.report import Report


def check_choice(choice: PairChoice, space: TextSpace | None) -> None:
    """Refuse a choice that will fail, before the texts that come first are paid for.

    Raises:
        TextsError: the choice needs CLIP's text space and there is none, or the folder has no images.
    """
    if space is None and choice.how in ("top", "seen"):
        raise TextsError(
            f"--pairs {choice.how} is chosen by a CLIP model and --model is none; give a model, or --pairs all or none"
        )
    if choice.folder is not None:
        check_folder(choice.folder)


def choose_pairs(choice: PairChoice, draft: Draft, space: TextSpace | None, report: Report) -> list[Pair]:
    """The pairs that ``choice`` means, the most needed first; all of them without a model are in order of classes.

    Args:
        choice: "seen" classifies the images of its folder by the texts that ``draft`` has so far.

    Raises:
        TextsError: the choice needs CLIP's text space and there is none, or the folder has no images.
    """
    check_choice(choice, space)
    if choice.how == "none":
        return []
    if space is None:
        return all_pairs(len(draft.labels))
    if choice.folder is not None:
        return _seen(choice.folder, draft, space, report)
    nearest = choice.nearest if choice.how == "top" else len(draft.labels)
    return nearest_pairs(space.features(spoken_names(draft.labels)), nearest)


def affordable(pairs: list[Pair], cost: Callable[[list[Pair]], float], money: float | None) -> list[Pair]:
    """As many of the first ``pairs`` as ``money`` pays for; None is no limit."""
    if money is None or cost(pairs) <= money:
        return pairs
    low, high = 0, len(pairs)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(pairs[:middle]) <= money else (low, middle)
    return pairs[:low]


def _seen(folder: Path, draft: Draft, space: TextSpace, report: Report) -> list[Pair]:
    textset = draft.textset("draft")
    sentences = [textset.sentences(i) for i in range(len(draft.labels))]
    encoder = TextEncoder(model=space.clip.model, tokenizer=space.clip.tokenizer, on_long="truncate")
    flat = [sentence.text for own in sentences for sentence in own]
    with report.progress("general texts", len(set(flat))) as advance:
        rows = collapse_general(encoder.encode(flat, advance), sentences)
    seen = count_seen(candidates(folder, space.clip, rows, report))
    report.say(f"pairs among the first five classes of the images in {folder}, most frequent first:")
    for line in seen.table():
        report.say(f"  {line}")
    return list(seen.pairs)
