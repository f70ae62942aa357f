"""The LLM as expert: attributes, analogues and one-to-one texts, asked, filtered and collected from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.llm.ask import PAIRS_A_CALL, Asker
from coder_export.generate.llm.questions import Question, prompt_sha256
from coder_export.generate.llm.replies import Answer
from coder_export.generate.pairs import Pair
from coder_export.report import Report
from coder_export.words import some

ROUNDS = 5
"""How often a class is asked for analogues: once, and then for more in place of dropped ones."""


@dataclass(kw_only=True)
class LlmExpert:
    """Asks one model about one label set.

    Attributes:
        wanted: texts by kind (each way for a pair).
        missing: what could not be had, in words, for the summary.
    """

    asker: Asker
    labels: tuple[str, ...]
    domain: str
    wanted: dict[str, int]
    report: Report
    missing: list[str] = field(default_factory=list)

    def attribute_questions(self) -> list[Question]:
        """One for each class."""
        return [self._question("attribute", label) for label in self.labels]

    def analogous_questions(self) -> list[Question]:
        """The first round's: one for each class."""
        return [self._question("analogous", label) for label in self.labels]

    def pair_questions(self, pairs: Sequence[Pair]) -> list[Question]:
        """One for each pair; pairs of one class stand together, so that they share calls."""
        return [self._pair_question(pair) for pair in sorted(pairs)]

    async def ask(self, what: str, questions: Sequence[Question]) -> None:
        """Ask whatever of ``questions`` is not settled by the store."""
        calls = sum(1 for _ in self.asker.open_calls(questions))
        if calls:
            with self.report.progress(what, calls) as advance:
                await self.asker.ask(questions, advance)

    async def ask_pairs(self, pairs: Sequence[Pair]) -> None:
        """Ask about ``pairs`` in their order, so that those left out where the money ends are the least needed.

        A call takes the next ones of its first class along.
        """
        calls: list[list[Question]] = []
        begun: dict[str, list[Question]] = {}
        for question in map(self._pair_question, pairs):
            if self.asker.settled(question):
                continue
            call = begun.get(question.classes[0], [])
            if len(call) % PAIRS_A_CALL == 0:
                call = begun[question.classes[0]] = []
                calls.append(call)
            call.append(question)
        await self.ask("pairs", [question for call in calls for question in call])

    async def analogues(self, choose: AnalogueFilter) -> None:
        """Ask for analogues, and then for as many more as were dropped, in ``ROUNDS`` rounds at most."""
        asked: set[Question] = set()
        for again in range(ROUNDS):
            # One that had no reply in all its tries is not asked for ever.
            questions = [question for question in self._analogue_rounds(choose)[1] if question not in asked]
            if not questions:
                return
            asked.update(questions)
            await self.ask("analogues" if again == 0 else f"analogues, round {again + 1}", questions)

    def collect_attributes(self) -> list[tuple[str, ...]]:
        """The attribute texts in the store, by class id."""
        return [self._answer(question).texts for question in self.attribute_questions()]

    def collect_analogues(self, choose: AnalogueFilter) -> list[list[str]]:
        """The analogues in the store that stay, by class id."""
        kept = self._analogue_rounds(choose)[0]
        short = [label for label, own in zip(self.labels, kept, strict=True) if len(own) < self.wanted["analogous"]]
        if short:
            self.missing.append(
                f"{len(short)} classes have fewer than {self.wanted['analogous']} analogues: no more were given, or "
                f"they were names of other classes or too near to one: {some(short)}"
            )
        return kept

    def collect_pairs(self, pairs: Sequence[Pair]) -> dict[Pair, tuple[str, ...]]:
        """The one-to-one texts in the store, both directions of ``pairs``."""
        ids = {label: i for i, label in enumerate(self.labels)}
        found: dict[Pair, tuple[str, ...]] = {}
        for question in self.pair_questions(pairs):
            a, b = (ids[label] for label in question.classes)
            answer = self._answer(question)
            found[a, b], found[b, a] = answer.texts, answer.against
        return found

    def origin(self, kind: str, questions: Sequence[Question]) -> dict[str, Any]:
        """Where the texts of a kind came from. The date is the last reply's, so that equal stores give equal sets."""
        model, store = self.asker.client.model, self.asker.store
        times = [reply.time for question in questions for reply in store.replies(question.key(model))]
        return {
            "expert": "llm",
            "model": model,
            "prompt_sha256": prompt_sha256(kind),
            "date": max(times, default=None),
            "domain": self.domain,
        }

    def _analogue_rounds(self, choose: AnalogueFilter) -> tuple[list[list[str]], list[Question]]:
        """Replay the rounds from the store: what is kept by class id, and the questions that are still open.

        Each class goes through its rounds by itself: one that has no reply holds no other up.
        """
        wanted = self.wanted["analogous"]
        kept: list[list[str]] = [[] for _ in self.labels]
        refused: list[list[str]] = [[] for _ in self.labels]
        questions = dict(enumerate(self.analogous_questions()))
        still_open: list[Question] = []
        for _ in range(ROUNDS):
            proposals = [self._proposals(questions.get(i)) for i in range(len(self.labels))]
            for i, (good, dropped) in enumerate(zip(*choose.sort(proposals), strict=True)):
                kept[i] = list(dict.fromkeys([*kept[i], *good]))[:wanted]
                refused[i] += dropped
            settled = {i for i, question in questions.items() if self.asker.settled(question)}
            still_open += [question for i, question in questions.items() if i not in settled]
            # A class whose last reply held nothing new has no more to give.
            questions = {
                i: self._question(
                    "analogous",
                    self.labels[i],
                    wanted=wanted - len(kept[i]),
                    excluded=(*kept[i], *dict.fromkeys(refused[i])),
                )
                for i in sorted(settled)
                if len(kept[i]) < wanted and proposals[i]
            }
        return kept, still_open

    def _proposals(self, question: Question | None) -> tuple[str, ...]:
        answer = None if question is None else self.asker.answer(question)
        return answer.texts if answer else ()

    def _pair_question(self, pair: Pair) -> Question:
        return self._question("pair", *(self.labels[i] for i in pair))

    def _question(
        self, kind: str, *classes: str, wanted: int | None = None, excluded: tuple[str, ...] = ()
    ) -> Question:
        return Question(
            kind=kind, classes=classes, domain=self.domain, wanted=wanted or self.wanted[kind], excluded=excluded
        )

    def _answer(self, question: Question) -> Answer:
        """What the store has; what is wrong with it goes to ``missing``."""
        answer = self.asker.answer(question)
        names = " against ".join(question.classes)
        if answer is None:
            self.missing.append(f"{question.kind} texts of {names}: no reply")
        elif not answer.accepted:
            faults = "; ".join(answer.problems)
            self.missing.append(f"{question.kind} texts of {names}: kept {answer.count} of a faulty reply: {faults}")
        return answer or Answer()
