"""Stands in for Engine where only the command around it is tested."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from coder_engine.errors import ImageError
from coder_engine.explain import Explanation
from coder_engine.images import read_rgb
from coder_engine.prediction import Candidate, Fault, Prediction

LABELS = ("red", "green", "blue")


class FakeEngine:
    """The part of Engine that the command uses: says which colour a picture has most of."""

    labels = LABELS
    description = "fake engine; 3 classes"
    adapter: object = None

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.closed = False
        self.interrupt_after = sys.maxsize

    def predict_stream(self, items: Iterable[str], **options: Any) -> Iterator[Prediction]:
        self.options = options
        self.stream = self._stream(items)  # held here, so that only close() ends it
        return self.stream

    def _stream(self, items: Iterable[str]) -> Iterator[Prediction]:
        try:
            for n, path in enumerate(items):
                if n >= self.interrupt_after:
                    raise KeyboardInterrupt
                yield self._predict(path)
        finally:
            self.closed = True

    def _predict(self, path: str) -> Prediction:
        try:
            colour = read_rgb(path).resize((1, 1)).getpixel((0, 0))
        except ImageError as err:
            fault = Fault(kind=err.kind, message=str(err))
            return Prediction(label=None, score=None, top=(), reranked=False, path=path, error=fault)
        scores = dict(zip(LABELS, [value / sum(colour) for value in colour], strict=True))
        names = sorted(scores, key=lambda name: -scores[name])
        top = tuple(Candidate(label=name, score=scores[name], gap=0.0) for name in names[: self.options["top"]])
        best = top[0]
        threshold = self.options["unknown_below"]
        unknown = threshold is not None and best.score < threshold
        return Prediction(label=best.label, score=best.score, top=top, reranked=False, path=path, unknown=unknown)

    def explain(self, path: str) -> Explanation:
        read_rgb(path)
        return Explanation(
            stage_one=(("red", 0.5, 1.0),),
            classes=(),
            duels=(),
            sums=(("red", 0.0),),
            reranked=False,
            no_rerank=f"of {path}",
        )
