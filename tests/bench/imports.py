"""How long it takes to import the engine in a fresh process, less the interpreter's own start."""

from __future__ import annotations

import subprocess
import sys

from table import median_ms, show


def run() -> None:
    def start(code: str) -> float:
        return median_ms(lambda: subprocess.run([sys.executable, "-c", code], check=True), runs=9, warmup=2)

    bare, numpy, ours = start("pass"), start("import numpy"), start("from coder_engine import Engine")
    rows = [
        ("from coder_engine import Engine", f"{ours - bare:.0f} ms"),
        ("of which numpy", f"{numpy - bare:.0f} ms"),
    ]
    show("Import", rows)


if __name__ == "__main__":
    run()
