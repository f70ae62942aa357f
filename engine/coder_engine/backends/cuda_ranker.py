"""An encoder on the GPU and the CUDA head in one go: features stay there, and only the answers come back.

The head is a compiled module of its own, ``coder_engine._cuda``, which need not be there: then the features come back
and the CPU ranks them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.cuda_memory import Mirrored, Stream, alone
from coder_engine.backends.cuda_tail import Tail
from coder_engine.errors import BackendError
from coder_engine.head import CANDIDATES, Ranking, columns, empty_ranking, joined, ranking_error
from coder_engine.machine.available import first_line
from coder_engine.weightfile.mapped import release
from coder_engine.weights import Weights

LISTS = (CANDIDATES, 10, 32)
"""Classes an image that the GPU lists, one of these numbers, as each has a graph of its own. It finds them one after
another; for more the CPU ranks."""

_numbers = count()


def list_length(top: int) -> int | None:
    """Of ``LISTS``, for ``top`` classes; None where they are too many."""
    return next((length for length in LISTS if top <= length), None)


class Runner(Protocol):
    """What encodes on the GPU, for one thread at a time.

    Attributes:
        max_batch: the most images of one run.
        beside: what others keep for this runner alone, for as long as they live themselves.
    """

    @property
    def max_batch(self) -> int: ...

    @property
    def beside(self) -> WeakKeyDictionary[object, Any]: ...

    def run(self, part: Any, tail: Tail) -> object:
        """Encode a part that this runner was lent with, then do what ``tail`` says; ends when all of it is done."""


Work = Callable[[Runner, Any], Ranking | None]
"""What is done with a runner and one part of a batch, which has a length and is what the runner runs."""

Using = Callable[[NDArray[np.uint8], Work], list[Ranking | None]]
"""Has work done with a runner for each part of some pixels; raises where the engine was closed."""


class DeviceHead:
    """The head's buffers for one runner, over the one copy of the label set; numbered, as no two share a graph."""

    def __init__(self, module: Any, weights: Any, max_batch: int) -> None:
        self.kernel = module.Head(weights, max_batch=max_batch)
        self.number = next(_numbers)


@dataclass(frozen=True, kw_only=True)
class Rank:
    """The tail of a run that ranks: the head's kernels, and one copy of their answers."""

    head: DeviceHead
    scale: float
    temperature: float
    margin: float
    rerank: bool
    top: int

    @property
    def key(self) -> tuple[object, ...]:
        return self.head.number, self.scale, self.temperature, self.margin, self.rerank, self.top

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        options = {
            "scale": self.scale,
            "temperature": self.temperature,
            "margin": self.margin,
            "rerank": self.rerank,
            "top": self.top,
        }
        try:
            self.head.kernel.enqueue(features.address, bucket, stream.handle, **options)
        except (RuntimeError, ValueError) as err:
            raise BackendError(f"the CUDA head failed ({first_line(err)}); start the program again") from err

    def read(self, images: int, out: Ranking) -> None:
        """The answers of the run before, without logits.

        Raises:
            EngineError: a feature is not finite or not of unit length.
        """
        arrays = {name: array for name, array in out.__dict__.items() if name != "logits"}
        try:
            self.head.kernel.results(images, self.top, **arrays)
        except RuntimeError as err:
            raise ranking_error(err) from err


class CudaRanker:
    """Encoder and head of one label set on the GPU, whereto :meth:`start` has its texts copied beside all else.

    Args:
        using: lends the encoder.
        weights: the label set.

    Attributes:
        fault: why the CPU ranks instead, for good; None where the GPU does, or will.
    """

    def __init__(self, using: Using, weights: Weights) -> None:
        self._using = using
        self._scale, self._temperature = weights.meta.logit_scale, weights.meta.text_temperature
        self._classes = len(weights.meta.labels)
        self.fault: str | None = None
        self._weights = weights
        self._module: Any = None
        self._copy: Future[Any] | None = None

    @property
    def description(self) -> str:
        """Where the head runs, and why not on the GPU."""
        if self._done is None:
            return "head on the CPU until its texts are on the GPU"
        return "head on the GPU" if self.fault is None else f"head on the CPU ({self.fault})"

    def start(self, before: list[Any]) -> None:
        """Begin to copy the texts, in a thread of their own.

        Args:
            before: what held the texts of other labels, for which there may be no room beside. It is freed there, too,
                as that takes milliseconds; the list is emptied.
        """
        pool = ThreadPoolExecutor(1, "coder-engine labels")
        self._copy = pool.submit(self._copied, before)
        pool.shutdown(wait=False)

    def wait(self) -> None:
        """Until the texts are on the GPU, or it is known that they cannot be."""
        copy = self._copy
        if copy is not None:
            copy.result()

    def close(self) -> None:
        """Let go of the texts on the GPU, or of those on their way there."""
        with alone:  # as freeing breaks captures, too
            self._copy = None

    @property
    def _done(self) -> Future[Any] | None:
        """The copy where it is done, one way or the other; only then does ``fault`` mean something."""
        copy = self._copy  # another thread may close this meanwhile
        return copy if copy is not None and copy.done() else None

    def rank(self, pixels: NDArray[np.uint8], *, top: int, margin: float | None, rerank: bool) -> Ranking | None:
        """As ``Head.rank``, from pixels, without logits; None where the CPU is to do it.

        Args:
            pixels: uint8 [B, H, W, 3], B >= 1, as the backend takes them.

        Raises:
            EngineError: a feature is not finite or not of unit length.
            BackendError: the GPU failed, or the engine was closed.
        """
        copied = self._done
        length = list_length(top)
        if length is None or copied is None or self.fault is not None:
            return None

        def work(runner: Runner, part: Any) -> Ranking | None:
            head = self._head_of(runner, copied.result())
            if head is None:
                return None
            tail = Rank(
                head=head,
                scale=self._scale,
                temperature=self._temperature,
                margin=-1.0 if margin is None else margin,
                rerank=rerank,
                top=columns(self._classes, length),
            )
            out = empty_ranking(len(part), self._classes, tail.top, logits=False)
            runner.run(part, tail)
            tail.read(len(part), out)
            return out

        parts = self._using(pixels, work)
        ranked = [part for part in parts if part is not None]
        return joined(ranked) if len(ranked) == len(parts) else None

    def _copied(self, before: list[Any]) -> Any:
        """The label set on the GPU; None, with ``fault`` set, where it cannot be."""
        with alone:  # as freeing breaks captures, too
            before.clear()
        weights = self._weights
        arrays = (weights.bank, weights.name_offsets, weights.name_weight)
        pairs = (weights.pair_rows, weights.pair_starts, weights.pair_others)
        try:
            self._module = importlib.import_module("coder_engine._cuda")
            with alone:
                return self._module.Weights(*arrays, *pairs)
        except ImportError:
            self.fault = "this build has no CUDA head"
        except (RuntimeError, ValueError, MemoryError) as err:
            self.fault = first_line(err)
        finally:
            release(weights.pair_rows)
        return None

    def _head_of(self, runner: Runner, texts: Any) -> DeviceHead | None:
        """This label set's head for a runner, made when first asked for; None with ``fault`` set where it cannot be."""
        if self not in runner.beside:
            try:
                with alone:
                    runner.beside[self] = DeviceHead(self._module, texts, runner.max_batch)
            except RuntimeError as err:
                self.fault = first_line(err)
                return None
        found: DeviceHead = runner.beside[self]
        return found
