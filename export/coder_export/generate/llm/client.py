"""One chat call to any server that speaks OpenAI's protocol, with patience: retries, Retry-After, structured output."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from coder_engine.errors import TextsError
from coder_export.generate.llm.body import cap
from coder_export.generate.llm.completion import Completion, read_completion
from coder_export.generate.llm.questions import Message
from coder_export.generate.llm.waits import LONGEST_WAIT, Places, back_off, retry_after

_PATIENCE = 3600.0
"""Seconds that a server may ask for; past them the run ends, as its replies are kept."""
_CONNECT, _FIRST_TRIES = 10.0, 3
"""Seconds for a connection, and the tries that one is given while the server has never said anything."""
_LATE_TRIES = 3
"""Tries of a call that takes too long: it would again, and each one is paid for."""
_NEVER_SENT = (
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "LocalProtocolError",
    "UnsupportedProtocol",
)
"""What breaks before a request is sent."""
_TOLD_EVERY = 30.0
"""Seconds between two lines about calls that are made again."""
_TRY_AGAIN = (408, 409, 425, 429)
_OUT_OF_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
_FORMATS = ("json_schema", "json_object", "text")
_OF_FORMAT = re.compile(r"(?<![a-z])format|json_schema|json_object|structured output", re.IGNORECASE)
"""In what a server says of a reply format; "for more information" is none of it."""
_NO_URL = re.compile(r"[\s\x00-\x1f\x7f]")


class CallFailed(Exception):
    """One call had no reply after all its tries; others may still have one."""


class Stopped(Exception):
    """Nothing more is asked, as no call can succeed; those that were sent have had their reply."""


Try = Callable[[], Awaitable[Completion]]
Pay = Callable[[Try], Awaitable[Completion]]


async def _unpaid(one: Try) -> Completion:
    return await one()


@dataclass(kw_only=True)
class _Call:
    """A call, and what became of its tries.

    Attributes:
        served: replies that the client had when this one was last told that the server is full.
        form: the reply format of the last try.
        failed: tries that count against it.
        late: those of them that took too long.
        since: when it was first to be sent.
    """

    messages: list[Message]
    schema: dict[str, Any]
    served: int
    form: str = _FORMATS[0]
    failed: int = 0
    late: int = 0
    since: float = field(default_factory=time.monotonic)


class Client:
    """A model behind an OpenAI-compatible server.

    Args:
        model: its name there.
        base_url: the server, "http://localhost:8000/v1"; None is OpenAI itself.
        key: API key; local servers take any. It is never stored, and cut out of every message.
        timeout: seconds a call may take, from its first byte to its last.
        tries: how often a call is made before it counts as failed; one that takes too long, 3 times at most.
        told: called with a line for the user when something about the server changes.

    Attributes:
        retries: calls that were made again.
        under_way: calls that are sent and have no reply yet.

    Raises:
        TextsError: the address or the key cannot be one.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None,
        key: str,
        timeout: float,
        tries: int,
        told: Callable[[str], object] = lambda line: None,
    ) -> None:
        key = key.strip()  # a line end read with it would be refused, in a message that shows the key
        if not key or not key.isascii() or not key.isprintable():
            raise TextsError("the API key is empty or has characters that no key has; set OPENAI_API_KEY again")
        if base_url is not None and not _is_address(base_url):
            raise TextsError(f"{base_url!r} is no address of a server; write it like http://localhost:8000/v1")
        self.model = model
        self.retries = self.under_way = 0
        self._key = key
        self._timeout = timeout
        self._tries = tries
        self._told = told
        self._format = _FORMATS[0]
        self._open_at = self._told_until = 0.0
        self._heard = False
        self._served = 0
        self._places = Places()
        self._stopped = asyncio.Event()
        # Its own retries are off: they neither hold the other calls back after a 429 nor stop at an empty account.
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT)),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [cap, self._hear]}),
        )
        self._server = re.sub("//[^/@]*@", "//", str(self._client.base_url))  # without a password in it

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def stop(self) -> None:
        """Ask nothing more: calls that wait for their next try end at once, those that were sent with their reply."""
        self._stopped.set()
        self._places.lift()

    async def complete(self, messages: list[Message], schema: dict[str, Any], pay: Pay = _unpaid) -> Completion:
        """Ask once, whatever it takes.

        Args:
            pay: makes one try, and may raise rather than make it.

        Raises:
            CallFailed: no reply in all tries, or the server will not take this request (a content filter, a limit).
            TextsError: no call can succeed: nobody at this address, wrong key, no such model, account empty.
            Stopped: see :meth:`stop`.
        """
        call = _Call(messages=messages, schema=schema, served=self._served)
        while True:
            try:
                return await pay(lambda: self._try(call))
            except openai.APIStatusError as err:
                if self._simpler_format(err, call.form):
                    continue
                failure, wait = self._refused(call, err)
            except (openai.APIConnectionError, asyncio.TimeoutError) as err:
                failure, wait = self._broken(call, err), back_off(call.failed - 1)
            except (openai.APIResponseValidationError, ValueError, RecursionError) as err:  # no completion
                failure, wait = self._clean(f"its answer could not be read ({err})"), back_off(call.failed)
                call.failed += 1
            if call.failed >= self._tries or call.late >= _LATE_TRIES:
                raise CallFailed(f"{self._server}: no reply in {call.failed} tries; the last one: {failure}")
            self.retries += 1
            self._tell_retry(call, failure)
            await self._pause(wait)

    async def _try(self, call: _Call) -> Completion:
        """Send a call when it is its turn."""
        async with self._places.one() as place:
            await self._wait_for_opening()
            call.form, place.since = self._format, time.monotonic()
            self.under_way += 1
            try:
                completion = await self._send(call)
            except openai.RateLimitError:
                self._places.halve(place)
                raise
            finally:
                self.under_way -= 1
            self._places.grow()
            self._served += 1
            return completion

    async def _send(self, call: _Call) -> Completion:
        form = call.form
        extra: dict[str, Any] = {} if form == "text" else {"response_format": _response_format(form, call.schema)}
        reply = self._client.chat.completions.create(
            model=self.model,
            messages=call.messages,  # type: ignore[arg-type]
            **extra,
        )
        # openai's own timeout begins anew with every part of the body.
        return read_completion(await asyncio.wait_for(reply, self._timeout))

    def _refused(self, call: _Call, err: openai.APIStatusError) -> tuple[str, float]:
        """What to tell of an error status, and the seconds to wait; raises where no retry can help."""
        failure = self._failure(err)
        wait = retry_after(err.response.headers) or back_off(call.failed)
        self._tell_long(wait, failure)
        if err.status_code in (429, 503):
            self._hold_all(wait)
        if err.status_code != 429 or self._is_stuck(call):
            call.failed += 1
        return failure, wait

    def _is_stuck(self, call: _Call) -> bool:
        """Whether a call gets nowhere: a server that was full for it has served no other since it was last here.

        Where it has, the call only waits for its turn, for an hour at most.
        """
        served, call.served = call.served, self._served
        return served == self._served or time.monotonic() - call.since > _PATIENCE

    def _broken(self, call: _Call, err: openai.APIConnectionError | asyncio.TimeoutError) -> str:
        """What to tell of a try whose connection broke or was too slow; raises where there never was one."""
        call.failed += 1
        if was_sent(err) and isinstance(err, (openai.APITimeoutError, asyncio.TimeoutError)):
            call.late += 1
            return f"not whole after {self._timeout:g} seconds; raise --timeout"
        self._check_there(err, call.failed)
        return self._clean(f"{err} ({err.__cause__!r})")

    async def _hear(self, response: object) -> None:
        self._heard = True

    def _check_there(self, err: Exception, tries: int) -> None:
        """Raises where no connection was ever made: that is a wrong address, or a server that does not run."""
        cause = err.__cause__
        if not self._heard and tries >= _FIRST_TRIES and type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
            raise TextsError(
                f"{self._server}: no server answers there ({cause or err}); start it, or mend --base-url"
            ) from None

    def _simpler_format(self, err: openai.APIStatusError, used: str) -> bool:
        """Whether the server refused the reply format of a call, and a simpler one is set for all calls from now on."""
        said = self._said(err)
        about_format = _OF_FORMAT.search(f"{said} {err.param}")
        if err.status_code not in (400, 404, 422) or not about_format or used == _FORMATS[-1]:
            return False
        if used == self._format:  # else another worker has changed it meanwhile
            self._format = _FORMATS[_FORMATS.index(used) + 1]
            self._told(f"the server refuses {used} replies ({said[:120]}); going on with {self._format}")
        return True

    def _failure(self, err: openai.APIStatusError) -> str:
        """What to tell of an error status; raises where no retry can help: this call, or any call at all."""
        said = self._said(err)
        if err.code in _OUT_OF_MONEY or getattr(err, "type", None) in _OUT_OF_MONEY:
            raise TextsError(f"the account of this key is empty: {said}; every reply so far is kept") from None
        if err.status_code in _TRY_AGAIN or err.status_code >= 500:
            return said
        todo = {
            401: "set OPENAI_API_KEY to a key of this server",
            403: "this key may not use the model",
            404: f"see which models the server has; asked for {self.model!r}",
        }.get(err.status_code)
        if todo is None:  # a content filter, or a prompt that is too long for this model: the next one may pass
            raise CallFailed(f"{self._server}: {said}") from None
        raise TextsError(f"{self._server}: {said}; {todo}. Every reply so far is kept") from None

    def _said(self, err: openai.APIStatusError) -> str:
        """What the server said; openai's message leaves a body out that is not in OpenAI's form."""
        said = err.body.get("message") if isinstance(err.body, dict) else None
        return self._clean(f"Error code: {err.status_code} - {said or err.response.text or 'no more was said'}")

    def _hold_all(self, wait: float) -> None:
        """The server is full for everybody: all workers wait, not only the one that was told."""
        self._open_at = max(self._open_at, time.monotonic() + wait)

    def _tell_long(self, wait: float, failure: str) -> None:
        """Tell once of a wait that would look like a hang; raises where it is too long to stay for."""
        asks = f"asks to be called again in {wait:,.0f} seconds"
        if wait > _PATIENCE:
            raise TextsError(
                f"{self._server}: {failure}; it {asks}. Every reply so far is kept: run the same command again then"
            )
        until = time.monotonic() + wait
        if wait > LONGEST_WAIT and until > self._told_until + 1.0:
            self._told(f"the server {asks}; waiting")
            self._told_until = until

    def _tell_retry(self, call: _Call, failure: str) -> None:
        """Now and then, why it takes so long: every retry told would be thousands of lines."""
        now = time.monotonic()
        if now >= self._told_until:
            left = min(self._tries - call.failed, _LATE_TRIES - call.late if call.late else self._tries)
            # None failed: the server is full, and serves others.
            times = f" ({call.failed} of {call.failed + left - 1} times)" if call.failed else ""
            self._told(f"trying again{times}: {' '.join(failure.split())[:160]}")
            self._told_until = now + _TOLD_EVERY

    def _clean(self, message: str) -> str:
        """Without the key, which servers like to repeat, and not longer than a terminal's screen."""
        return message.replace(self._key, "***")[:500] if self._key else message[:500]

    async def _wait_for_opening(self) -> None:
        while (wait := self._open_at - time.monotonic()) > 0:
            # A little apart, so that they do not all come back in the same instant.
            await self._pause(wait + random.uniform(0, 0.1 * min(wait, 5.0)))
        await self._pause(0.0)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
        if self._stopped.is_set():
            raise Stopped


def was_sent(err: BaseException) -> bool:
    """Whether a try that broke or was too slow had reached the server, which may bill it."""
    if isinstance(err, openai.APIConnectionError):
        return type(err.__cause__).__name__ not in _NEVER_SENT
    return isinstance(err, asyncio.TimeoutError)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not _NO_URL.search(url)
        )
    except ValueError:  # brackets without an address in them, a port that is none
        return False


def _response_format(form: str, schema: dict[str, Any]) -> dict[str, Any]:
    if form == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "texts", "strict": True, "schema": schema}}
