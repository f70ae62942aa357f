"""Two-stage CODER over frozen weights, and resizing, in C++ (private: ``Engine`` is the way in).

Letters: B images, C classes, R name rows, P pairs, D width, k = min(5, C) candidates, n entries asked for.

Every array must have exactly the dtype and shape given here, in C order and aligned: another dtype or a
strided array is a ``TypeError``, another shape or a read-only output a ``ValueError``. Nothing is ever
copied. All results go into the caller's arrays, which must not overlap each other or an input.
"""

import numpy as np
from numpy.typing import NDArray

def isa() -> str:
    """The best instruction set this CPU can run: ``"avx512"``, ``"avx2"``, ``"neon"`` or ``"scalar"``."""

def isas() -> list[str]:
    """All instruction sets this CPU can run, best first; the last is ``"scalar"``."""

def resize_crop(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    top: int,
    left: int,
    filter: str = "bicubic",
    isa: str = "auto",
) -> None:
    """Pillow's ``Image.resize`` and ``Image.crop``, bit for bit: the rows and columns of the crop alone are computed.

    The width is resized first. Pillow 13 does so but where the height shrinks by more than twice as many pixels as
    the width does. The GIL is released. All instruction sets give the same bits.

    Args:
        image: [H, W, 3], or [H, W, 4], read as RGB and a byte that means nothing: so Pillow keeps it.
        out: [h, w, 3], written: the crop.
        size: (height, width) of the whole image, resized; no side of either image is over 2^24 pixels.
        top: the crop's first row in it. The crop lies inside the resized image.
        left: the crop's first column.
        filter: ``"bicubic"`` or ``"bilinear"``, antialiased.
        isa: ``"auto"`` or one of ``isas()``.

    Raises:
        TypeError: an array has another dtype or is strided.
        ValueError: anything else is not as above; the message names it. Nothing is written.
        MemoryError: there is none for the rows that one output row is made of.
    """

class Head:
    """The collapsed texts of a label set and the threads that work on them.

    Any number of Python threads may call one Head at once, and the GIL is released meanwhile. One caller gets
    the Head's threads, the others run alone. An image's result depends on its own row only: not on B, on its
    place in the batch, on ``threads`` or on other callers. Between instruction sets results differ by
    rounding. The threads do not survive ``os.fork``: a child does all the work itself.
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
        pair_file: tuple[int, int] | None = None,
        threads: int = 1,
        isa: str = "auto",
    ) -> None:
        """Checks the arrays and keeps them: they must not change as long as the Head lives.

        Args:
            bank: [C + R, D], finite: q_1 .. q_C, then the name texts, class by class.
            name_offsets: [C + 1]; the name rows of class j are bank[C + off[j] : C + off[j + 1]], at least
                one each.
            name_weight: [C], w_j = 1 / (m_j + 1), in (0, 1].
            pair_rows: [P, D], g_ab = mean(texts of a against b) - mean(texts of b against a) for a < b; may
                be a read-only ``np.memmap``, only the rows of an image's candidates are read.
                None = no pairs.
            pair_starts: [C + 1], the rows of the pairs (a, .) are pair_rows[starts[a] : starts[a + 1]].
                None = dense: P = C (C - 1) / 2 and the pair a < b is row a (2C - a - 1) / 2 + (b - a - 1).
            pair_others: [P], the b of each row, ascending inside each a. None exactly when
                ``pair_starts`` is.
            pair_file: a file's descriptor, open for as long as the Head lives, and where ``pair_rows`` begin in it:
                rows are then read from there rather than through the map, see ``coder_engine.weightfile.mapped``.
            threads: 1 to 1024, the caller counted.
            isa: ``"auto"`` or one of ``isas()``.

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: anything else is not as above; the message names it.
            RuntimeError: a thread cannot be started.
        """

    @property
    def isa(self) -> str:
        """The instruction set in use."""

    @property
    def threads(self) -> int:
        """Threads in use, the caller counted."""

    def coder(self, features: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """out[i, r] = features[i] . bank[r], in single precision.

        Args:
            features: [B, D]; B may be 0.
            out: [B, C + R], written.

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: a shape is wrong, or ``out`` is read-only.
            RuntimeError: a feature holds a NaN or an infinity; the message names the image row. ``out`` is
                unchanged.
        """

    def product(self, rows: NDArray[np.float32], features: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """out[i, r] = features[i] . rows[r], as ``coder`` with other rows than the bank's.

        Args:
            rows: [N, D].
            features: [B, D]; B may be 0.
            out: [B, N], written.

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: a shape is wrong, or ``out`` is read-only.
            RuntimeError: a feature holds a NaN or an infinity. ``out`` is unchanged.
        """

    def rank(
        self,
        features: NDArray[np.float32],
        coder: NDArray[np.float32],
        *,
        scale: float,
        temperature: float,
        margin: float,
        rerank: bool,
        logits: NDArray[np.float32],
        ids: NDArray[np.int32],
        scores: NDArray[np.float32],
        gaps: NDArray[np.float32],
        duels: NDArray[np.float32],
        reranked: NDArray[np.bool_],
    ) -> None:
        """Ranks the classes of each image.

        Stage 1 (Eq. 8): o_j = coder[j] + w_j * max of coder over the name rows of j. Classes are ordered by o
        descending, ties by lower class id; the first k are the candidates.

        Stage 2 (Eq. 9-15): gap_ab = x . g_ab = -gap_ba, 0 for a pair without texts; S_c = sum of the gaps of
        c over the other candidates. Candidates are ordered by S descending, ties by stage-1 rank; later
        entries stay.

        Args:
            features: [B, D]; B may be 0.
            coder: [B, C + R], from ``coder`` or from the engine's graph.
            scale: logit scale of the softmax, 1e-9 to 1e9, as must be scale / temperature.
            temperature: what scores are calibrated by, positive; 1 = not. The margin goes without it.
            margin: rerank only images whose softmax(scale * o) top-1 minus top-2 is below it; negative = all.
            rerank: False = stage 1 only.
            logits: [B, C], written: o_j.
            ids: [B, n] with k <= n <= C, written: class ids, best first.
            scores: [B, n], written: softmax(scale * o / temperature) of ``ids``.
            gaps: [B, k], written: S_c of the first k of ``ids``; 0 where not reranked.
            duels: [B, k, k], written: gap of candidate i over candidate j of ``ids``; 0 on the diagonal,
                where texts are missing and where not reranked.
            reranked: [B], written: stage 2 ran, as it was asked for, the margin allowed it and at least one
                pair of the image's candidates has texts.

        Raises:
            TypeError: an array has another dtype or is strided.
            ValueError: a shape, ``scale``, ``temperature`` or ``margin`` is wrong, or an output is read-only.
                Nothing is written.
            RuntimeError: a feature, a coder row or a pair row needed holds a NaN or an infinity, or such a row
                cannot be read; the message names the first such image row, and the outputs' contents are
                unspecified.
        """
