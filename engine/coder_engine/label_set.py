"""One weight file in use by an Engine, and how the classes are ranked by it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.adapter_head import AdapterHead, open_adapter
from coder_engine.backends.base import Backend, Ranker
from coder_engine.counts import count_of
from coder_engine.errors import ImageError, WeightsError
from coder_engine.head import Head, Ranking
from coder_engine.prediction import Prediction, failed, prediction_of
from coder_engine.preprocess import Preprocess
from coder_engine.reader import Pixels, stacked
from coder_engine.weights import Weights


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """Swapped as a whole, so that a running call never sees half of another.

    Attributes:
        weights: the open weight file.
        preprocess: resize and crop of its model.
        head: both stages of the texts, on the CPU.
        adapter: what ranks instead where a few-shot adapter is in use.
        ranker: encoder and texts in one go on the device; None where the backend only encodes, or an adapter ranks.
        margin: rerank only images whose two best probabilities differ by less; None reranks always.
        rerank: False stops after stage 1.
    """

    weights: Weights
    preprocess: Preprocess
    head: Head
    adapter: AdapterHead | None
    ranker: Ranker | None
    margin: float | None
    rerank: bool

    @classmethod
    def open(
        cls,
        weights: Weights,
        backend: Backend,
        *,
        threads: int,
        margin: float | None = None,
        rerank: bool = True,
        adapter: bool = True,
    ) -> LabelSet:
        """Put a weight file to use with an open engine file.

        Args:
            margin: None goes by the weight file.
            adapter: use the weight file's few-shot adapter, where it has one.

        Raises:
            WeightsError: it was made for another model, or is malformed.
        """
        if weights.meta.tower != backend.tower or weights.width != backend.width:
            raise WeightsError(
                f"{weights.path} (from {weights.meta.model}, {weights.meta.pretrained}) and the engine come from "
                "different image towers; export the labels with the model of the engine"
            )
        try:
            preprocess = Preprocess.from_json(weights.meta.preprocess)
        except ValueError as err:
            raise WeightsError(f"{weights.path}: {err}") from err
        if preprocess.size != backend.size:
            raise WeightsError(
                f"{weights.path}: its images are {list(preprocess.size)} pixels, the engine takes "
                f"{list(backend.size)}; export it again with coder-export"
            )
        head = Head(weights, threads=threads)
        few_shot = open_adapter(weights, head) if adapter else None
        return cls(
            weights=weights,
            preprocess=preprocess,
            head=head,
            adapter=few_shot,
            ranker=None if few_shot is not None else backend.ranker(weights),
            margin=weights.meta.margin if margin is None else margin,
            rerank=rerank,
        )

    def start(self, before: list[LabelSet]) -> None:
        """Have the texts put on the device that ranks by them, if one does, in place of those ``before``.

        The list is then emptied; where none does, what it holds goes with the last who uses it.
        """
        if self.ranker is not None:
            self.ranker.start(before)

    def close(self) -> None:
        """Let go of the texts on the device that ranks by them, if one does."""
        if self.ranker is not None:
            self.ranker.close()

    def rank(self, features: NDArray[np.float32], top: int) -> Ranking:
        """Classes by features float32 [B, D]: by the adapter where one is in use, else by the texts."""
        if self.adapter is not None:
            return self.adapter.rank(features, top=top)
        return self.rank_by_texts(features, top)

    def rank_by_texts(self, features: NDArray[np.float32], top: int) -> Ranking:
        """Both stages of CODER, whether or not an adapter is in use."""
        return self.head.rank(features, top=top, margin=self.margin, rerank=self.rerank)

    def encode_and_rank(self, backend: Backend, pixels: NDArray[np.uint8], top: int) -> Ranking:
        """Both on the device where the backend can, which spares the way of the features to the CPU."""
        if self.ranker is not None:
            backend.check_pixels(pixels)
            ranking = self.ranker.rank(pixels, top=top, margin=self.margin, rerank=self.rerank)
            if ranking is not None:
                return ranking
        return self.rank(backend.encode(pixels), top)

    def classify(
        self,
        backend: Backend,
        images: Iterable[Any],
        decoded: Sequence[Pixels | ImageError] | Pixels,
        *,
        top: int,
        unknown_below: float | None,
    ) -> list[Prediction]:
        """One Prediction for each of ``images``.

        Args:
            images: as the caller gave them; a path is told in its prediction.
            decoded: of each its uint8 [H, W, 3] or why it cannot be read; or uint8 [B, H, W, 3] of all.
            top, unknown_below: as in ``Engine.predict``.
        """
        labels, threshold = self.weights.meta.labels, self.unknown_below(unknown_below)
        good = stacked(decoded)
        ranking = None if good is None else self.encode_and_rank(backend, good, top)
        rows = count()
        found = []
        for image, pixels in zip(images, decoded, strict=True):
            path = os.fsdecode(image) if isinstance(image, (str, PathLike)) else None
            if isinstance(pixels, ImageError):
                found.append(failed(path, pixels))
            elif ranking is not None:
                found.append(prediction_of(path, ranking, next(rows), labels, top, threshold))
        return found

    def unknown_below(self, asked: float | None) -> float | None:
        """The threshold asked for, else the weight file's: on the adapter's scores where there is one."""
        if asked is None and self._as_fitted:
            return self.weights.meta.unknown_below
        return asked

    @property
    def _as_fitted(self) -> bool:
        """Whether what ranks is what temperature and threshold were fitted to."""
        return self.adapter is not None or not self.weights.meta.adapter

    @property
    def description(self) -> str:
        """Model, classes, and whatever makes answers other than the paper's."""
        meta, rows = self.weights.meta, self.weights.pair_rows
        duels = "no one-to-one texts" if rows is None else count_of(len(rows), "pair")
        parts = [f"{meta.model} ({meta.pretrained})", f"{count_of(len(meta.labels), 'class')}, {duels}"]
        if self.ranker is not None:
            parts.append(self.ranker.description)
        if self.adapter is not None:
            parts.append(f"few-shot adapter, {self.adapter.adapter.shots_text}")
        if meta.temperature != 1 and self._as_fitted:
            parts.append(f"scores calibrated, temperature {meta.temperature:.3g}")
        if meta.unknown_below is not None and self._as_fitted:
            parts.append(f"unknown below {meta.unknown_below:.4g} unless told otherwise")
        return "; ".join(parts)
