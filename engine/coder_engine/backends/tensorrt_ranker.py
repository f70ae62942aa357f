"""A plan's encoder and the CUDA head in one go: a batch is one graph launch, and only the answers come back.

The head is a compiled module of its own, ``coder_engine._cuda``, which need not be there: then the features come back
and the CPU ranks them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import first_line
from coder_engine.backends.buckets import chunks
from coder_engine.backends.cuda_memory import Mirrored, Stream, naming_the_batch
from coder_engine.backends.pool import Pool
from coder_engine.backends.tensorrt_worker import OpenPlan, Worker
from coder_engine.errors import BackendError, EngineError
from coder_engine.head import Ranking, empty_ranking, joined
from coder_engine.weights import Weights

WORKERS = 2
"""Each has its own copy of the label set on the GPU; a second one can run while the first one's images are copied."""

MOST = 32
"""Classes an image that the GPU lists, which finds them one after another; for more the CPU ranks."""


class NoDeviceHead(Exception):
    """The label set cannot be put on the GPU; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Rank:
    """The tail of a run that ranks: the head's kernels, and one copy of their answers."""

    head: Any
    scale: float
    temperature: float
    margin: float
    rerank: bool
    top: int

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        options = {
            "scale": self.scale,
            "temperature": self.temperature,
            "margin": self.margin,
            "rerank": self.rerank,
            "top": self.top,
        }
        try:
            self.head.enqueue(features.address, bucket, stream.handle, **options)
        except RuntimeError as err:
            raise BackendError(f"the CUDA head failed ({first_line(err)}); open the engine again") from err


class RankWorker:
    """A worker and a copy of the label set on the GPU.

    Raises:
        NoDeviceHead: there is none for this GPU, or it has not enough memory.
    """

    def __init__(self, plan: OpenPlan, weights: Weights) -> None:
        try:
            self.head: Any = importlib.import_module("coder_engine._cuda").Head(
                weights.bank,
                weights.name_offsets,
                weights.name_weight,
                weights.pair_rows,
                weights.pair_starts,
                weights.pair_others,
                max_batch=plan.max_batch,
            )
        except ImportError as err:
            raise NoDeviceHead("this build has no CUDA head") from err
        except RuntimeError as err:
            raise NoDeviceHead(first_line(err)) from err
        self._worker = Worker(plan)

    def rank(self, pixels: NDArray[np.uint8], tail: Rank, out: Ranking) -> None:
        """Rank up to ``max_batch`` images into ``out``, whose logits stay as they are.

        Raises:
            EngineError: a feature is not finite or not of unit length.
            BackendError: the GPU failed.
        """
        self._worker.run(pixels, tail)
        arrays = {name: array for name, array in out.__dict__.items() if name != "logits"}
        try:
            self.head.results(len(pixels), tail.top, **arrays)
        except RuntimeError as err:
            raise EngineError(f"{err}; the plan is damaged or overflows in its precision: export it again") from err

    def close(self) -> None:
        self._worker.close()  # the graphs first: they hold the head's buffers


class TensorRtRanker:
    """Encoder and head of one label set on the GPU.

    Attributes:
        fault: why the CPU ranks instead; None while the GPU does.
    """

    def __init__(self, plan: OpenPlan, weights: Weights) -> None:
        self._plan = plan
        self._scale, self._temperature = weights.meta.logit_scale, weights.meta.temperature
        self._classes = len(weights.meta.labels)
        self._workers = Pool(lambda: RankWorker(plan, weights), WORKERS)
        self.fault: str | None = None

    @property
    def description(self) -> str:
        """Where the head runs, and why not on the GPU."""
        return "head on the GPU" if self.fault is None else f"head on the CPU ({self.fault})"

    def rank(self, pixels: NDArray[np.uint8], *, top: int, margin: float | None, rerank: bool) -> Ranking | None:
        """As ``Head.rank``, from pixels, without logits; None where the CPU is to do it.

        Args:
            pixels: uint8 [B, H, W, 3], B >= 1, as the backend takes them.

        Raises:
            EngineError, BackendError: see :meth:`RankWorker.rank`.
        """
        if self.fault is not None or top > MOST:
            return None
        gate = -1.0 if margin is None else margin
        parts = []
        try:
            largest = min(len(pixels), self._plan.max_batch)
            with naming_the_batch(largest), self._workers.borrow() as worker:
                for part in chunks(pixels, self._plan.max_batch):
                    out = empty_ranking(len(part), self._classes, top, logits=False)
                    tail = Rank(
                        head=worker.head,
                        scale=self._scale,
                        temperature=self._temperature,
                        margin=gate,
                        rerank=rerank,
                        top=out.ids.shape[1],
                    )
                    worker.rank(part, tail, out)
                    parts.append(out)
        except NoDeviceHead as err:
            self.fault = str(err)
            return None
        return joined(parts)
