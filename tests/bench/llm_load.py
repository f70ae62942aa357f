"""coder-texts on 1,000 classes with their 20 nearest pairs against a local server: time, and memory as it goes.

    python tests/bench/llm_load.py [LATENCY]

The server runs in a process of its own, answers each call after LATENCY seconds (default 1) and never fails. What is
measured is the client: the ideal is calls x latency / concurrency.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from coder_export.bench.machine import machine, machine_line

CLASSES, NEAREST, CONCURRENCY = 1000, 20, 64
_COLOURS = ("red", "blue", "grey", "black", "white", "green", "brown", "golden", "spotted", "striped")
_KINDS = ("finch", "kettle", "lorry", "beetle", "lamp", "fern", "chair", "mask", "trout", "drum")
_PLACES = ("river", "desert", "mountain", "harbour", "garden", "forest", "island", "valley", "marsh", "city")
SERVER = Path(__file__).resolve().parent.parent / "llm_server.py"


def run(latency: float = 1.0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.txt"
        names = [f"{colour} {place} {kind}" for colour in _COLOURS for place in _PLACES for kind in _KINDS]
        labels.write_text("".join(f"{name}\n" for name in names[:CLASSES]))
        server = subprocess.Popen(
            [sys.executable, str(SERVER), "--latency", str(latency)], stdout=subprocess.PIPE, text=True
        )
        try:
            _measure(labels, server.stdout.readline().strip(), latency)  # type: ignore[union-attr]
        finally:
            server.kill()


def _measure(labels: Path, url: str, latency: float) -> None:
    command = [
        sys.executable,
        "-m",
        "coder_export.generate.cli",
        "--labels",
        str(labels),
        "--out",
        str(labels.parent / "set"),
    ]
    command += ["--llm", "fake", "--base-url", url, "--model", "coder-tiny", "--kinds", "attribute,analogous,pair"]
    command += ["--pairs", f"top:{NEAREST}", "--concurrency", str(CONCURRENCY), "--threshold", "1"]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    memory: list[tuple[float, float]] = []
    watch = threading.Thread(target=_watch, args=(process, start, memory))
    watch.start()
    output, _ = process.communicate()
    watch.join()
    print(output)
    for what, count, seconds in re.findall(r"^(.*): ([\d,]+) in ([\d.]+) s", output, re.MULTILINE):
        calls, ideal = int(count.replace(",", "")), int(count.replace(",", "")) * latency / CONCURRENCY
        if "names" not in what:
            ratio = float(seconds) / ideal
            print(f"{what}: {calls:,} calls in {seconds} s, ideal {ideal:.1f} s, ratio {ratio:.2f}")
    whole = time.monotonic() - start
    print(f"whole command {whole:.1f} s; resident MB by second: " + ", ".join(f"{t:.0f}: {mb:.0f}" for t, mb in memory))


def _watch(process: subprocess.Popen[str], start: float, memory: list[tuple[float, float]]) -> None:
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        if found:
            memory.append((time.monotonic() - start, int(found[1]) / 1e3))
        time.sleep(10)


if __name__ == "__main__":
    print(machine_line(machine()))
    run(*map(float, sys.argv[1:2]))
