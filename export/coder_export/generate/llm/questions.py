"""What an LLM is asked: features that tell a class apart, classes that look alike, what sets two classes apart.

A question is known by its key, so that a reply is found again however questions were grouped into calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from coder_export.generate.llm.prompts import ASK, EXAMPLES, SYSTEM
from coder_export.labels import spoken_names
from coder_export.templates import with_article

Message = dict[str, str]
_REASONS = 4
"""Told of a refused reply at the most: a list of forty duplicates says no more than four of them."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Texts of one kind about one class, or about one pair of classes.

    Attributes:
        kind: "attribute", "analogous" or "pair".
        classes: (class,), or (class, other) for a pair, which is asked in both directions at once.
        domain: what the pictures are: "photo", "satellite photo".
        wanted: texts asked for, each way for a pair.
        excluded: names that an analogue must not be.
    """

    kind: str
    classes: tuple[str, ...]
    domain: str = "photo"
    wanted: int = 6
    excluded: tuple[str, ...] = ()

    def key(self, model: str) -> str:
        """Where the replies of ``model`` to this question are filed: a hash of the model and all it reads.

        But for the labels' underscores, which were in prompts once: what was paid for then is found.
        """
        text = json.dumps([model, *prompt_parts(self.kind), _ask([self], spoken=False)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def messages(questions: Sequence[Question], reasons: Mapping[Question, Sequence[str]] | None = None) -> list[Message]:
    """The chat that asks ``questions`` in one call: all of one kind, domain and number; several only for pairs.

    Args:
        questions: what to ask.
        reasons: why the last reply to a question was not accepted.
    """
    system, example, reply = prompt_parts(questions[0].kind)
    text = _ask(questions)
    # Once each: a reply that cannot be read at all is refused for every question of the call.
    for reason in dict.fromkeys(
        reason for question in questions for reason in (reasons or {}).get(question, ())[:_REASONS]
    ):
        text += f"\nAn earlier reply was refused: {reason}."
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": example},
        {"role": "assistant", "content": reply},
        {"role": "user", "content": text},
    ]


@cache
def prompt_parts(kind: str) -> tuple[str, str, str]:
    """System prompt, worked example and its reply: what all questions of a kind share."""
    classes, reply = EXAMPLES[kind]
    wanted = {"attribute": 6, "analogous": 5, "pair": 2}[kind]
    example = [Question(kind=kind, classes=pair, wanted=wanted) for pair in classes]
    return SYSTEM, _ask(example), json.dumps(reply)


def prompt_sha256(kind: str) -> str:
    """Identifies the wording of the prompts of a kind, for the record of where texts came from."""
    return hashlib.sha256("\n".join([*prompt_parts(kind), ASK[kind]]).encode()).hexdigest()


def schema(kind: str) -> dict[str, Any]:
    """JSON schema of the reply, in the strict form that structured output asks for."""
    texts = {"type": "array", "items": {"type": "string"}}
    name = {"type": "string"}
    if kind != "pair":
        return _object({"class": name, "texts": texts})
    pair = _object({"class": name, "other": name, "class_has": texts, "other_has": texts})
    return _object({"pairs": {"type": "array", "items": pair}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _ask(questions: Sequence[Question], *, spoken: bool = True) -> str:
    first = questions[0]
    names = [spoken_names(question.classes) if spoken else question.classes for question in questions]
    words = {
        "a domain": with_article(first.domain),
        "class": names[0][0],
        "n": first.wanted,
        "not": f" Not these: {', '.join(first.excluded)}." if first.excluded else "",
        "pairs": "\n".join(f'{n}. "{a[0]}" and "{a[-1]}"' for n, a in enumerate(names, start=1)),
    }
    return ASK[first.kind].format_map(words)
