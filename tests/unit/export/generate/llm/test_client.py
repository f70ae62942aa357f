"""One chat call over real HTTP: patience with a bad server, none with a hopeless one, the key in no message."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm import client as module
from coder_export.generate.llm.client import CallFailed, Client, Completion

KEY = "sk-very-secret-0123456789"
MESSAGES = [{"role": "user", "content": "say it"}]
SCHEMA = {"type": "object", "properties": {}}
Reply = tuple[int, dict[str, str], bytes]
Respond = Callable[[dict[str, Any]], Reply]


class Server(ThreadingHTTPServer):
    """Answers a request with what ``respond`` makes of its body. X-How: "drop" sends it byte by byte, "cut" by half."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, respond: Respond) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.times.append(time.time())
        self.server.bodies.append(body)
        self.server.keys.append(self.headers["Authorization"])
        status, headers, data = self.server.respond(body)
        how = headers.get("X-How")
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has gone
            for part in [data[i : i + 1] for i in range(len(data))] if how == "drop" else [data]:
                time.sleep(0.02 if how == "drop" else 0.0)
                self.wfile.write(part[: len(part) // 2] if how == "cut" else part)
                self.wfile.flush()
            if how == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def responding(respond: Respond) -> Iterator[Server]:
    server = Server(respond)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def in_turn(*replies: Reply) -> Respond:
    """One reply after the other; the last one for ever."""
    left = list(replies)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


def say(status: int, body: object, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, names, body if isinstance(body, bytes) else json.dumps(body).encode()


def error(status: int, message: str, *, headers: dict[str, str] | None = None, **more: str) -> Reply:
    return status, headers or {}, json.dumps({"error": {"message": message, **more}}).encode()


def completion(message: object = "it", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": message} if not isinstance(message, dict) else message
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], **more}


GOOD = say(200, completion(usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}))


async def closing(client: Client, work: Callable[[Client], Any]) -> Any:
    try:
        return await work(client)
    finally:
        await client.close()


def client_of(url: str, **options: Any) -> Client:
    return Client(**{"model": "m", "base_url": url, "key": KEY, "timeout": 5.0, "tries": 3, **options})


def ask(client: Client) -> Completion:
    answer: Completion = asyncio.run(closing(client, lambda own: own.complete(MESSAGES, SCHEMA)))
    return answer


def ask_many(client: Client, count: int) -> list[Completion]:
    async def work(own: Client) -> list[Completion]:
        return await asyncio.gather(*(own.complete(MESSAGES, SCHEMA) for _ in range(count)))

    answers: list[Completion] = asyncio.run(closing(client, work))
    return answers


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


def test_a_call_asks_for_the_schema_and_brings_text_finish_and_tokens() -> None:
    with responding(in_turn(GOOD)) as server:
        client = client_of(server.url)
        assert ask(client) == Completion(text="it", finish="stop", tokens=(7, 3))
    assert client.retries == 0
    [body] = server.bodies
    assert body["model"] == "m"
    assert body["messages"] == MESSAGES
    form = {"name": "texts", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": form}
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "bad",
    [
        *(error(status, "later") for status in (408, 409, 425, 429, 500, 502, 503, 529)),
        say(200, completion(), X_How="cut"),
        say(200, b"<html>gateway</html>", Content_Type="text/html"),
        say(200, b"<html>gateway</html>"),
        say(200, b"\xff\xfe\xfa"),
        say(200, b'{"a":' * 20_000),
        say(200, {"error": {"message": "upstream"}}),
        *(say(200, body) for body in (None, 5, "x", [], {})),
        *(say(200, {"choices": choices}) for choices in (None, [], [None], [{}], "abc", {"0": 1}, [{"message": None}])),
        *(say(200, completion(content)) for content in (["a part"], 5)),
    ],
    ids=lambda bad: f"{bad[0]}-{bad[2][:24]!r}",
)
def test_a_passing_fault_is_asked_again(bad: Reply) -> None:
    with responding(in_turn(bad, GOOD)) as server:
        client = client_of(server.url)
        assert ask(client).text == "it"
    assert client.retries == 1
    assert len(server.times) == 2


def test_a_lasting_fault_ends_after_all_tries() -> None:
    with responding(in_turn(error(500, "broken"))) as server:
        client = client_of(server.url)
        with pytest.raises(CallFailed, match=r"^http://127.*/v1/: no reply in 3 tries; the last .*: 500 - broken$"):
            ask(client)
    assert len(server.times) == 3
    assert client.retries == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (say(200, b"<html>"), r"its answer could not be read \(Expecting value"),
        (say(200, {"error": "no"}), "no choices in it: ChatCompletion"),
        (say(200, completion(["a part"])), r"its content is no string: \['a part'\]"),
        (say(200, completion(), X_How="cut"), "Connection error.*RemoteProtocolError"),
        (say(500, b""), "Error code: 500 - no more was said"),
        (say(500, {"detail": "out of memory"}), 'Error code: 500 - {"detail": "out of memory"}'),
    ],
)
def test_the_last_fault_is_told(reply: Reply, said: str) -> None:
    with responding(in_turn(reply)) as server, pytest.raises(CallFailed, match=said):
        ask(client_of(server.url, tries=1))


def test_messages_of_the_server_are_cut() -> None:
    with responding(in_turn(error(500, "x" * 10_000))) as server, pytest.raises(CallFailed) as caught:
        ask(client_of(server.url, tries=1))
    assert len(str(caught.value)) < 700


def test_a_silent_server_is_timed_out() -> None:
    def hang(body: dict[str, Any]) -> Reply:
        time.sleep(0.3)
        return GOOD

    with responding(hang) as server, pytest.raises(CallFailed, match=r"timed out|not whole after 0\.1 seconds"):
        ask(client_of(server.url, timeout=0.1, tries=2))


def test_a_reply_in_drops_is_timed_out() -> None:
    start = time.monotonic()
    with (
        responding(in_turn(say(200, completion("a" * 500), X_How="drop"))) as server,
        pytest.raises(CallFailed, match=r"not whole after 0\.2 seconds"),
    ):
        ask(client_of(server.url, timeout=0.2, tries=2))
    assert time.monotonic() - start < 5  # and not the twelve of one whole body


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(CallFailed, match=r"no reply in 2 tries; the last one: Connection error\. \(ConnectError"):
            ask(client_of(url, tries=2))


@pytest.mark.parametrize("headers", [{"Retry-After": "0.3"}, {"Retry-After-Ms": "300", "Retry-After": "0"}])
@pytest.mark.parametrize("status", [429, 503, 500])
def test_the_server_says_when(headers: dict[str, str], status: int) -> None:
    with responding(in_turn(error(status, "slow down", headers=headers), GOOD)) as server:
        ask(client_of(server.url))
    assert server.times[1] - server.times[0] >= 0.29


def test_the_server_says_when_by_a_date() -> None:
    def date(body: dict[str, Any]) -> Reply:
        if opens:
            return GOOD
        opens.append(int(time.time()) + 1)
        return error(429, "full", headers={"Retry-After": email.utils.formatdate(opens[0], usegmt=True)})

    opens: list[int] = []
    with responding(date) as server:
        ask(client_of(server.url))
    assert server.times[1] >= opens[0] - 0.01


@pytest.mark.parametrize(
    "when",
    ["-5", "0", "nan", "inf", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT"],
)
def test_no_sensible_time_is_the_own_back_off(when: str) -> None:
    with responding(in_turn(error(429, "full", headers={"Retry-After": when}), GOOD)) as server:
        ask(client_of(server.url))
    assert 0.004 < server.times[1] - server.times[0] < 1.0


@pytest.mark.parametrize(("status", "held"), [(429, True), (503, True), (500, False)])
def test_a_full_server_holds_all_workers_back(status: int, held: bool) -> None:
    replies = in_turn(error(status, "full", headers={"Retry-After": "0.4"}), GOOD)

    async def work(client: Client) -> None:
        first = asyncio.create_task(client.complete(MESSAGES, SCHEMA))
        while not server.times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await asyncio.gather(first, *(client.complete(MESSAGES, SCHEMA) for _ in range(5)))

    with responding(replies) as server:
        asyncio.run(closing(client_of(server.url), work))
    assert len(server.times) == 7
    assert all(later - server.times[0] >= 0.39 for later in server.times[1:]) == held


def test_a_long_wait_is_told_once() -> None:
    told: list[str] = []

    async def work(client: Client) -> None:
        calls = asyncio.gather(*(client.complete(MESSAGES, SCHEMA) for _ in range(4)))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(calls, 0.4)

    with responding(in_turn(error(429, "tomorrow", headers={"Retry-After": "3600"}))) as server:
        asyncio.run(closing(client_of(server.url, told=told.append), work))
    assert told == ["the server asks for 3,600 seconds without calls; waiting"]


def test_back_off_grows_and_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.5)
    assert 0.25 <= module._back_off(0) <= 0.5
    assert 2.0 <= module._back_off(3) <= 4.0
    assert 30.0 <= module._back_off(50) <= module.LONGEST_WAIT


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "set OPENAI_API_KEY to a key of this server"),
        (403, "this key may not use the model"),
        (404, "see which models the server has; asked for 'm'"),
    ],
)
def test_what_no_retry_can_help_ends_at_once_without_the_key(status: int, todo: str) -> None:
    with (
        responding(in_turn(error(status, f"not with {KEY}, nor {KEY}"))) as server,
        pytest.raises(TextsError, match=rf"not with \*\*\*, nor \*\*\*; {todo}\. Every reply so far is kept") as caught,
    ):
        ask(client_of(server.url))
    assert len(server.times) == 1
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [400, 413, 418, 422])
def test_a_request_the_server_will_not_take_fails_alone_and_at_once(status: int) -> None:
    replies = in_turn(error(status, f"the content filter, {KEY}"), GOOD)
    with responding(replies) as server:
        client = client_of(server.url)
        with pytest.raises(CallFailed, match=r"the content filter, \*\*\*"):
            ask(client)
    assert len(server.times) == 1


@pytest.mark.parametrize(
    "reply",
    [
        error(500, f"bad key {KEY}"),
        say(500, f"<html>{KEY}".encode()),
        say(200, {"said": KEY}),
        say(200, completion([KEY])),
        say(200, KEY.encode(), Content_Type="text/plain"),
    ],
)
def test_the_key_is_in_no_message_of_a_failed_call(reply: Reply) -> None:
    with responding(in_turn(reply)) as server, pytest.raises(CallFailed, match=r"\*\*\*") as caught:
        ask(client_of(server.url, tries=1))
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_not_in_what_is_told() -> None:
    def refuse(body: dict[str, Any]) -> Reply:
        return error(400, f"{KEY} has no response_format") if "response_format" in body else GOOD

    told: list[str] = []
    with responding(refuse) as server:
        ask(client_of(server.url, told=told.append))
    assert told
    assert KEY not in "".join(told)


def test_a_line_end_behind_the_key_is_no_part_of_it() -> None:
    with responding(in_turn(GOOD)) as server:
        ask(client_of(server.url, key=f" {KEY}\r\n"))
    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("key", ["", " \n", "sk-sécret", "sk-a\nb", "sk-\x01"])
def test_no_key(key: str) -> None:
    with pytest.raises(TextsError, match="the API key is empty or has characters that no key has") as caught:
        client_of("http://localhost/v1", key=key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "", "ftp://host/v1"])
def test_no_address(url: str) -> None:
    with pytest.raises(TextsError, match="is no address of a server; write it like http://localhost:8000/v1"):
        client_of(url)


def test_a_password_in_the_address_is_not_told() -> None:
    with responding(in_turn(error(500, "broken"))) as server, pytest.raises(CallFailed, match=r"^http://127") as caught:
        ask(client_of(server.url.replace("//", "//user:password@"), tries=1))
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("field", ["code", "type"])
@pytest.mark.parametrize("word", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_empty_account_ends_at_once(field: str, word: str) -> None:
    with (
        responding(in_turn(error(429, f"pay for {KEY}", **{field: word}))) as server,
        pytest.raises(TextsError, match=r"the account of this key is empty: .*pay for \*\*\*; every reply .* kept"),
    ):
        ask(client_of(server.url))
    assert len(server.times) == 1


def refusing(*forms: str, status: int = 400) -> Respond:
    """Takes no reply format of ``forms``."""

    def respond(body: dict[str, Any]) -> Reply:
        form = body.get("response_format", {"type": "text"})["type"]
        return error(status, f"response_format {form} is not supported") if form in forms else GOOD

    return respond


def formats(server: Server) -> list[str]:
    return [body.get("response_format", {"type": "none"})["type"] for body in server.bodies]


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refused_format_is_replaced_by_the_next_simpler_one(status: int) -> None:
    told: list[str] = []
    with responding(refusing("json_schema", status=status)) as server:
        client = client_of(server.url, tries=1, told=told.append)
        assert ask(client).text == "it"
    assert formats(server) == ["json_schema", "json_object"]
    assert told == [
        f"the server refuses json_schema replies (Error code: {status} - response_format json_schema is not "
        "supported); going on with json_object"
    ]
    assert client.retries == 0


def test_a_server_without_formats_is_asked_without() -> None:
    with responding(refusing("json_schema", "json_object")) as server:
        client = client_of(server.url, tries=1)
        ask_many(client, 1)
    assert formats(server) == ["json_schema", "json_object", "none"]


def test_a_format_refused_even_where_none_is_asked_for_fails_the_call() -> None:
    with (
        responding(in_turn(error(400, "this format is not supported"))) as server,
        pytest.raises(CallFailed, match="this format is not supported"),
    ):
        ask(client_of(server.url))
    assert formats(server) == ["json_schema", "json_object", "none"]


def test_many_calls_at_once_go_one_step_down_only() -> None:
    barrier = threading.Barrier(8, timeout=5)  # no call is refused before all eight are under way
    told: list[str] = []

    def respond(body: dict[str, Any]) -> Reply:
        if body["response_format"]["type"] == "json_schema":
            barrier.wait()
        return refusing("json_schema")(body)

    with responding(respond) as server:
        client = client_of(server.url, tries=1, told=told.append)
        assert [answer.text for answer in ask_many(client, 8)] == ["it"] * 8
    assert formats(server) == ["json_schema"] * 8 + ["json_object"] * 8
    assert len(told) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "unsupported value", param="response_format"),
        say(422, {"detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted"}]}),
        say(400, {"object": "error", "message": "Structured Output is not available"}),
        error(400, "json_schema needs a grammar"),
    ],
)
def test_servers_refuse_a_format_in_many_words(refusal: Reply) -> None:
    with responding(in_turn(refusal, GOOD)) as server:
        ask(client_of(server.url))
    assert formats(server) == ["json_schema", "json_object"]


def test_more_information_is_no_format() -> None:
    with (
        responding(in_turn(error(404, "no such model; for more information see the manual"))) as server,
        pytest.raises(TextsError, match="no such model"),
    ):
        ask(client_of(server.url))
    assert formats(server) == ["json_schema"]


@pytest.mark.parametrize(
    ("body", "text", "finish", "tokens"),
    [
        (completion(), "it", "stop", (0, 0)),
        (completion(usage={}), "it", "stop", (0, 0)),
        (completion(usage="much"), "it", "stop", (0, 0)),
        (completion(usage={"prompt_tokens": "12", "completion_tokens": None}), "it", "stop", (0, 0)),
        (completion(usage={"prompt_tokens": -4, "completion_tokens": 2}), "it", "stop", (0, 2)),
        (completion({"content": None}), "", "stop", (0, 0)),
        (completion({"content": None, "refusal": "I won't"}), "I won't", "stop", (0, 0)),
        (completion("half \ud83d a pair"), "half ? a pair", "stop", (0, 0)),
        (completion("ünïcödé 犬 🐕"), "ünïcödé 犬 🐕", "stop", (0, 0)),
        ({"choices": [{"message": {"content": "it"}}]}, "it", "", (0, 0)),
        ({"choices": [{"message": {"content": "it"}, "finish_reason": 7}]}, "it", "7", (0, 0)),
    ],
)
def test_odd_bodies_that_are_completions(body: dict[str, Any], text: str, finish: str, tokens: tuple[int, int]) -> None:
    with responding(in_turn(say(200, body))) as server:
        assert ask(client_of(server.url, tries=1)) == Completion(text=text, finish=finish, tokens=tokens)
