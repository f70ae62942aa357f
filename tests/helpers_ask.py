"""Questions about animals, runs that ask them, and the replies that were stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from coder_export.generate.llm.ask import Asker
from coder_export.generate.llm.client import Client
from coder_export.generate.llm.questions import Question
from coder_export.generate.llm.store import ReplyStore
from llm_server import LlmServer

ANIMALS = ("cat", "elk", "owl", "fox", "bat", "cod", "emu", "hen", "ant", "bee", "cow", "dog")
KEY = "sk-very-secret-0123456789"
Work = Callable[[Asker], Any]


def attribute(*labels: str, wanted: int = 4) -> list[Question]:
    return [Question(kind="attribute", classes=(label,), wanted=wanted) for label in labels]


def pairs(first: str, *others: str, **more: Any) -> list[Question]:
    return [Question(kind="pair", classes=(first, other), **{"wanted": 2, **more}) for other in others]


def run(
    server: LlmServer, path: Path, work: Work, *, tries: int = 3, timeout: float = 5.0, key: str = KEY, **options: Any
) -> Asker:
    """Do ``work`` with an Asker; it comes back with its tally, its store closed."""

    async def all_of_it() -> Asker:
        client = Client(model="m", base_url=server.url, key=key, timeout=timeout, tries=tries)
        try:
            with ReplyStore(path) as store:
                asker = Asker(client=client, store=store, **{"attempts": 3, "concurrency": 16, **options})
                made.append(asker)
                await work(asker)
                return asker
        finally:
            await client.close()

    made: list[Asker] = []
    return asyncio.run(all_of_it())


def asking(questions: Iterable[Question], *, seen: list[Any] | None = None, done: Any = None) -> Work:
    """Ask; ``seen`` gets the answer to each question that is settled."""

    async def work(asker: Asker) -> None:
        own = questions if seen is None else list(questions)
        await (asker.ask(own, done) if done else asker.ask(own))
        if seen is not None:
            seen.extend(asker.answer(question) for question in own)

    return work


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
