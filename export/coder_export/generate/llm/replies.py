"""What an LLM answered: found in the reply, cleaned and judged; a refused answer carries the reasons."""

from __future__ import annotations

import json
import operator
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coder_export.generate.llm.questions import Question
from coder_export.matching import bare_name, normal_name, without_article

Fits = Callable[[str, str, str, str], bool]
"""(kind, class, other, text) -> whether every sentence made of the text fits the text tower."""

_THOUGHT_ENDS = re.compile("</think>", re.IGNORECASE)
_THOUGHT_BEGINS = re.compile("<think>", re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[\]}])")
_BRACE = re.compile("[{}]")
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]+|\(?\d{1,2}[.)])\s+")
_QUOTED = (
    # One that lost its partner goes, too, but for inches: 27".
    re.compile(r'["\u201c\u201d]([^"\u201c\u201d]*)["\u201c\u201d]?'),
    re.compile(r'([^"\u201c\u201d]*[^\d"\u201c\u201d])["\u201c\u201d]'),
    # An apostrophe between two letters is none of the pair, one at the edge of a word may be.
    re.compile(r"['\u2018\u2019]((?:[^'\u2018\u2019]|(?<=\w)['\u2019](?=\w))*)['\u2019]"),
)
_VERB_AGAIN = re.compile(r"^(?:(?:(?:it|they|which|that)\s+)?(?:has|have|with(?!\s+or\b))\s+)+(?=\S)", re.IGNORECASE)
"""What the sentence says before the text: "which has has a long muzzle"."""
# CLIP's text tower is drawn to what is named: "no whiskers" is near to whiskers.
_NEGATION = re.compile(r"(?:(?:it|they|which|that)\s+)?(?:no|not|without|lacks?|lacking|unlike)\s", re.IGNORECASE)
_NEGATED = "says what is missing; say what is there"
_SHARED = "is there for the other class, too"
_LEFT_OUT = (_NEGATED, _SHARED)
"""No reason to pay for all of a reply again: such texts are told only where too few others are left."""
_NO_ANSWERS = {
    "n a", "na", "nan", "nil", "none", "nothing", "null", "unknown", "unspecified", "undefined", "tbd",
    "not applicable", "not available", "not known", "not specified", "no answer",
}  # fmt: skip
"""As ``normal_name`` has them."""
_REFUSAL = re.compile(
    r"\b(i['\u2019]?m sorry|i am sorry|i apologi[sz]e|as an ai|language model|"
    r"i (can(?:['\u2019]|no)t|am unable|am not able|won['\u2019]t|do not have enough)|"
    r"unable to (help|provide|assist|describe))\b",
    re.IGNORECASE,
)
_BROKEN = 20
"""Braces that begin no JSON and are passed: each try costs what stands before it, and some models write thousands."""
_PROBLEMS = 8
"""Bad texts of one list that are told one by one: a model that runs wild writes thousands."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The texts of one reply to one question.

    Attributes:
        texts: what passed, cleaned, in the model's order; of the class against the other for a pair.
        against: for a pair, what passed of the other against the class.
        problems: why the reply is refused; empty where it is accepted.
    """

    texts: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.problems

    @property
    def count(self) -> int:
        return len(self.texts) + len(self.against)


def judge(question: Question, reply: str, fits: Fits | None = None) -> Answer:
    """Read ``reply`` for its answer to ``question``; a malformed, foreign or poor one comes back with its problems.

    Texts that pass are in the Answer even where the reply as a whole is refused: if no later one is better, they are
    what there is.
    """
    found = _objects(reply)
    if not found:
        if _REFUSAL.search(reply):
            return Answer(problems=("it was a refusal, not JSON",))
        return Answer(problems=("it was not one complete JSON object",))
    item = _pair(question, found) if question.kind == "pair" else _own(question, found)
    if isinstance(item, str):
        return Answer(problems=(item,))
    if question.kind != "pair":
        texts, problems = _side(question, item.get("texts"), question.classes, fits)
        return Answer(texts=texts, problems=problems)
    both = _keys(question, item.get("class_has")) & _keys(question, item.get("other_has"))
    texts, problems = _side(question, item.get("class_has"), question.classes, fits, both)
    against, more = _side(question, item.get("other_has"), question.classes[::-1], fits, both)
    return Answer(texts=texts, against=against, problems=problems + more)


def _objects(reply: str) -> list[dict[str, Any]]:
    """The JSON objects in ``reply`` that are part of no other, whatever stands around them; a list's are told apart."""
    # Some servers leave the opening tag out, and a thought that never ends has no answer after it.
    reply = _THOUGHT_BEGINS.split(_THOUGHT_ENDS.split(reply)[-1])[0]
    mended = _TRAILING_COMMA.sub(r"\1", reply)
    return [*_outermost(reply), *(_outermost(mended) if mended != reply else ())]


def _outermost(text: str) -> Iterator[dict[str, Any]]:
    start, broken = text.find("{"), 0
    while start >= 0 and broken < _BROKEN:
        try:
            data, end = json.JSONDecoder().raw_decode(text, start)
            yield data
        except (ValueError, RecursionError):  # not JSON, or nested past reason
            broken += 1
            # Objects nested in a broken one are parts of an answer, not the whole; a format shown before it is passed.
            end = _closed(text, start)
        start = text.find("{", end) if end else -1


def _closed(text: str, start: int) -> int:
    """The place after the brace that closes the one at ``start``; 0 where there is none."""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return 0


def _own(question: Question, found: Sequence[dict[str, Any]]) -> dict[str, Any] | str:
    """The object about the question's class; a problem in words where there is none."""
    about = [data for data in found if _same(data.get("class"), question.classes[0])]
    if not about:
        return f'it was about {str(found[0].get("class"))[:60]!r}, not the class "{question.classes[0]}"'
    return next((data for data in about if isinstance(data.get("texts"), list)), about[0])


def _pair(question: Question, found: Sequence[dict[str, Any]]) -> dict[str, Any] | str:
    """The object about the question's pair, in its order of the two; a problem in words where there is none."""
    items = [item for data in found for item in _items(data)]
    for same in (operator.eq, _same):  # exact first: "C" and "C++" are the same to the second
        for item in items:
            if isinstance(item, dict):
                names = item.get("class"), item.get("other")
                if all(map(same, names, question.classes)):
                    return item
                if all(map(same, names, question.classes[::-1])):
                    return {"class_has": item.get("other_has"), "other_has": item.get("class_has")}
    return f'the pair "{question.classes[0]}" and "{question.classes[1]}" was not in it'


def _items(data: dict[str, Any]) -> list[Any]:
    """What is in the list of pairs; a pair may come without the object around the list."""
    items = data.get("pairs")
    if items is None:
        return [data]
    return items if isinstance(items, list) else []


def _keys(question: Question, raw: Any) -> set[str]:
    texts = raw if isinstance(raw, list) else ()
    return {normal_name(_clean(question, text)) for text in texts if isinstance(text, str)}


def _side(
    question: Question,
    raw: Any,
    classes: tuple[str, ...],
    fits: Fits | None,
    both: Collection[str] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The good texts of one list, and what is wrong with it.

    Args:
        both: keys of texts that the other side of the pair has as well: they cancel to nothing.
    """
    whose = f'for "{classes[0]}"' + (f' against "{classes[1]}"' if len(classes) > 1 else "")
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        return (), (f"the texts {whose} were not a list of strings",)
    good: dict[str, str] = {}
    problems: list[str] = []
    left_out: list[str] = []
    key = bare_name if question.kind == "analogous" else normal_name
    for text in filter(None, (_clean(question, text) for text in raw)):
        if len(good) == question.wanted:
            break  # some models go on and on
        problem = _problem(question, text, classes, fits)
        if problem is None and normal_name(text) in both:
            problem = _SHARED
        if problem is None and key(text) in good:
            problem = "is there twice"
        if problem is None:
            good[key(text)] = text
        else:
            (left_out if problem in _LEFT_OUT else problems).append(f"{text[:80]!r} {whose} {problem}")
    few = len(good) < (question.wanted + 1) // 2
    if few:
        problems += left_out
    if len(problems) > _PROBLEMS:
        problems[_PROBLEMS:] = [f"{len(problems) - _PROBLEMS:,} more texts {whose} were no better"]
    if few:
        problems.append(f"{len(good)} good texts {whose}, of {question.wanted} asked for")
    return tuple(good.values()), tuple(problems)


def _problem(question: Question, text: str, classes: Sequence[str], fits: Fits | None) -> str | None:
    if _REFUSAL.search(text):
        return "is a refusal"
    if any(_means(text, name) for name in classes):
        return "is a class name and nothing more"
    if any(_means(text, name) for name in question.excluded):
        return "was excluded"
    if not normal_name(text):
        return "has no words"
    if normal_name(text) in _NO_ANSWERS:
        return "is no answer"
    if question.kind != "analogous" and _NEGATION.match(text):
        return _NEGATED
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        return "has characters that are no text"
    if fits is not None and not fits(question.kind, classes[0], classes[-1], text):
        return "is too long; write at most 15 words"
    return None


def _clean(question: Question, text: str) -> str:
    """Without the bullet, quotes, spaces and full stop that models put around a phrase, and what its sentence says."""
    text = _unquoted(" ".join(_BULLET.sub("", text).split()))
    if text.endswith(".") and not text.endswith(".."):
        text = _unquoted(text[:-1].rstrip())
    return without_article(text) if question.kind == "analogous" else _VERB_AGAIN.sub("", text)


def _unquoted(text: str) -> str:
    """Without the quotes around the whole: those within it stay, at its ends, too."""
    for quoted in _QUOTED:
        if found := quoted.fullmatch(text):
            return _unquoted(found[1].strip())
    return text


def _same(name: object, label: str) -> bool:
    """Whether a model's spelling of a class name means ``label``; a leading article does not count."""
    if not isinstance(name, str):
        return False
    normal = normal_name(label)
    # Labels of signs alone, "+" and "-", have no normal name and are told apart as they stand.
    return name.strip() == label or (normal != "" and normal in _spellings(name))


def _means(text: str, name: str) -> bool:
    """Whether a text is a class name and nothing more; neither an article nor the plural makes it another."""
    return _same(text, name) or bare_name(text) == bare_name(name) != ""


def _spellings(name: str) -> Iterator[str]:
    yield normal_name(name)
    yield normal_name(without_article(name))
