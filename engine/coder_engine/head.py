"""From image features to ranked classes, through the compiled kernels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import EngineError, WeightsError
from coder_engine.weights import Weights

try:
    from coder_engine import _kernels
except ImportError as err:
    raise ImportError(
        f"coder_engine's compiled module is missing ({err}); build it with: pip install . (or reinstall coder-engine)"
    ) from err

CANDIDATES = 5
"""k: the classes that meet in duels (Eq. 9)."""

BLOCK = 256
"""Images ranked at once: each takes C + R cosines meanwhile, which are to stay in the caches."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranked classes of B images; n >= max(k, top) columns, never more than C.

    Attributes:
        logits: o of Eq. 8, float32 [B, C]; [B, 0] where they stayed on a GPU.
        ids: class ids, best first, int32 [B, n].
        scores: softmax(logit scale * o / temperature) of those classes, float32 [B, n].
        gaps: S of Eq. 15 for the first k, float32 [B, k]; 0 where the image was not reranked.
        duels: gap of the i-th over the j-th class of ``ids`` (Eq. 14), float32 [B, k, k].
        reranked: whether stage 2 ran, bool [B].
    """

    logits: NDArray[np.float32]
    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    gaps: NDArray[np.float32]
    duels: NDArray[np.float32]
    reranked: NDArray[np.bool_]


def columns(classes: int, top: int) -> int:
    """n of a Ranking: at least ``top`` and the candidates, never more than C."""
    return min(max(top, CANDIDATES), classes)


def empty_ranking(count: int, classes: int, top: int, *, logits: bool = True) -> Ranking:
    """Arrays for a ranking of ``count`` images to be written into; ``logits`` False leaves those out."""
    k = min(CANDIDATES, classes)
    n = columns(classes, top)
    return Ranking(
        logits=np.empty((count, classes if logits else 0), np.float32),
        ids=np.empty((count, n), np.int32),
        scores=np.empty((count, n), np.float32),
        gaps=np.empty((count, k), np.float32),
        duels=np.empty((count, k, k), np.float32),
        reranked=np.empty(count, np.bool_),
    )


def joined(parts: Sequence[Ranking]) -> Ranking:
    """Rankings of the same classes, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Ranking(
        **{item.name: np.concatenate([getattr(one, item.name) for one in parts]) for item in fields(Ranking)}
    )


def ranking_error(err: RuntimeError, first: int = 0) -> EngineError:
    """What the kernels say of an image, with what to do: a pair row is of the weight file, all else of the engine.

    Args:
        first: the number of the first image that they were given.
    """
    said = re.sub(r"(?<=^image row )\d+", lambda row: str(int(row[0]) + first), str(err))
    if "pair row" not in said:
        said += "; the engine file is damaged or overflows in its precision: export it again"
    return EngineError(said)


class Head:
    """Two-stage CODER in its collapsed form, for one weight file. Safe to call from several threads."""

    def __init__(self, weights: Weights, *, threads: int = 1) -> None:
        self.classes = len(weights.meta.labels)
        self._weights = weights  # whose arrays and file the kernels read
        self._rows, self._width = weights.bank.shape
        self._scale = weights.meta.logit_scale
        self._temperature = weights.meta.text_temperature
        file = weights.pair_file
        try:
            self._kernel = _kernels.Head(
                weights.bank,
                weights.name_offsets,
                weights.name_weight,
                weights.pair_rows,
                weights.pair_starts,
                weights.pair_others,
                pair_file=file.place if file is not None and file.rows is weights.pair_rows else None,
                threads=threads,
            )
        except ValueError as err:
            raise WeightsError(f"{weights.path}: {err}; export it again with coder-export") from err
        except RuntimeError as err:
            raise EngineError(
                f"{threads} threads cannot be started ({err}); use fewer (--threads), or raise the system's limit"
            ) from err

    def rank(
        self,
        features: NDArray[np.float32],
        *,
        top: int = CANDIDATES,
        margin: float | None = None,
        rerank: bool = True,
    ) -> Ranking:
        """Rank the classes of each image.

        Args:
            features: float32 [B, D], unit length.
            top: how many classes to return at least; those past the fifth keep their stage-1 order.
            margin: rerank only where the two best of softmax(logit scale * o) differ by less than this, whatever the
                temperature; None reranks always.
            rerank: False stops after stage 1.

        Raises:
            EngineError: a feature is NaN or infinite, or a pair row cannot be read.
        """
        out = empty_ranking(len(features), self.classes, top)
        coder = np.empty((min(len(features), BLOCK), self._rows), np.float32)
        gate = -1.0 if margin is None else margin
        for start in range(0, max(len(features), 1), BLOCK):
            some = features[start : start + BLOCK]
            cosines = coder[: len(some)]
            arrays = {name: array[start : start + BLOCK] for name, array in out.__dict__.items()}
            try:
                self._kernel.coder(some, cosines)
                self._kernel.rank(
                    some,
                    cosines,
                    scale=self._scale,
                    temperature=self._temperature,
                    margin=gate,
                    rerank=rerank,
                    **arrays,
                )
            except RuntimeError as err:
                raise ranking_error(err, start) from err
        return out

    def product(self, rows: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features [B, D] times any other rows [N, D] of the same width, on the Head's threads -> float32 [B, N].

        Raises:
            EngineError: a feature is NaN or infinite.
        """
        out = np.empty((len(features), len(rows)), np.float32)
        try:
            self._kernel.product(rows, features, out)
        except RuntimeError as err:
            raise EngineError(f"{err}; the engine file is damaged: export it again") from err
        return out
