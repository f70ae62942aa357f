"""Two-stage CODER on a CUDA stream, in C++ (private: ``Engine`` is the way in; only where nvcc built it).

Letters and rules are those of ``_kernels``: B images, C classes, R name rows, P pairs, D width, k = min(5, C)
candidates, n entries asked for; arrays of exactly these dtypes and shapes, in C order; nothing is converted.
"""

import numpy as np
from numpy.typing import NDArray

def available() -> int:
    """NVIDIA GPUs that this process may use; 0 where there is no driver. Never raises."""

class Weights:
    """The collapsed texts of a label set on the GPU that was current when it was made, for any number of Heads.

    Making and dropping it talks to the device outside the caller's streams: not in a thread that has a stream under
    capture. What other threads capture is left alone, in whatever mode. The GIL is released meanwhile.
    """

    def __init__(
        self,
        bank: NDArray[np.float32],
        name_offsets: NDArray[np.int32],
        name_weight: NDArray[np.float32],
        pair_rows: NDArray[np.float16] | None,
        pair_starts: NDArray[np.int64] | None,
        pair_others: NDArray[np.int32] | None,
        *,
        pairs: str = "auto",
    ) -> None:
        """Checks the arrays and copies them, unlike ``_kernels.Head``, which keeps them.

        Args:
            bank: [C + R, D], as for ``_kernels.Head``; so are the five below.
            name_offsets: [C + 1].
            name_weight: [C].
            pair_rows: [P, D], or None.
            pair_starts: [C + 1], or None.
            pair_others: [P], or None.
            pairs: where the pair rows go: ``"device"``, ``"host"`` (pinned memory that the kernels read over the
                bus, ten rows an image), or ``"auto"``: the device where they take at most half of what is free.

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: anything else is not as above; the message names it.
            RuntimeError: no GPU, none that this build has code for, or not enough memory.
        """

    @property
    def classes(self) -> int:
        """C."""

    @property
    def names(self) -> int:
        """R."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def pairs_on(self) -> str:
        """Where the pair rows are: ``"device"``, ``"host"``, or ``"none"`` without any."""

class Head:
    """Buffers for one call at a time of ``_kernels.Head``'s two stages, on the device of its ``Weights``.

    A Head belongs to one stream at a time: ``enqueue`` on it, synchronise it, read ``results``, then enqueue the
    next. Sums are in fp32, in an order that depends on D alone: an image's result depends neither on B nor on its
    place. It differs from ``_kernels.Head``'s by rounding. The GIL is released in every call. For making and dropping
    one, and for ``logits``, the same goes as for ``Weights``.
    """

    def __init__(self, weights: Weights, *, max_batch: int) -> None:
        """Allocates.

        Args:
            weights: kept for as long as this is.
            max_batch: images there are buffers for, 1 to 65536.

        Raises:
            ValueError: ``max_batch`` is out of range.
            RuntimeError: not enough memory.
        """

    @property
    def max_batch(self) -> int:
        """Images there are buffers for."""

    def enqueue(
        self,
        features: int,
        batch: int,
        stream: int,
        *,
        scale: float,
        temperature: float,
        margin: float,
        rerank: bool,
        top: int,
    ) -> None:
        """Enqueues two kernels and one copy; with no image, nothing. It neither allocates nor synchronises.

        A stream under capture records them: each launch of the graph ranks what ``features`` then holds.

        Args:
            features: address of float32 [B, D] in device memory, 4-byte aligned. Each row is divided by its
                length, which must be within 0.01 of 1.
            batch: B, 0 to ``max_batch``.
            stream: a cudaStream_t, 0 for the default stream.
            scale: logit scale of the softmax, 1e-9 to 1e9, as must be scale / temperature.
            temperature: what scores are calibrated by, positive; 1 = not. The margin goes without it.
            margin: rerank only images whose softmax(scale * o) top-1 minus top-2 is below it; negative = all.
            rerank: False = stage 1 only.
            top: n, k to C. Meant to be small: the entries are found one after another.

        Raises:
            ValueError: an argument is out of range, or CUDA does not know the address.
            RuntimeError: CUDA refused.
        """

    def results(
        self,
        batch: int,
        top: int,
        *,
        ids: NDArray[np.int32],
        scores: NDArray[np.float32],
        gaps: NDArray[np.float32],
        duels: NDArray[np.float32],
        reranked: NDArray[np.bool_],
    ) -> None:
        """The answers of the last call that the stream has ended; synchronise the stream first.

        Args:
            batch: the first so many images, at most those of the call: a batch that was filled up to the size of
                a graph is read without its filling.
            top: n of the call.
            ids: [B, n], written, as by ``_kernels.Head.rank``; so are the others.
            scores: [B, n].
            gaps: [B, k].
            duels: [B, k, k].
            reranked: [B].

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: a shape is wrong, an output is read-only, or the call had fewer images or another n.
            RuntimeError: a feature is not finite or not of unit length, or a coder row or a pair row needed is not
                finite; the message names the first such image row, and the outputs' contents are unspecified.
        """

    def logits(self, batch: int, out: NDArray[np.float32]) -> None:
        """o of Eq. 8 for the first ``batch`` images of the same call, fetched from the device now.

        Args:
            batch: 0 to ``max_batch``.
            out: [B, C], written.

        Raises:
            TypeError: ``out`` has another dtype or is strided.
            ValueError: its shape is wrong or it is read-only.
            RuntimeError: CUDA refused.
        """
