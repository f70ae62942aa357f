"""What the engine says of one image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

from coder_engine.errors import ImageError
from coder_engine.head import Ranking


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One class the image may show.

    Attributes:
        label: the class name.
        score: its probability by stage 1, softmax(logit scale * o / temperature), o of Eq. 8. After a rerank another
            class of ``top`` may have a higher one.
        gap: S of Eq. 15, the sum of its one-to-one gaps over the other candidates; 0.0 where not reranked.
    """

    label: str
    score: float
    gap: float


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why an image has no answer: ``kind`` is one word for programs, ``message`` a sentence for people."""

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: the best class; None where ``error`` is set.
        score: its probability, calibrated where a temperature was fitted; None where ``error`` is set.
        top: the best classes in order, ``label`` first; empty where ``error`` is set.
        reranked: whether stage 2 ran.
        path: where the image came from; None for images that were no paths.
        error: why there is no answer.
        unknown: the score is below the threshold, the weight file's or the one asked for; ``label`` is still the best
            guess.
        reordered: whether the rerank put another class first than stage 1 did, which ``top`` may not list.
    """

    label: str | None
    score: float | None
    top: tuple[Candidate, ...]
    reranked: bool
    path: str | None = None
    error: Fault | None = None
    unknown: bool = False
    reordered: bool = False

    def to_json(self) -> dict[str, Any]:
        """One line of ``coder-infer --format jsonl``, plain values; ``unknown`` is there only where true."""
        if self.error is not None:
            return {"path": self.path, "error": {"kind": self.error.kind, "message": self.error.message}}
        top = [{"label": one.label, "score": one.score, "gap": one.gap} for one in self.top]
        found: dict[str, Any] = {"path": self.path, "label": self.label, "score": self.score, "top": top}
        found["reranked"] = self.reranked
        return found | ({"unknown": True} if self.unknown else {})


def failed(path: str | None, err: ImageError) -> Prediction:
    fault = Fault(kind=err.kind, message=str(err))
    return Prediction(label=None, score=None, top=(), reranked=False, path=path, error=fault)


def prediction_of(
    path: str | None,
    ranking: Ranking,
    row: int,
    labels: tuple[str, ...],
    top: int,
    unknown_below: float | None,
) -> Prediction:
    gaps = chain(ranking.gaps[row].tolist(), iter(lambda: 0.0, None))
    columns = zip(ranking.ids[row].tolist(), ranking.scores[row].tolist(), gaps, strict=False)
    found = tuple(Candidate(label=labels[i], score=score, gap=gap) for i, score, gap in columns)
    best = found[0]
    reranked = bool(ranking.reranked[row])
    return Prediction(
        label=best.label,
        score=best.score,
        top=found[:top],
        reranked=reranked,
        path=path,
        unknown=unknown_below is not None and best.score < unknown_below,
        reordered=reranked and best.score < max(one.score for one in found),
    )
