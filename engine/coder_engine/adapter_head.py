"""From image features to ranked classes where a few-shot adapter is fitted: Eq. 20 over stage 1's logits."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import EngineError
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import CANDIDATES, Head, Ranking, joined
from coder_engine.weightfile.mapped import release
from coder_engine.weights import Weights

BLOCK = 256
"""Images ranked at once, each of which takes some numbers for every support image meanwhile."""


def open_adapter(weights: Weights, head: Head) -> AdapterHead | None:
    """The adapter of a weight file over its head; None where it has none.

    Raises:
        WeightsError: it is malformed.
    """
    adapter, meta = CoderAdapter.load(weights), weights.meta
    if adapter is None:
        return None
    return AdapterHead(head, adapter, logit_scale=meta.logit_scale, temperature=meta.temperature)


class AdapterHead:
    """The few-shot adapter over one weight file's Head. Safe to call from several threads.

    The zero-shot part of Eq. 20 is logit scale * o, o of Eq. 8: CODER's own first stage, where the paper has CLIP's
    cosines. There is no rerank, as in the paper's few-shot method.
    """

    def __init__(self, head: Head, adapter: CoderAdapter, *, logit_scale: float, temperature: float = 1.0) -> None:
        self.adapter = adapter
        self._head = head
        self._scale = np.float32(logit_scale)
        self._temperature = temperature

    @cached_property
    def _keys(self) -> NDArray[np.float32]:
        """In memory from the first image on: all of them are needed for each, and a map ends with its file."""
        keys = self.adapter.keys
        if not isinstance(keys, np.memmap):
            return keys
        read = np.array(keys)
        release(keys)
        return read

    def rank(self, features: NDArray[np.float32], *, top: int = CANDIDATES) -> Ranking:
        """Rank the classes of each image by Eq. 20; equal logits by the lower class id.

        Args:
            features: float32 [B, D], unit length.
            top: how many classes to return at least.

        Returns:
            A Ranking whose ``logits`` are those of Eq. 20 over the logit scale, and whose ``scores`` are the softmax
            of Eq. 20 by the temperature, so that both mean what they mean without an adapter; gaps and duels are 0.

        Raises:
            EngineError: a feature, the adapter, or what it votes is NaN or infinite.
        """
        starts = range(0, max(len(features), 1), BLOCK)
        return joined([self._ranked(features[start : start + BLOCK], top) for start in starts])

    def _ranked(self, features: NDArray[np.float32], top: int) -> Ranking:
        zero_shot = self._head.rank(features, top=top, rerank=False)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is told
            logits = zero_shot.logits + self._votes(features) / self._scale
        if not np.isfinite(logits).all():
            raise EngineError(
                f"the few-shot adapter's votes are beyond all numbers, with alpha {self.adapter.alpha:g}, beta "
                f"{self.adapter.beta:g} and temperature {self.adapter.temperature:g}; fit it again with coder-fit"
            )
        ids = np.argsort(-logits, axis=1, kind="stable")[:, : zero_shot.ids.shape[1]].astype(np.int32)
        below = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
        powers = np.exp(self._scale / self._temperature * below)
        scores = powers / powers.sum(axis=1, keepdims=True)
        return Ranking(
            logits=logits,
            ids=ids,
            scores=np.take_along_axis(scores, ids, axis=1).astype(np.float32),
            gaps=zero_shot.gaps,
            duels=zero_shot.duels,
            reranked=zero_shot.reranked,
        )

    def _votes(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        adapter = self.adapter
        centred = adapter.centred(features)
        products = self._head.product(self._keys, centred)
        lengths = None
        if adapter.factor is not None:
            lengths = np.linalg.norm(self._head.product(adapter.factor, centred), axis=1, keepdims=True)
        try:
            return adapter.votes(adapter.normalise(products, lengths))
        except ValueError as err:
            raise EngineError(f"the few-shot adapter is damaged: {err}; fit it again with coder-fit") from err
