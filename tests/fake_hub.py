"""A local HTTP server that plays the weights hub: answers HEAD and GET of any repository with one file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = "open_clip_model.safetensors"


@contextmanager
def fake_hub(weights: Path, repositories: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Serve ``weights`` as FILE of each repository; yields the endpoint's address and the log of requests."""
    log: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(send=False)

        def do_GET(self) -> None:
            self._answer(send=True)

        def _answer(self, *, send: bool) -> None:
            log.append(f"{self.command} {self.path}")
            known = {f"/{repository}/resolve/main/{FILE}" for repository in repositories}
            known |= {f"/{repository}/resolve/{'0' * 40}/{FILE}" for repository in repositories}
            if self.path not in known:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(weights.stat().st_size))
            self.send_header("ETag", f'"{hashlib.sha256(str(weights).encode()).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if send:
                with weights.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        self.wfile.write(block)

        def log_message(self, *_: object) -> None:
            """Quiet: the log is kept for the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
