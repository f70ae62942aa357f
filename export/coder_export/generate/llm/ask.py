"""Ask an LLM many questions at once: stored replies first, refused ones again with the reason, bounded in memory."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from itertools import groupby, islice

from coder_engine.cli.output import tell
from coder_engine.counts import count_of
from coder_engine.errors import TextsError
from coder_export.generate.llm.client import CallFailed, Client, Stopped, Try, was_sent
from coder_export.generate.llm.completion import Completion
from coder_export.generate.llm.prices import Estimate
from coder_export.generate.llm.purse import BudgetSpent, Purse, Tokens
from coder_export.generate.llm.questions import Question, messages, prompt_sha256, schema
from coder_export.generate.llm.replies import Answer, Fits, judge
from coder_export.generate.llm.store import Reply, ReplyStore

PAIRS_A_CALL = 5
"""Pairs of one class that one call asks for: shares the prompt, and stays short enough for small models to finish."""


@dataclass(kw_only=True)
class Tally:
    """What a run did.

    Attributes:
        failures: why calls failed for good, in words.
        tokens: (prompt, completion), as the server counted.
        estimated: calls of which it did not, in ``tokens`` by their estimate.
        lost: tries that were sent and brought no reply, in ``tokens`` by their estimate.
    """

    calls: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    tokens: tuple[int, int] = (0, 0)
    estimated: int = 0
    lost: int = 0


@dataclass(kw_only=True)
class Asker:
    """Questions in, answers in the store.

    Attributes:
        attempts: replies to a question before it is given up.
        concurrency: calls in flight at once.
        price: money a call costs by its (prompt, completion) tokens.
        budget: money this run may spend; None: no limit.
    """

    client: Client
    store: ReplyStore
    attempts: int
    concurrency: int
    fits: Fits | None = None
    price: Callable[[tuple[int, int]], float] = lambda tokens: 0.0
    budget: float | None = None
    tally: Tally = field(default_factory=Tally)
    _failed_in_a_row: int = 0
    _interrupted: bool = False
    _settled: set[str] = field(default_factory=set)

    def answer(self, question: Question) -> Answer | None:
        """The first accepted answer in the store, else the refused one with most good texts; None: never asked."""
        answers = self._answers(question)
        return next((a for a in answers if a.accepted), max(answers, key=lambda a: a.count, default=None))

    def settled(self, question: Question) -> bool:
        """Whether asking on would change nothing: there is an accepted answer, or all attempts are used up."""
        key = question.key(self.client.model)
        if key not in self._settled:
            answers = self._answers(question)
            if len(answers) < self.attempts and not any(answer.accepted for answer in answers):
                return False
            self._settled.add(key)  # it stays so, and judging again is most of the work
        return True

    def open_calls(self, questions: Iterable[Question]) -> Iterator[list[Question]]:
        """The calls that ``questions`` still need, one after the other as they are consumed."""
        return grouped(question for question in questions if not self.settled(question))

    async def ask(self, questions: Iterable[Question], done: Callable[[int], object] = lambda count: None) -> None:
        """Ask until each question is settled or its calls have failed.

        Args:
            questions: any number; only the calls in flight are held.
            done: called with the number of calls just ended.

        Raises:
            TextsError: no call can succeed (see ``Client.complete``), or so many failed that the server is gone.
            BudgetSpent: the budget is used up.
            KeyboardInterrupt: a signal asked for the end.
                All are raised when the calls in flight, which are paid for, have ended: a second signal does not wait
                for them. Replies so far are stored in every case.
        """
        calls = self.open_calls(questions)
        workers = [asyncio.create_task(self._work(calls, done)) for _ in range(self.concurrency)]
        try:
            with _first_interrupt(self._interrupt):
                ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
                failed = next((fault for worker in ended if (fault := worker.exception())), None)
                if failed:
                    self.client.stop()
                    await asyncio.wait(workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if failed:
            raise failed
        if self._interrupted:
            raise KeyboardInterrupt
        if any(worker.result() for worker in workers):
            raise BudgetSpent

    def _interrupt(self) -> None:
        """Ask nothing more, and let the calls in flight end. A signal handler: the loop does the work."""
        self._interrupted = True
        asyncio.get_running_loop().call_soon_threadsafe(self._wind_up)

    def _wind_up(self) -> None:
        self.client.stop()
        if self.client.under_way:
            calls = count_of(self.client.under_way, "call")
            tell(f"coder-texts: interrupted; waiting for {calls} under way, paid for: a second Ctrl-C ends at once")

    async def _work(self, calls: Iterator[list[Question]], done: Callable[[int], object]) -> bool:
        """Whether it ended because the budget is spent."""
        for call in calls:
            try:
                await self._settle(call)
                self._failed_in_a_row = 0
            except BudgetSpent:
                return True
            except Stopped:
                return False
            except CallFailed as err:
                self.tally.failures.append(f"{_names(call)}: {err}")
                self._failed_in_a_row += 1
                if self._failed_in_a_row == max(self.concurrency, 8):
                    raise TextsError(
                        f"{self._failed_in_a_row} calls in a row had no reply, the last one: {err}. Every reply so far "
                        "is kept: see to the server and run the same command again"
                    ) from err
            done(1)
        return False

    async def _settle(self, call: Sequence[Question]) -> None:
        while call:
            reasons = {question: self._reasons(question) for question in call}
            kind, estimate = call[0].kind, Estimate().add([call]).tokens
            completion = await self.client.complete(messages(call, reasons), schema(kind), self._paying(estimate))
            reply = Reply(
                keys=tuple(question.key(self.client.model) for question in call),
                kind=kind,
                classes=tuple(question.classes for question in call),
                model=self.client.model,
                prompt=prompt_sha256(kind),
                text=completion.text,
                finish=completion.finish,
                tokens=completion.tokens,
                time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
            self.store.append(reply)
            self.tally.calls += 1
            refused = [question for question in call if not self._judge(question, reply).accepted]
            self._settled.update(question.key(self.client.model) for question in call if question not in refused)
            self.tally.refused += len(refused)
            call = [question for question in refused if not self.settled(question)]

    def _paying(self, estimate: Tokens) -> Callable[[Try], Awaitable[Completion]]:
        """Makes one try of a call within the budget: money is set aside for it, and what it cost is noted."""

        async def pay(one: Try) -> Completion:
            async with self._purse.call(estimate):
                try:
                    completion = await one()
                except Exception as err:
                    if was_sent(err):  # the server goes on, and bills what nobody reads
                        self.tally.lost += 1
                        self._count(estimate)
                        self._purse.lost(estimate)
                    raise
                # Of a server that counts none they are estimated, or no budget would ever be spent.
                self.tally.estimated += completion.tokens == (0, 0)
                tokens = estimate if completion.tokens == (0, 0) else completion.tokens
                self._count(tokens)
                self._purse.paid(tokens, estimate)
                return completion

        return pay

    def _count(self, tokens: Tokens) -> None:
        prompt, completion = self.tally.tokens
        self.tally.tokens = (prompt + tokens[0], completion + tokens[1])

    @cached_property  # made in the loop that runs the calls
    def _purse(self) -> Purse:
        return Purse(self.price, self.budget)

    def _answers(self, question: Question) -> list[Answer]:
        return [self._judge(question, reply) for reply in self.store.replies(question.key(self.client.model))]

    def _judge(self, question: Question, reply: Reply) -> Answer:
        answer = judge(question, reply.text, self.fits)
        if answer.problems and reply.finish == "length":
            return Answer(texts=answer.texts, against=answer.against, problems=("it was cut off; write less",))
        return answer

    def _reasons(self, question: Question) -> tuple[str, ...]:
        answers = self._answers(question)
        return answers[-1].problems if answers else ()


@contextmanager
def _first_interrupt(caught: Callable[[], object]) -> Iterator[None]:
    """In the block the first signal to end calls ``caught``; the next one does what it did before the block.

    A signal that is ignored, or ends the process by itself, is left alone. Only a main thread may choose.
    """
    here = threading.current_thread() is threading.main_thread()
    asked = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    before = {one: handler for one in asked if callable(handler := signal.getsignal(one))}

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def handle(number: int, frame: object) -> None:
        restore()
        caught()

    for one in before:
        signal.signal(one, handle)
    try:
        yield
    finally:
        restore()


def grouped(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """Questions as calls: pairs of one first class share a call, all else is asked alone."""
    for _, same in groupby(questions, key=lambda q: (q.kind, q.classes[0], q.domain, q.wanted)):
        while call := list(islice(same, PAIRS_A_CALL)):
            if call[0].kind == "pair":
                yield call
            else:
                yield from ([question] for question in call)


def _names(call: Sequence[Question]) -> str:
    names = ", ".join(" against ".join(question.classes) for question in call[:3])
    return f"{call[0].kind} texts of {names}{', ...' if len(call) > 3 else ''}"
