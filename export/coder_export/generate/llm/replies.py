"""What an LLM answered: found in the reply, cleaned and judged; a refused answer carries the reasons."""

from __future__ import annotations

import json
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coder_export.generate.llm.questions import Question
from coder_export.matching import normal_name

Fits = Callable[[str, str, str, str], bool]
"""(kind, class, other, text) -> whether every sentence made of the text fits the text tower."""

_THOUGHT_ENDS = re.compile("</think>", re.IGNORECASE)
_THOUGHT_BEGINS = re.compile("<think>", re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",(\s*[\]}])")
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]+|\(?\d{1,2}[.)])\s+")
_QUOTES = "\"'\u201c\u201d "
_REFUSAL = re.compile(
    r"\b(i['\u2019]?m sorry|i am sorry|i apologi[sz]e|as an ai|language model|"
    r"i (can(?:['\u2019]|no)t|am unable|am not able|won['\u2019]t|do not have enough)|"
    r"unable to (help|provide|assist|describe))\b",
    re.IGNORECASE,
)
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
    data = _parse(reply)
    if data is None:
        if _REFUSAL.search(reply):
            return Answer(problems=("it was a refusal, not JSON",))
        return Answer(problems=("it was not one complete JSON object",))
    item = _item(question, data)
    if isinstance(item, str):
        return Answer(problems=(item,))
    if question.kind != "pair":
        texts, problems = _side(question, item.get("texts"), question.classes, fits)
        return Answer(texts=texts, problems=problems)
    texts, problems = _side(question, item.get("class_has"), question.classes, fits)
    against, more = _side(question, item.get("other_has"), question.classes[::-1], fits)
    return Answer(texts=texts, against=against, problems=problems + more)


def _parse(reply: str) -> dict[str, Any] | None:
    """The first JSON object in ``reply``, whatever stands around it; None where there is none."""
    # Some servers leave the opening tag out, and a thought that never ends has no answer after it.
    reply = _THOUGHT_BEGINS.split(_THOUGHT_ENDS.split(reply)[-1])[0]
    start = reply.find("{")
    # Only from the first brace on: objects nested in a broken one are parts of an answer, not the whole.
    for text in (reply[start:], _TRAILING_COMMA.sub(r"\1", reply[start:])) if start >= 0 else ():
        try:
            data: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
            return data
        except (ValueError, RecursionError):  # not JSON as it stands, or nested past reason
            continue
    return None


def _item(question: Question, data: dict[str, Any]) -> dict[str, Any] | str:
    """The part of a reply that is about the question's class or pair; a problem in words where there is none."""
    if question.kind != "pair":
        if not _same(data.get("class"), question.classes[0]):
            return f'it was about {str(data.get("class"))[:60]!r}, not the class "{question.classes[0]}"'
        return data
    items = data.get("pairs")
    if items is None:
        items = [data]  # a single pair without the list around it
    for same in (operator.eq, _same):  # exact first: "C" and "C++" are the same to the second
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                names = item.get("class"), item.get("other")
                if all(map(same, names, question.classes)):
                    return item
                if all(map(same, names, question.classes[::-1])):
                    return {"class_has": item.get("other_has"), "other_has": item.get("class_has")}
    return f'the pair "{question.classes[0]}" and "{question.classes[1]}" was not in it'


def _side(
    question: Question, raw: Any, classes: tuple[str, ...], fits: Fits | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The good texts of one list, and what is wrong with it."""
    whose = f'for "{classes[0]}"' + (f' against "{classes[1]}"' if len(classes) > 1 else "")
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        return (), (f"the texts {whose} were not a list of strings",)
    good: dict[str, str] = {}
    problems = []
    for text in filter(None, map(_clean, raw)):
        if len(good) == question.wanted:
            break  # some models go on and on
        problem = _problem(question, text, classes, fits)
        if problem is None and normal_name(text) in good:
            problem = "is there twice"
        if problem is None:
            good[normal_name(text)] = text
        else:
            problems.append(f"{text[:80]!r} {whose} {problem}")
    if len(problems) > _PROBLEMS:
        problems[_PROBLEMS:] = [f"{len(problems) - _PROBLEMS:,} more texts {whose} were no better"]
    if len(good) < (question.wanted + 1) // 2:
        problems.append(f"{len(good)} good texts {whose}, of {question.wanted} asked for")
    return tuple(good.values()), tuple(problems)


def _problem(question: Question, text: str, classes: Sequence[str], fits: Fits | None) -> str | None:
    if _REFUSAL.search(text):
        return "is a refusal"
    if any(_same(text, name) for name in classes):
        return "is a class name and nothing more"
    if any(_same(text, name) for name in question.excluded):
        return "was excluded"
    if not normal_name(text):
        return "has no words"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        return "has characters that are no text"
    if fits is not None and not fits(question.kind, classes[0], classes[-1], text):
        return "is too long; write at most 15 words"
    return None


def _clean(text: str) -> str:
    """Without the bullet, quotes, spaces and full stop that models put around a phrase."""
    text = " ".join(_BULLET.sub("", text).split()).strip(_QUOTES)
    return text[:-1].rstrip(_QUOTES) if text.endswith(".") and not text.endswith("..") else text


def _same(name: object, label: str) -> bool:
    """Whether a model's spelling of a class name means ``label``; a leading article does not count."""
    if not isinstance(name, str):
        return False
    normal = normal_name(label)
    # Labels of signs alone, "+" and "-", have no normal name and are told apart as they stand.
    return name.strip() == label or (normal != "" and normal in _spellings(name))


def _spellings(name: str) -> Iterator[str]:
    yield normal_name(name)
    article, _, rest = name.strip().partition(" ")
    if article.lower() in ("a", "an", "the"):
        yield normal_name(rest)
