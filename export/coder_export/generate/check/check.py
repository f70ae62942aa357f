"""What is wrong with a text set, before an export is spent on it, as counts and findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from textwrap import TextWrapper
from typing import Any

from coder_export.collapse import duelling_pairs, one_sided_pairs
from coder_export.generate.check.faults import Finding, Names, all_texts, duplicates, naming, near_duplicates, place
from coder_export.textset import GENERAL_KINDS, TextSet

__all__ = ["Check", "Finding", "TokenLengths", "check_textset"]

TokenLengths = Callable[[list[str]], list[int]]
"""Sentences -> how many tokens each has, start and end tokens included."""

_BATCH = 4096
"""Sentences counted at once: bounds memory, however many pairs there are."""
_LABEL, _COUNT, _ROWS, _LINES = 40, 11, 20, 10
"""The table: columns for a class name at the most and for a count, classes listed, and findings listed of a kind."""
_MEANING = {
    "hole": "classes without attribute texts",
    "leak": "texts that name another class",
    "name-only": "texts that say nothing but a class name",
    "duplicate": "texts that are there more than once",
    "near-duplicate": "texts that say nearly the same as another one",
    "one-sided": "pairs with texts in one direction only, which an export leaves out",
    "long": "sentences that are too long for the text tower",
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a text set has and what is wrong with it.

    Attributes:
        counts: class -> kind -> number of raw texts; the kind "pair" counts the texts of the class against others.
        one_name: the classes without a synonym, which is no fault.
        pairs_covered: pairs with texts in both directions.
        pairs_possible: C (C - 1) / 2.
        longest: tokens of the longest sentence; None: lengths were not checked.
        context_length: tokens that the text tower reads.
    """

    counts: Mapping[str, Mapping[str, int]]
    one_name: tuple[str, ...]
    pairs_covered: int
    pairs_possible: int
    longest: int | None
    context_length: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {"ok": self.ok, **asdict(self)}

    def table(self, columns: int = 100) -> str:
        """The counts and the findings for people, in ``columns`` where these do; long lists are cut and say so."""
        lines = [*_count_lines(self.counts, columns), "", *_summary_lines(self)]
        for kind in _MEANING:
            messages = [finding.message for finding in self.findings if finding.kind == kind]
            lines += _finding_lines(kind, messages, columns)
        return "\n".join(lines)


def check_textset(textset: TextSet, *, token_lengths: TokenLengths | None, context_length: int = 77) -> Check:
    """Look for holes, texts that repeat or name another class, pairs with one direction, and long sentences.

    Args:
        textset: C classes; the time grows with the number of texts, not with C squared.
        token_lengths: the tokenizer's count; None leaves lengths unchecked, and the result says so.
        context_length: tokens that the text tower reads.
    """
    long, longest = ([], None) if token_lengths is None else _long(textset, token_lengths, context_length)
    classes = len(textset.labels)
    counts = _counts(textset)
    return Check(
        counts=counts,
        one_name=tuple(label for label, own in counts.items() if not own["synonym"]),
        pairs_covered=len(duelling_pairs(textset)),
        pairs_possible=classes * (classes - 1) // 2,
        longest=longest,
        context_length=context_length,
        findings=(*_holes(counts), *_text_faults(textset), *_one_sided(textset), *long),
    )


def _counts(textset: TextSet) -> dict[str, dict[str, int]]:
    against: Counter[int] = Counter()
    for (a, _), raws in textset.pairs.items():
        against[a] += len(raws)
    return {
        label: {**{kind: len(textset.texts[i].get(kind, ())) for kind in GENERAL_KINDS}, "pair": against[i]}
        for i, label in enumerate(textset.labels)
    }


def _holes(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for label, own in counts.items():
        if not own["attribute"]:
            what = "attribute texts" if any(own[kind] for kind in GENERAL_KINDS) else "texts but its name"
            yield Finding(kind="hole", label=label, other=None, text=None, message=f"{label!r} has no {what}.")


def _text_faults(textset: TextSet) -> Iterator[Finding]:
    names = Names(textset.labels)
    for _, group in groupby(all_texts(textset), key=lambda text: (text.label, text.other)):
        texts = list(group)
        for text in texts:
            yield from naming(text, names)
        yield from duplicates(texts)
        yield from near_duplicates(texts)


def _one_sided(textset: TextSet) -> Iterator[Finding]:
    for a, b in one_sided_pairs(textset):
        label, other = textset.labels[a], textset.labels[b]
        message = f"{label!r} has texts against {other!r}, but {other!r} has none against {label!r}."
        yield Finding(kind="one-sided", label=label, other=other, text=None, message=message)


def _long(textset: TextSet, token_lengths: TokenLengths, context: int) -> tuple[list[Finding], int]:
    found, longest = [], 0
    sentences = _sentences(textset)
    while batch := list(islice(sentences, _BATCH)):
        lengths = token_lengths([sentence for *_, sentence in batch])
        longest = max(longest, *lengths)
        for (label, other, kind, sentence), length in zip(batch, lengths, strict=True):
            if length > context:
                where = place("sentence", kind, label, other)
                message = f"The {where} has {length} tokens, {context} are read: {sentence}"
                found.append(Finding(kind="long", label=label, other=other, text=sentence, message=message))
    return found, longest


def _sentences(textset: TextSet) -> Iterator[tuple[str, str | None, str, str]]:
    """(class, other, kind, sentence) of everything that the text tower reads."""
    labels = textset.labels
    for i, label in enumerate(labels):
        yield from ((label, None, sentence.kind, sentence.text) for sentence in textset.sentences(i))
    for a, b in sorted(textset.pairs):
        yield from ((labels[a], labels[b], "pair", sentence) for sentence in textset.duel_sentences(a, b))


def _count_lines(counts: Mapping[str, Mapping[str, int]], columns: int) -> list[str]:
    """The first classes by kind, aligned, and the sums over all of them."""
    kinds = (*GENERAL_KINDS, "pair")
    most = max(12, min(_LABEL, columns - _COUNT * len(kinds)))
    rows = [(_cut(label, most), *(f"{own[kind]:,}" for kind in kinds)) for label, own in islice(counts.items(), _ROWS)]
    sums = ("all classes", *(f"{sum(own[kind] for own in counts.values()):,}" for kind in kinds))
    table = (("class", *kinds), *rows, sums)
    width = max(len(row[0]) for row in table)
    header, *body, total = [row[0].ljust(width) + "".join(f"{cell:>{_COUNT}}" for cell in row[1:]) for row in table]
    return [header, *body, *_more(len(counts) - _ROWS), total]


def _summary_lines(check: Check) -> list[str]:
    lengths = f"The longest sentence has {check.longest} of {check.context_length} tokens."
    unchecked = "The length of the sentences was not checked, as there is no tokenizer."
    return [
        f"Pairs with texts in both directions: {check.pairs_covered:,} of {check.pairs_possible:,}.",
        f"Classes with one name only, no synonym: {len(check.one_name):,} of {len(check.counts):,}.",
        unchecked if check.longest is None else lengths,
        "Nothing is wrong." if check.ok else f"Findings: {len(check.findings):,}.",
    ]


def _finding_lines(kind: str, messages: Sequence[str], columns: int) -> list[str]:
    wrap = TextWrapper(
        max(columns, 20),
        initial_indent="  ",
        subsequent_indent="    ",
        max_lines=3,
        break_on_hyphens=False,
        placeholder=" ...",
    )
    lines = [line for message in messages[:_LINES] for line in wrap.wrap(message)]
    head = ["", f"{kind} ({len(messages):,}): {_MEANING[kind]}"] if messages else []
    return [*head, *lines, *_more(len(messages) - _LINES)]


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else f"{label[: most - 3]}..."


def _more(count: int) -> list[str]:
    return [f"  ... and {count:,} more (--json for all)"] if count > 0 else []
