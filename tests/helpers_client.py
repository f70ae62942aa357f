"""Chat calls over real HTTP, and a server that answers as a test says; one that answers as an LLM: llm_server.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from coder_export.generate.llm.client import Client, Completion
from llm_server import in_a_thread

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
    with in_a_thread(server):
        yield server


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
