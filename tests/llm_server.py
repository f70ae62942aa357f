"""A local server that speaks OpenAI's chat protocol, for tests: real HTTP, generated replies, faults on demand.

The texts are made of the prompt alone, so that the same question always gets the same good answer; whether a fault
comes first is drawn for each visit of a prompt. Run as a program it serves until killed:

    python tests/llm_server.py --port 8000 --latency 0.2 --faults '{"429": 0.1, "malformed": 0.1}' --log served.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HTTP_FAULTS = ("429", "500", "timeout", "cut", "no-json")
REPLY_FAULTS = ("malformed", "refusal", "wrong-class", "empty", "duplicates", "bare-name", "too-long", "cut-off")
_SHAPES = ("narrow", "rounded", "flat", "curved", "tapering", "blunt", "ribbed", "hollow", "forked", "angular")
_COLOURS = ("pale", "dark", "reddish", "yellow", "speckled", "glossy", "grey", "green", "striped", "whitish")
_PARTS = ("rim", "tail", "edge", "crest", "base", "panel", "limb", "surface", "handle", "band", "tip", "frame")
_NOUNS = ("quarg", "velt", "brool", "snerd", "taff", "wimble", "yorp", "zell", "drack", "flome", "gribb", "hask")


class LlmServer(ThreadingHTTPServer):
    """Serves chat completions; ``met`` counts the faults that came, ``served`` lists the replies wholly sent.

    Args:
        latency: seconds before each reply.
        faults: name of a fault -> how often, 0 to 1; see ``HTTP_FAULTS`` and ``REPLY_FAULTS``.
        hang: seconds a "timeout" lasts; a prompt meets two at the most, as a third in a row ends its call.
        schema: False refuses ``response_format``.
        usage: False counts no tokens.
        key: the only API key taken; None takes any.
        log: a file that gets a line for every reply wholly sent.
        answer: what to say to a last message instead of the generated reply; it may return None.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float = 0.0,
        faults: dict[str, float] | None = None,
        hang: float = 5.0,
        schema: bool = True,
        usage: bool = True,
        key: str | None = None,
        log: Path | None = None,
        seed: int = 0,
        answer: Any = None,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.latency, self.faults, self.hang, self.schema, self.key = latency, faults or {}, hang, schema, key
        self.seed, self.answer, self.usage = seed, answer, usage
        self.log = log.open("a") if log else None
        self.visits: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.served: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def fault(self, prompt: str) -> str | None:
        """The fault that this visit of a prompt meets, if any."""
        with self.lock:
            visit = self.visits[prompt] = self.visits[prompt] + 1
        draw = random.Random(f"{self.seed}:{visit}:{prompt}").random()
        for name, share in self.faults.items():
            if draw < share:
                with self.lock:
                    self.late[prompt] += name == "timeout"
                    if name == "timeout" and self.late[prompt] > 2:
                        return None
                    self.met[name] += 1
                return name
            draw -= share
        return None

    def note(self, prompt: str, fault: str | None) -> None:
        row = {"prompt": hashlib.sha256(prompt.encode()).hexdigest(), "fault": fault, "time": time.time()}
        with self.lock:
            self.served.append(row)
            if self.log:
                self.log.write(json.dumps(row) + "\n")
                self.log.flush()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement
    server: LlmServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            return self._send(401, {"error": {"message": f"no such key: {self.headers.get('Authorization')}"}})
        if not server.schema and "response_format" in body:
            return self._send(400, {"error": {"message": "response_format is not supported"}})
        prompt = body["messages"][-1]["content"]
        fault = server.fault(prompt)
        time.sleep(server.latency if fault != "timeout" else server.hang)
        if fault == "429":
            return self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.2"})
        if fault == "500":
            return self._send(500, {"error": {"message": "broken"}})
        if fault == "no-json":
            return self._send_bytes(200, b"<html>gateway</html>", {})
        text = (server.answer and server.answer(prompt)) or reply_to(prompt, fault)
        finish = "length" if fault == "cut-off" else "stop"
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }
        if not server.usage:
            del reply["usage"]
        data = json.dumps(reply).encode()
        if fault == "cut":
            self._head(200, len(data), {})
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        self._send_bytes(200, data, {})
        return server.note(prompt, fault)

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), headers or {})

    def _send_bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(data), headers)
        self.wfile.write(data)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the tests read ``served``."""


def reply_to(prompt: str, fault: str | None = None) -> str:
    """The reply to one of coder-texts' prompts, spoilt by ``fault``."""
    if fault == "malformed":
        return '{"class": "x", "texts": ["a lone'
    if fault == "refusal":
        return "I'm sorry, but as an AI I cannot help with that."
    prompt = prompt.split("\nAn earlier reply")[0]
    wanted = int(re.findall(r"Write (\d+) texts", prompt)[0])
    pairs = re.findall(r'^\d+\. "(.*)" and "(.*)"$', prompt, re.MULTILINE)
    if pairs:
        # Of the pair alone: asked again in other company it gets the same texts.
        items = [
            {
                "class": a,
                "other": b,
                "class_has": _texts(f"{a} not {b}", wanted, a, fault),
                "other_has": _texts(f"{b} not {a}", wanted, b, fault),
            }
            for a, b in pairs
        ]
        if fault == "wrong-class":
            items[0]["class"] = "something else"
        reply: dict[str, Any] = {"pairs": items}
    else:
        name = re.findall(r'class "(.*?)" ', prompt)[0]
        texts = _names(prompt, wanted) if "look like the class" in prompt else _texts(prompt, wanted, name, fault)
        reply = {
            "class": "something else" if fault == "wrong-class" else name,
            "texts": [] if fault == "empty" else texts,
        }
    text = json.dumps(reply)
    return text[: len(text) // 2] if fault == "cut-off" else text


def _texts(seed: str, wanted: int, name: str, fault: str | None) -> list[str]:
    draw = random.Random(seed)
    if fault == "empty":
        return []
    if fault == "duplicates":
        return ["a dark band along the edge"] * wanted
    if fault == "bare-name":
        return [name, f"a {name}"]
    if fault == "too-long":
        return [" ".join(draw.choices(_SHAPES, k=90)) for _ in range(wanted)]
    found: dict[str, None] = {}
    while len(found) < wanted:
        part, place = draw.sample(_PARTS, 2)
        found[f"a {draw.choice(_SHAPES)} {draw.choice(_COLOURS)} {part} near the {place}"] = None
    return list(found)


def _names(seed: str, wanted: int) -> list[str]:
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < wanted:
        found[f"{draw.choice(_COLOURS)} {draw.choice(_NOUNS)}{draw.randrange(1000)}"] = None
    return list(found)


@contextlib.contextmanager
def in_a_thread(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve in a thread of this process until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[LlmServer]:
    """A server in a thread of this process."""
    server = LlmServer(**options)
    try:
        with in_a_thread(server):
            yield server
    finally:
        if server.log:
            server.log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--faults", type=json.loads, default={})
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    server = LlmServer(**vars(args))
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
