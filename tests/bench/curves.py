"""The few-shot plots of docs/evidence.md from what coder-eval measured.

    python tests/bench/curves.py RESULT.json NORM OUT.svg

RESULT.json is the output of ``coder-eval ... --format json``, NORM is minmax or l2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from coder_engine.evaluate.few_shot import FewShot
from coder_engine.evaluate.plots import curves

INK = "#808080"  # reads on a light and on a dark page alike


def run(result: Path, norm: str, out: Path) -> None:
    names = ("method", "norm", "shots", "by_seed", "interval", "chosen")
    found = json.loads(result.read_text(encoding="utf-8"))
    rows = [FewShot(**{name: row[name] for name in names}) for row in found["few_shot"] if row["norm"] in (norm, "")]
    out.write_text(curves(rows, title=f"{Path(found['source']).stem}, {norm} norm", ink=INK), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
