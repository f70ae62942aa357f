"""One run of coder-infer in this process, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

from coder_engine.cli.infer import main


def run(*arguments: str) -> int:
    return main([*arguments, "--engine", "model.onnx"])


def json_rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def damage(photos: Path) -> None:
    (photos / "b.png").write_bytes(b"")
