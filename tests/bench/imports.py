"""How long it takes to import the engine in a fresh process, less the interpreter's own start."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from table import show

from coder_export.measure import interleaved


def run() -> None:
    codes = ("pass", "import numpy", "from coder_engine import Engine")
    calls = {code: partial(subprocess.run, [sys.executable, "-c", code], check=True) for code in codes}
    times = interleaved(calls, seconds=0)
    bare, numpy, ours = (times[code].p50 for code in codes)
    rows = [
        ("from coder_engine import Engine", f"{ours - bare:.0f} ms"),
        ("of which numpy", f"{numpy - bare:.0f} ms"),
    ]
    show("Import", rows)


if __name__ == "__main__":
    run()
