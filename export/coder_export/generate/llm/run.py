"""A run with an LLM: what will be asked and at what price, the asking, and what came back."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from coder_engine.counts import count_of
from coder_engine.errors import TextsError
from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.choose_pairs import affordable, check_choice, choose_pairs
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import ByClass, Draft
from coder_export.generate.llm.ask import Asker
from coder_export.generate.llm.client import Client
from coder_export.generate.llm.expert import LlmExpert
from coder_export.generate.llm.fits import fits_context
from coder_export.generate.llm.prices import Estimate, Price, bills_nobody, read_price
from coder_export.generate.llm.purse import BudgetSpent
from coder_export.generate.llm.questions import Question
from coder_export.generate.llm.store import ReplyStore
from coder_export.generate.pairs import Pair, PairChoice
from coder_export.generate.similarity import TextSpace
from coder_export.report import Report
from coder_export.templates import Templates

STORE = "replies.jsonl"


@dataclass(kw_only=True)
class LlmRun:
    """Writes the LLM's kinds of one draft.

    Attributes:
        missing: what could not be had, a line each.
    """

    config: TextsConfig
    draft: Draft
    kinds: tuple[str, ...]
    space: TextSpace | None
    report: Report
    missing: list[str] = field(default_factory=list)

    async def write(self) -> list[str]:
        """Ask for what the store does not have, and put all that it has into the draft; returns what is missing.

        Raises:
            TextsError: no key, no price within the budget, or the server will not answer. Replies so far are kept.
        """
        client, self._price = self._client(), self._read_price()
        with self._store() as store:
            asker = Asker(
                client=client,
                store=store,
                fits=fits_context(self.draft.templates_for(Templates().of_domain(self.draft.domain)), self.space),
                attempts=self.config.attempts,
                concurrency=self.config.concurrency,
                price=self._price,
                budget=self.config.budget,
            )
            try:
                await self._write(self._expert(asker))
            finally:
                await client.close()
                self._tell(asker)
        return [*self.missing, *asker.tally.failures]

    async def _write(self, expert: LlmExpert) -> None:
        choice = self.config.pairs or PairChoice.default(len(self.draft.labels))
        if "pair" in self.kinds:
            check_choice(choice, self.space)
        by_stage_one = choice.how == "seen"  # which reads the general texts: they come first
        pairs = [] if by_stage_one else self._choose(choice)
        pairs = self._plan(expert, self._general_questions(expert), pairs)
        if not self.config.dry_run:
            with self._within_budget():
                await self._ask_general(expert)
            self._collect_general(expert)
        if by_stage_one:
            pairs = self._plan(expert, [], self._choose(choice))
        if self.config.dry_run:
            return
        with self._within_budget():
            await expert.ask_pairs(pairs)
        duels = expert.collect_pairs(pairs)
        if any(duels.values()):
            self.draft.put_pairs(duels, expert.origin("pair", expert.pair_questions(pairs)))
        self.missing += expert.missing

    def _general_questions(self, expert: LlmExpert) -> list[Question]:
        attributes = expert.attribute_questions() if "attribute" in self.kinds else []
        return attributes + (expert.analogous_questions() if "analogous" in self.kinds else [])

    async def _ask_general(self, expert: LlmExpert) -> None:
        await expert.ask("attributes and analogues", self._general_questions(expert))
        if "analogous" in self.kinds:
            await expert.analogues(self._filter)

    def _collect_general(self, expert: LlmExpert) -> None:
        if "attribute" in self.kinds:
            self._put("attribute", expert.collect_attributes(), expert, expert.attribute_questions())
        if "analogous" in self.kinds:
            self._put("analogous", expert.collect_analogues(self._filter), expert, expert.analogous_questions())

    def _put(self, kind: str, texts: ByClass, expert: LlmExpert, questions: Sequence[Question]) -> None:
        if any(texts):  # a run that got nothing leaves what an earlier one wrote
            self.draft.put(kind, texts, expert.origin(kind, questions))

    def _choose(self, choice: PairChoice) -> list[Pair]:
        if "pair" not in self.kinds:
            return []
        return choose_pairs(choice, self.draft, self.space, self.report)[: self.config.max_pairs]

    def _plan(self, expert: LlmExpert, general: Sequence[Question], pairs: list[Pair]) -> list[Pair]:
        """Say what is left to ask and what it costs; returns the pairs that the budget affords.

        Raises:
            TextsError: not even the general texts are within the budget.
        """
        asker, budget = expert.asker, self.config.budget

        def estimate(some: list[Pair]) -> Estimate:
            return Estimate().add(asker.open_calls(general)).add(asker.open_calls(expert.pair_questions(some)))

        spent = self._price(asker.tally.tokens)
        least = estimate([]).money(self._price)
        if budget is not None and least > budget:
            raise TextsError(
                f"about ${least:.2f} for the general texts alone, the budget is ${budget:.2f}; raise --budget, or take "
                "fewer texts, fewer kinds or a cheaper model"
            )
        paid = {pair for pair in pairs if all(map(asker.settled, expert.pair_questions([pair])))}
        left = [pair for pair in pairs if pair not in paid]
        bought = set(affordable(left, lambda some: spent + estimate(some).money(self._price), budget)) | paid
        chosen = [pair for pair in pairs if pair in bought]
        self._tell_plan(estimate(chosen), len(general), len(chosen))
        if len(chosen) < len(pairs):
            self.missing.append(
                f"{len(pairs) - len(chosen):,} of {len(pairs):,} pairs are beyond the budget (--budget)"
            )
        return chosen

    def _tell_plan(self, estimate: Estimate, general: int, chosen: int) -> None:
        what = f"{general:,} general questions and {chosen:,} pairs"
        tokens = f"about {_tokens(estimate.tokens)}"
        money = f"about ${estimate.money(self._price):.2f}" if self._price.known else "no price known (--prices)"
        self.report.say(f"{what}: {estimate.calls:,} calls to make, {tokens}, {money}")

    @contextlib.contextmanager
    def _within_budget(self) -> Iterator[None]:
        try:
            yield
        except BudgetSpent:
            line = (
                f"the budget of ${self.config.budget:.2f} is spent, but for less than a call may cost; it is of one "
                "run: the same command goes on, and may spend as much again"
            )
            self.missing += [line] if line not in self.missing else []

    @cached_property  # it keeps the features of the names it has judged
    def _filter(self) -> AnalogueFilter:
        synonyms = self.draft.general.get("synonym", [()] * len(self.draft.labels))
        threshold = self.config.threshold
        return AnalogueFilter(labels=self.draft.labels, synonyms=synonyms, space=self.space, threshold=threshold)

    def _expert(self, asker: Asker) -> LlmExpert:
        return LlmExpert(
            asker=asker,
            labels=self.draft.labels,
            domain=self.config.domain,
            wanted={
                "attribute": self.config.attributes,
                "analogous": self.config.analogues,
                "pair": self.config.pair_texts,
            },
            report=self.report,
        )

    def _client(self) -> Client:
        base_url = self._base_url()
        key = os.environ.get("OPENAI_API_KEY", "")
        if not key and base_url is None and not self.config.dry_run:
            raise TextsError(
                "OPENAI_API_KEY is not set; set it to your key, or name a local server: --base-url http://localhost:8000/v1"
            )
        return Client(
            model=str(self.config.llm),
            base_url=base_url,
            key=key or "none",
            timeout=self.config.timeout,
            tries=self.config.tries,
            told=self.report.say,
        )

    def _base_url(self) -> str | None:
        return self.config.base_url or os.environ.get("OPENAI_BASE_URL") or None

    def _read_price(self) -> Price:
        price = read_price(str(self.config.llm), self.config.prices)
        if not price.known and self.config.budget is not None and not bills_nobody(self._base_url()):
            raise TextsError(
                f"no price is known for {self.config.llm!r}, so --budget cannot be kept; add it to a table "
                "(--prices FILE), or pass --budget none"
            )
        return price

    @contextlib.contextmanager
    def _store(self) -> Iterator[ReplyStore]:
        path = self.config.out / STORE
        with contextlib.ExitStack() as stack:
            if self.config.dry_run:  # reads a copy: opening the store mends its last line
                path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / STORE
                if (self.config.out / STORE).exists():
                    shutil.copyfile(self.config.out / STORE, path)
            yield stack.enter_context(ReplyStore(path))

    def _tell(self, asker: Asker) -> None:
        tally = asker.tally
        estimated = f"{tally.estimated:,} replies came without a count" if tally.estimated else ""
        lost = f"{count_of(tally.lost, 'call')} brought no reply" if tally.lost else ""
        if tally.calls or tally.failures or tally.lost:
            spent = f", ${self._price(tally.tokens):.2f}" if self._price.known else ""
            guessed = ", ".join(filter(None, (estimated, lost)))
            self.report.say(
                f"{tally.calls:,} replies ({tally.refused:,} answers refused, {asker.client.retries:,} calls repeated, "
                f"{len(tally.failures):,} given up), {_tokens(tally.tokens)}{spent}"
                f"{f' (estimated: {guessed})' if guessed else ''}"
            )


def _tokens(tokens: tuple[int, int]) -> str:
    return f"{tokens[0]:,} prompt and {tokens[1]:,} completion tokens"
