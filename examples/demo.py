"""The main job on the embedded test model: export, classify real photographs, explain a rerank.

Run by ``make demo``. Every step is a command a user would type, printed before it runs.

    python examples/demo.py                 photographs of scikit-image, and of ../shared/data/photos where it is
    python examples/demo.py IMAGES ...      your own: files, folders or globs
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from coder_export.photographs import sample_photographs
from coder_export.shipped import shipped

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "demo"
ENGINE = OUT / "tiny.onnx"
PHOTOS = ROOT / ".." / "shared" / "data" / "photos"
KNOWN = ("airplanes", "car_side", "dalmatian", "ferry", "ibis", "ketch", "pigeon", "wild_cat")
"""Folders of PHOTOS that show a CIFAR-10 class."""
UNKNOWN_BELOW = 0.6


def main(images: list[str]) -> int:
    OUT.mkdir(exist_ok=True)
    print("coder-tiny is a test model trained on 32-pixel photographs (docs/coder-tiny.md): this shows the machinery.")
    labels = shipped()["cifar10"] / "labels.txt"
    run("coder-export", "--model", "coder-tiny", "--labels", labels, "--out", OUT / "tiny", "--keep-texts")

    chosen = images or [shown(path) for path in [*sample_photographs()[:5], *known_photographs()]]
    options = ["--engine", ENGINE, "--unknown-below", UNKNOWN_BELOW]
    run("coder-infer", *chosen, *options, "--top", 3, "--format", "table")
    run("coder-infer", *chosen, *options, "--out", OUT / "predictions.jsonl", "--quiet")
    explain_one(OUT / "predictions.jsonl")
    print(f"\nengine, weight file and predictions are in {shown(OUT)}")
    return 0


def run(*command: object) -> None:
    """Print a command of this project and run it; a failure ends the demo. Images that fail (2) do not."""
    words = [shown(word) for word in command]
    print(f"\n$ {shlex.join(words)}", flush=True)
    program = Path(sysconfig.get_path("scripts")) / words[0]
    code = subprocess.run([program, *words[1:]], check=False).returncode
    if code not in (0, 2):
        raise SystemExit(code)


def shown(path: object) -> str:
    """A path as a user would type it here."""
    return os.path.relpath(str(path)) if isinstance(path, Path) else str(path)


def known_photographs() -> list[Path]:
    """The folders of photographs that show a CIFAR-10 class; none on a machine that lacks them."""
    return [PHOTOS / name for name in KNOWN if (PHOTOS / name).is_dir()]


def explain_one(predictions: Path) -> None:
    """Why the first photograph whose rerank changed the answer, else the first one, got its label: texts and duels."""
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    found = [row for row in rows if "error" not in row]
    changed = [row for row in found if any(other["score"] > row["score"] for other in row["top"])]
    for row in (changed or found)[:1]:
        run("coder-infer", row["path"], "--engine", ENGINE, "--explain", "--quiet")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
