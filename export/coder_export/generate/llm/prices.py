"""What a run will cost before it starts: calls, tokens, and money by a table that the user can edit."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from coder_engine.errors import TextsError
from coder_export.generate.llm.questions import Question, messages

_CHARACTERS_A_TOKEN = 4
_TOKENS_A_TEXT = {"attribute": 16, "analogous": 6, "pair": 18}
"""Of the prompts' length: texts are at most 15 words, names of classes 1 to 4, with JSON's quotes and commas."""
_OWN_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("0.0.0.0/32", "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
"""Of this machine (the first is what many servers print as their address) and of private networks."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars a million tokens.

    Attributes:
        known: False where the model is not in the table, and counts as free.
    """

    prompt: float
    completion: float
    known: bool = True

    def __call__(self, tokens: tuple[int, int]) -> float:
        return (tokens[0] * self.prompt + tokens[1] * self.completion) / 1e6


@dataclass(kw_only=True)
class Estimate:
    """Calls and tokens of a run, as far as known beforehand: every reply accepted, analogues in one round."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, calls: Iterable[Sequence[Question]]) -> Estimate:
        """Count ``calls`` too."""
        for call in calls:
            self.calls += 1
            self.prompt_tokens += sum(len(message["content"]) for message in messages(call)) // _CHARACTERS_A_TOKEN
            self.completion_tokens += sum(map(_completion_tokens, call))
        return self

    @property
    def tokens(self) -> tuple[int, int]:
        """(prompt, completion)."""
        return self.prompt_tokens, self.completion_tokens

    def money(self, price: Price) -> float:
        """Dollars at ``price``."""
        return price(self.tokens)


def read_price(model: str, table: Path | None) -> Price:
    """The price of ``model`` by the user's table, or by the one in the package; an unknown model counts as free.

    A model that is not in it is looked up by what follows its last "/": gateways put its vendor before the name.

    Raises:
        TextsError: the table cannot be read, or an entry is not [prompt, completion].
    """
    where = str(table or "prices.json of the package")
    try:
        text = (
            table.read_text("utf-8")
            if table
            else (files("coder_export.generate.llm") / "prices.json").read_text("utf-8")
        )
        entries = json.loads(text)
    except OSError as err:
        raise TextsError(f"--prices {where}: cannot be read ({err.strerror})") from err
    except (ValueError, RecursionError) as err:
        raise TextsError(f'--prices {where}: not JSON ({err}); write {{"model": [prompt, completion]}}') from err
    name = model if not isinstance(entries, dict) or model in entries else model.rpartition("/")[2]
    if isinstance(entries, dict) and name not in entries:
        return Price(prompt=0.0, completion=0.0, known=False)
    entry = entries[name] if isinstance(entries, dict) else entries
    if not isinstance(entry, list) or len(entry) != 2 or not all(_is_price(number) for number in entry):
        raise TextsError(
            f"--prices {where}: expected {name!r}: [dollars a million prompt tokens, dollars a million completion "
            f"tokens], got {str(entry)[:80]}"
        )
    return Price(prompt=float(entry[0]), completion=float(entry[1]))


def bills_nobody(base_url: str | None) -> bool:
    """Whether a server is this machine or one of a private network, where a model without a price is free."""
    host = (urlsplit(base_url or "").hostname or "").removesuffix(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return bool(host) and ("." not in host or host.endswith(".local"))
    return any(address in network for network in _OWN_NETWORKS)


def _is_price(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < 1e6


def _completion_tokens(question: Question) -> int:
    sides = 2 if question.kind == "pair" else 1
    return sides * question.wanted * _TOKENS_A_TEXT[question.kind] + 20
