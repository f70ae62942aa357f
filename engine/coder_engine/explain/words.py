"""An explanation in words, in lines that fit a terminal of 80 columns behind an indent of 4."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from coder_engine.columns import cut, pad, width_of
from coder_engine.weightfile.general_texts import NAME_KINDS

if TYPE_CHECKING:
    from coder_engine.explain.explanation import ClassParts, Duel, Explanation

WIDTH = 76
_LISTED = 3
"""Texts told a class, the name apart; the data has more."""


def tell(found: Explanation) -> str:
    """All of it, line by line."""
    return "\n".join(cut(line, WIDTH) for line in _lines(found))


def _lines(found: Explanation) -> Iterator[str]:
    yield from _remark(found.note)
    yield from _verdict(found)
    yield from _table(found)
    for one in found.classes:
        yield from _class_lines(one, found)
    if found.reranked:
        yield "duels"
    # The answer's own first: they are what its S is made of.
    for duel in sorted(found.duels, key=lambda duel: found.label not in (duel.label, duel.other)):
        yield from _duel_lines(duel)
    yield from _remark(found.hint)


def _remark(text: str, indent: str = "") -> list[str]:
    """What has to be read to its end."""
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _verdict(found: Explanation) -> Iterator[str]:
    first = found.stage_one[0][0]
    agreed = f"{found.label}, as stage 1 said" if first == found.label else f"{found.label}; stage 1 said {first}"
    if not found.reranked:
        yield f"{agreed}; no rerank:"
        yield from _remark(found.no_rerank, "  ")
    elif first == found.label:
        yield f"{agreed}; the rerank keeps it"
    else:
        yield f"{agreed}, the rerank changed it"


def _table(found: Explanation) -> Iterator[str]:
    width = min(max(len("stage 1"), *(width_of(label) for label, _, _ in found.stage_one)), 40)
    sums = dict(found.sums)
    yield f"  {'stage 1':{width}}       o  score" + ("  sum of gaps" if found.reranked else "")
    for label, o, score in found.stage_one:
        line = f"  {pad(cut(label, width), width)}  {o:6.4f}  {score:5.1%}"
        yield line + (f"  {sums[label]:+11.4f}" if found.reranked else "")


def _class_lines(one: ClassParts, found: Explanation) -> Iterator[str]:
    roles = dict(zip((label for label, _ in found.sums), (", the answer", ", the runner-up"), strict=False))
    yield f"{one.label}{roles.get(one.label, '')}: o = {one.o:.4f}, of which"
    for kind, count, share in one.kinds:
        yield f"  {share:.4f} by {_counted(kind, count)}"
    for part in one.parts[: _LISTED + 1]:
        if part.text:
            yield f"    {part.cosine:.4f} {part.kind:9}  {_flat(part.text)}"


def _counted(kind: str, count: int) -> str:
    if kind in NAME_KINDS:
        return f"the strongest of {count} names" if count > 1 else "its name"
    what = "attribute and analogous" if kind == "texts" else kind
    return f"{count} {what} text" + ("s" if count > 1 else "")


def _duel_lines(duel: Duel) -> Iterator[str]:
    yield f"  {duel.label} beats {duel.other} by {duel.gap:.4f}"
    for label, side in ((duel.label, duel.parts), (duel.other, duel.other_parts)):
        for part in side[:1]:
            yield f"    {part.cosine:.4f} for {label}: {_flat(part.text)}"


def _flat(text: str) -> str:
    return " ".join(text.split())
