"""The zero-shot methods of the paper's Tables 1 and 2 on the same features: CLIP, VCD, CODER and what CODER is made of.

CODER goes through the head that ``Engine`` uses, from the collapsed weights. The others are written from their formulas
over all T texts, which is why they need a weight file that kept its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import DataError
from coder_engine.evaluate.answers import Answers, answers_of, confidence_of
from coder_engine.evaluate.rerank import votes
from coder_engine.general_texts import KINDS, NAME_KINDS, GeneralTexts
from coder_engine.head import CANDIDATES, Head, Ranking
from coder_engine.weights import Weights

Features = NDArray[np.float32]
Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

TITLES = {
    "clip": "CLIP",
    "clip-ensemble": "CLIP, ensemble",
    "vcd": "VCD",
    "coder": "CODER",
    "coder-star": "CODER*",
    "votes": "CODER*, votes",
    "gated": "CODER*, gated",
}
"""By the name an option takes. CODER is stage 1 alone, CODER* both stages, as in the paper's Table 1."""

OF_TEXTS = ("clip", "clip-ensemble", "vcd")

ABLATION = {
    "P": ("name",),
    "P+Att": ("name", "attribute"),
    "P+Att+Ana": ("name", "attribute", "analogous"),
    "P+Att+Ana+Syn": ("name", "attribute", "analogous", "synonym"),
}
"""The rows of Table 2, and synonyms, which it leaves out."""

_BLOCK = 1024


def zero_shot(
    methods: Sequence[str], features: Features, weights: Weights, *, margin: float, threads: int = 1
) -> list[Answers]:
    """Answers of the zero-shot methods named.

    Args:
        methods: keys of ``TITLES``.
        features: float32 [B, D], unit length.
        weights: the label set.
        margin: of the gate of "gated".

    Raises:
        DataError: a method needs texts that the weight file has not got.
    """
    head = Head(weights, threads=threads)
    found = []
    for name in methods:
        if name in OF_TEXTS:
            found.append(_of_texts(name, features, weights))
        else:
            ranking = head.rank(features, margin=margin if name == "gated" else None, rerank=name != "coder")
            title = f"{TITLES[name]} {margin:g}" if name == "gated" else TITLES[name]
            found.append(_of_ranking(title, ranking, weights, votes(ranking) if name == "votes" else None))
    return found


def ablation(features: Features, weights: Weights, *, threads: int = 1) -> list[Answers]:
    """Table 2: stage 1 as the kinds of text come in, then the rerank by one-to-one texts on top.

    Raises:
        DataError: the weight file has not got its texts.
    """
    kept, scale = kept_texts(weights), weights.meta.logit_scale
    columns = kept.rows_by_kind()

    def rows(block: Features) -> Logits:
        """[b, rows, C]; the cosines are what costs, so all rows share them."""
        cosines = block @ kept.texts.T
        return np.stack([_stage_one(cosines, columns, kinds) for kinds in ABLATION.values()], axis=1)

    logits = by_blocks(features, rows)
    found = [answers_of(title, logits[:, n], scale) for n, title in enumerate(ABLATION)]
    if weights.pair_rows is not None:
        found.append(_of_ranking("P+Att+Ana+Syn+1v1", Head(weights, threads=threads).rank(features), weights))
    return found


def stage_one(features: Features, weights: Weights, kinds: Collection[str]) -> Logits:
    """Eq. 8 with only some kinds of text, over all of them: [B, D] -> o [B, C]."""
    kept = kept_texts(weights)
    return _stage_one(features @ kept.texts.T, kept.rows_by_kind(), kinds)


def name_features(weights: Weights, *, ensemble: bool) -> NDArray[np.float32]:
    """CLIP's classifier, [C, D] unit length: the first name sentence, or the mean of all of them."""
    kept = kept_texts(weights)
    own = [kinds["name"] if ensemble else kinds["name"][:1] for kinds in kept.rows_by_kind()]
    found = np.stack([kept.texts[rows].mean(axis=0) for rows in own])
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def attribute_features(weights: Weights) -> NDArray[np.float32]:
    """VCD's classifier, [C, D]: the mean of the texts "name, which has attribute"; a class that has none, its name.

    Its cosines' mean is the cosine with the mean, so the rows are not brought to unit length again.
    """
    kept = kept_texts(weights)
    return np.stack([kept.texts[own.get("attribute") or own["name"][:1]].mean(axis=0) for own in kept.rows_by_kind()])


def kept_texts(weights: Weights) -> GeneralTexts:
    """The T general texts.

    Raises:
        DataError: the weight file was exported without them.
    """
    kept = weights.general_texts
    if kept is None:
        raise DataError(
            f"{weights.path}: has no general texts, which CLIP, VCD, the ablation and few-shot need; "
            "export it with coder-export --keep-texts, or pass --methods coder,coder-star"
        )
    return kept


def by_blocks(features: Features, run: Callable[[Features], Logits]) -> Logits:
    """``run`` on some rows at a time, so that [B, T] is never held."""
    return np.concatenate([run(block) for block in _blocks(features)])


def _blocks(features: Features) -> Iterator[Features]:
    for start in range(0, len(features), _BLOCK):
        yield features[start : start + _BLOCK]


def _stage_one(cosines: Features, columns: Sequence[Mapping[str, list[int]]], kinds: Collection[str]) -> Logits:
    """Eq. 8 from cosines [B, T] and each class's columns of them by kind."""
    logits = np.empty((len(cosines), len(columns)), np.float32)
    for j, own in enumerate(columns):
        names = [i for kind in KINDS if kind in NAME_KINDS and kind in kinds for i in own.get(kind, ())]
        others = [i for kind in KINDS if kind not in NAME_KINDS and kind in kinds for i in own.get(kind, ())]
        best = cosines[:, names].max(axis=1)
        logits[:, j] = (cosines[:, others].sum(axis=1) + best) / (len(others) + 1)
    return logits


def _of_texts(name: str, features: Features, weights: Weights) -> Answers:
    rows = attribute_features(weights) if name == "vcd" else name_features(weights, ensemble=name == "clip-ensemble")
    return answers_of(TITLES[name], features @ rows.T, weights.meta.logit_scale)


def _of_ranking(title: str, ranking: Ranking, weights: Weights, ids: Ids | None = None) -> Answers:
    """What the head says, or the same candidates in the order of ``ids``; scores are stage 1's, as a Prediction's."""
    order = ranking.ids[:, :CANDIDATES].astype(np.int64) if ids is None else ids
    scale = weights.meta.logit_scale / weights.meta.temperature
    return Answers(method=title, ids=order, confidence=confidence_of(ranking.logits, order[:, 0], scale))
