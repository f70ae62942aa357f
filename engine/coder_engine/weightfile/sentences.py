"""Sentences as two tensors of a weight file, so that one of thousands is found without reading the others.

letters  uint8 [bytes]   UTF-8, one sentence after the other
starts   int64 [K + 1]   sentence i is letters[starts[i] : starts[i + 1]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(sentences: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Letters and starts."""
    texts = [sentence.encode() for sentence in sentences]
    return np.frombuffer(b"".join(texts), np.uint8), starts_of([len(text) for text in texts])


def unpack(letters: NDArray[np.uint8], starts: NDArray[np.int64], first: int, last: int) -> list[str]:
    """Sentences ``first`` up to, but without, ``last``."""
    # Opening a file does not read the letters, so damage may show here; a wrong letter is no reason to say nothing.
    return [letters[i:j].tobytes().decode(errors="replace") for i, j in pairwise(starts[first : last + 1].tolist())]


def starts_of(counts: Sequence[int]) -> NDArray[np.int64]:
    """Where each of some runs begins that lie one after the other, and where the last one ends: int64 [N + 1]."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def last_of(starts: NDArray[Any] | None) -> int:
    """Where the last run ends; 0 where ``starts`` is none at all, which a check of shapes will say."""
    return int(starts[-1]) if starts is not None and starts.ndim == 1 and len(starts) else 0


def starts_problem(tensors: Mapping[str, NDArray[Any] | None], names: Sequence[str]) -> str | None:
    """What is wrong with starts of the right shapes, which would reach past an end; or None."""
    for name in names:
        starts = tensors[name]
        if starts is not None and (starts[0] != 0 or (np.diff(starts) < 0).any()):
            return f"{name} must ascend from 0"
    return None
