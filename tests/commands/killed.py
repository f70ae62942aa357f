"""Run coder-texts again and again, each time killed with SIGKILL at a random moment, then once to the end.

    python tests/commands/killed.py KILLS SEED ARGUMENT...

The runs are forked from this process, which has imported everything: a start costs nothing, so that the kills fall into
the run itself. Prints a line of JSON: the stored lines after each kill, and the exit code of the last run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

# What the command imports late is imported here, before the forks.
import coder_export.generate.generator
import coder_export.generate.summary  # noqa: F401
from coder_export.generate.cli import main


def run(arguments: list[str]) -> int:
    """One whole run in a child; its exit code."""
    child = start(arguments)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start(arguments: list[str]) -> int:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(arguments))
    return child


def killed_after(seconds: float, arguments: list[str]) -> bool:
    """Whether the kill came before the end of the run."""
    child = start(arguments)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def drive(kills: int, seed: int, arguments: list[str]) -> dict[str, object]:
    store = Path(arguments[arguments.index("--out") + 1]) / "replies.jsonl"
    draw = random.Random(seed)
    snapshots = []
    for _ in range(kills):
        killed = killed_after(draw.uniform(0.02, 0.45), arguments)
        snapshots.append({"killed": killed, "lines": store.read_text().count("\n") if store.exists() else 0})
    return {"kills": snapshots, "rc": run(arguments)}


if __name__ == "__main__":
    print(json.dumps(drive(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
