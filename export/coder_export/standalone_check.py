"""Does a standalone graph answer as the Engine does? Measured on photographs, refused if not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.onnxruntime import open_session
from coder_engine.errors import ModelError
from coder_engine.head import Head, Ranking
from coder_engine.weights import Weights
from coder_export.verify import BATCHES

TOLERANCE = 1e-5
"""Largest difference of a score or a gap, and how near two classes are that may change places."""


def compare(path: Path, engine: Path, weights: Weights, pixels: NDArray[np.uint8]) -> int:
    """Run the standalone graph and the engine on the same photographs, at several batch sizes.

    Args:
        path: the standalone graph.
        engine: the engine file it was made from, and ``weights`` its weight file.
        pixels: uint8 [8, H, W, 3].

    Returns:
        How many photographs have near ties that fell otherwise.

    Raises:
        ModelError: an id differs that no near tie excuses, or a score or a gap does.
    """
    session, tower = open_session(path, threads=None), open_session(engine, threads=None)
    head, no_bank = Head(weights), np.zeros((1, weights.width), np.float32)
    near = set()
    for count in BATCHES:
        features = tower.run(["features"], {"pixels": pixels[:count], "bank": no_bank})[0]
        ranking = head.rank(features, margin=weights.meta.margin)
        found = session.run(["ids", "scores", "gaps"], {"pixels": pixels[:count]})
        for image, (ids, scores, gaps) in enumerate(zip(*found, strict=True)):
            problem = difference(ranking, image, ids, scores, gaps)
            if problem is not None:
                raise ModelError(
                    f"the standalone graph does not answer as the engine does: {problem} "
                    f"(photograph {image} of {count}); it is not written, the engine itself is fine; report this"
                )
            if ids.tolist() != ranking.ids[image].tolist():
                near.add(image)
    return len(near)


def difference(
    ranking: Ranking, image: int, ids: NDArray[np.int64], scores: NDArray[np.float32], gaps: NDArray[np.float32]
) -> str | None:
    """How an answer [k] for one image differs from the engine's, or None where at most near ties fell otherwise."""
    wanted, logits = ranking.ids[image], ranking.logits[image]
    if set(ids.tolist()) != set(wanted.tolist()):
        worst = logits[wanted].min()
        swapped = sorted(set(ids.tolist()) ^ set(wanted.tolist()))
        near = np.abs(logits[swapped] - worst).max() <= TOLERANCE
        return None if near else f"ids {ids.tolist()}, wanted {wanted.tolist()}"
    places = [ids.tolist().index(i) for i in wanted.tolist()]
    for name, got, want in (
        ("scores", scores[places], ranking.scores[image]),
        ("gaps", gaps[places], ranking.gaps[image]),
    ):
        # "not <=", since a NaN is neither
        if not np.abs(got - want).max() <= TOLERANCE:
            return f"{name} {got.tolist()}, wanted {want.tolist()}"
    order = ranking.gaps[image] if ranking.reranked[image] else logits[wanted]
    moved = np.abs(order[places] - order).max() > TOLERANCE
    return f"ids {ids.tolist()}, wanted {wanted.tolist()}" if moved else None
