"""One chat call to any server that speaks OpenAI's protocol, with patience: retries, Retry-After, structured output."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from coder_engine.errors import TextsError
from coder_export.generate.llm.questions import Message

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds of back-off before the first retry and at the most; a server's own Retry-After may be longer."""
_TRY_AGAIN = (408, 409, 425, 429)
_OUT_OF_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
_FORMATS = ("json_schema", "json_object", "text")


class CallFailed(Exception):
    """One call had no reply after all its tries; others may still have one."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a call brought: the text, why the model stopped, and (prompt, completion) tokens as the server counted."""

    text: str
    finish: str
    tokens: tuple[int, int]


class Client:
    """A model behind an OpenAI-compatible server.

    Args:
        model: its name there.
        base_url: the server, "http://localhost:8000/v1"; None is OpenAI itself.
        key: API key; local servers take any. It is never stored, and cut out of every message.
        timeout: seconds a call may take.
        tries: how often a call is made before it counts as failed.
        told: called with a line for the user when something about the server changes.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None,
        key: str,
        timeout: float = 120.0,
        tries: int = 8,
        told: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.model = model
        self.retries = 0
        self._key = key
        self._tries = tries
        self._told = told
        self._format = _FORMATS[0]
        self._open_at = 0.0
        # Its own retries are off: they neither hold the other calls back after a 429 nor stop at an empty account.
        self._client = openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=timeout, max_retries=0)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def complete(self, messages: list[Message], schema: dict[str, Any]) -> Completion:
        """Ask once, whatever it takes.

        Raises:
            CallFailed: no reply in all tries.
            TextsError: no call can succeed: wrong key, no such model, account empty, or the request is refused.
        """
        failed, failure = 0, ""
        while failed < self._tries:
            await self._wait_for_opening()
            used = self._format
            try:
                return await self._call(messages, schema, used)
            except openai.APIStatusError as err:
                if self._simpler_format(err, used):
                    continue
                failure = self._failure(err)
                wait = _retry_after(err) or _back_off(failed)
                if err.status_code in (429, 503):
                    # The server is full for everybody: all workers wait, not only the one that was told.
                    self._open_at = max(self._open_at, time.monotonic() + wait)
            except openai.APIConnectionError as err:
                failure, wait = self._clean(f"{err} ({err.__cause__!r})"), _back_off(failed)
            except (openai.APIResponseValidationError, ValueError) as err:  # a body that is no completion
                failure, wait = self._clean(f"its answer could not be read ({err})"), _back_off(failed)
            self.retries += 1
            failed += 1
            if failed < self._tries:
                await asyncio.sleep(wait)
        raise CallFailed(f"{self._client.base_url}: no reply in {self._tries} tries; the last one: {failure}")

    async def _call(self, messages: list[Message], schema: dict[str, Any], form: str) -> Completion:
        extra: dict[str, Any] = {} if form == "text" else {"response_format": _response_format(form, schema)}
        reply: ChatCompletion = await self._client.chat.completions.create(
            model=self.model,
            messages=messages,  # type: ignore[arg-type]
            **extra,
        )
        choices = getattr(reply, "choices", None)
        if not choices:
            raise ValueError(f"no choices in it: {str(reply)[:200]}")
        message, usage = choices[0].message, reply.usage
        tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        text = message.content or getattr(message, "refusal", None) or ""
        return Completion(text=text, finish=choices[0].finish_reason or "", tokens=tokens)

    def _simpler_format(self, err: openai.APIStatusError, used: str) -> bool:
        """Whether the server refused the reply format of a call, and a simpler one is set for all calls from now on."""
        said = self._clean(str(err))
        if err.status_code not in (400, 404, 422) or "format" not in said.lower() or used == _FORMATS[-1]:
            return False
        if used == self._format:  # else another worker has changed it meanwhile
            self._format = _FORMATS[_FORMATS.index(used) + 1]
            self._told(f"the server refuses {used} replies ({said[:120]}); going on with {self._format}")
        return True

    def _failure(self, err: openai.APIStatusError) -> str:
        """What to tell of an error status; raises where no retry can help."""
        said = self._clean(str(err))
        if err.code in _OUT_OF_MONEY or getattr(err, "type", None) in _OUT_OF_MONEY:
            raise TextsError(f"the account of this key is empty: {said}; every reply so far is kept") from None
        if err.status_code in _TRY_AGAIN or err.status_code >= 500:
            return said
        todo = {
            401: "set OPENAI_API_KEY to a key of this server",
            403: "this key may not use the model",
            404: f"see which models the server has; asked for {self.model!r}",
        }.get(err.status_code, "see what the server says")
        raise TextsError(f"{self._client.base_url}: {said}; {todo}. Every reply so far is kept") from None

    def _clean(self, message: str) -> str:
        """Without the key, which servers like to repeat, and not longer than a terminal's screen."""
        return message.replace(self._key, "***")[:500] if self._key else message[:500]

    async def _wait_for_opening(self) -> None:
        while (wait := self._open_at - time.monotonic()) > 0:
            # A little apart, so that they do not all come back in the same instant.
            await asyncio.sleep(wait + random.uniform(0, 0.1 * min(wait, 5.0)))


def _response_format(form: str, schema: dict[str, Any]) -> dict[str, Any]:
    if form == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "texts", "strict": True, "schema": schema}}


def _back_off(attempt: int) -> float:
    """Exponential with full jitter above one half, in seconds."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0**attempt) * random.uniform(0.5, 1.0)


def _retry_after(err: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait: a number or an HTTP date."""
    headers = err.response.headers
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
