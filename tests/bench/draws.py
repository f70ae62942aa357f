"""How far few-shot accuracy depends on which texts are drawn: mean, standard deviation and range over many draws.

    python tests/bench/draws.py FEATURES.npz TEXTS.npz [COUNT [DRAWS]]

The files are those of coder-eval; COUNT texts a draw (95), DRAWS draws (100), of seeds 0, 1, ...; min-max norm. A draw
takes two seconds, and is that of ``coder-eval ... --text-count COUNT --seed SEED``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from table import show
from tqdm import trange

from coder_engine.evaluate.feature_file import load_features, load_texts
from coder_engine.evaluate.few_shot import TITLES, Task, answers_with

METHODS = ("coder-adapter", "spectral")
SHOTS = (1, 4, 16)


def run(features: Path, texts: Path, count: int, draws: int) -> None:
    file = load_features(features)
    cells = [(name, shots) for name in METHODS for shots in SHOTS]
    found = np.empty((draws, len(cells)))
    for seed in trange(draws, file=sys.stderr):
        drawn = load_texts(texts, count=count, seed=seed)
        task = Task(test=file.test, val=file.val, supports={}, texts=drawn, zero_shot=None, classes=file.classes)
        for column, (name, shots) in enumerate(cells):
            answers, _ = answers_with(name, "minmax", file.supports[shots], task)
            found[seed, column] = 100 * (answers == file.test.labels).mean()
    rows = [
        (
            f"{TITLES[name]}, {shots} shots",
            f"{own.mean():.1f} ±{own.std(ddof=1):.1f} ({own.min():.1f} to {own.max():.1f})",
        )
        for (name, shots), own in zip(cells, found.T, strict=True)
    ]
    show(f"{features.stem}, {draws} draws of {count} texts: top-1 %", rows)


if __name__ == "__main__":
    counts = [int(text) for text in sys.argv[3:]]
    run(Path(sys.argv[1]), Path(sys.argv[2]), *(counts + [95, 100][len(counts) :]))
