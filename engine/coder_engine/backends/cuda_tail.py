"""What is done with the features where they are, on the GPU."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from coder_engine.backends.cuda_memory import Mirrored, Stream


class Tail(Protocol):
    """What is asked of the stream after the encoder.

    Attributes:
        key: tails of equal keys share a graph. It is kept longer than the tail and must hold nothing of it.
    """

    @property
    def key(self) -> Hashable: ...

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        """``features`` float32 [bucket, D] are on the GPU by then; nothing may be allocated."""


class Download:
    """The features themselves, to the host."""

    key = "features"

    def enqueue(self, features: Mirrored, bucket: int, stream: Stream) -> None:
        features.download(stream)
