"""CLIP's text space as a judge: how near names, glosses and analogues are to one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coder_export.encode import TextEncoder
from coder_export.model import ClipModel
from coder_export.report import Report
from coder_export.templates import with_article

_MANY = 500
"""Names that take seconds to encode."""


class TextSpace:
    """Similarities of short texts in the text space of one CLIP model."""

    def __init__(self, clip: ClipModel, report: Report | None = None) -> None:
        self.clip = clip
        self._report = report or Report(quiet=True)
        self.name = f"{clip.name} ({clip.pretrained})"
        # What is over-long here is the expert's affair: a gloss cut at 77 tokens is still the gloss.
        self._encoder = TextEncoder(model=clip.model, tokenizer=clip.tokenizer, on_long="truncate")

    @property
    def context_length(self) -> int:
        """Tokens that the model's text tower reads."""
        return self._encoder.context_length

    def features(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Unit features [N, D] of names of things: each read as "a NAME", the shortest caption CLIP has often seen."""
        quick = len(names) < _MANY  # a bar for every handful would only flicker
        with self._report.progress("names through CLIP", 0 if quick else len(set(names))) as advance:
            return self._encoder.encode([with_article(name) for name in names], advance)

    def between(self, names: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Cosines [N, M] of names with names."""
        return np.asarray(self.features(names) @ self.features(others).T)

    def of_gloss(self, name: str, glosses: Sequence[str]) -> list[float]:
        """Cosines of the name of a class with dictionary glosses, which are read as they stand."""
        rows = self._encoder.encode([name, *glosses])
        return [float(cosine) for cosine in rows[1:] @ rows[0]]
