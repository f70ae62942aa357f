"""The methods of the paper's Tables 1 and 2 on the same features: CLIP, VCD, CODER, and the adapter that is stored.

CODER and the adapter go through what ``Engine`` uses, from the collapsed weights. The others are written from their
formulas over all T texts, which is why they need a weight file that kept its texts.

A temperature is fitted to the scores of the one method that the engine answers by. So it divides the scores of that
method alone (``answered_by``); all others have temperature 1, which is what they were without the fit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from coder_engine.adapter_head import open_adapter
from coder_engine.errors import DataError
from coder_engine.evaluate.answers import Answers, answers_of, best_first, confidence_of
from coder_engine.evaluate.blocks import by_blocks
from coder_engine.evaluate.margin import lead
from coder_engine.evaluate.methods import ZERO_SHOT as TITLES
from coder_engine.evaluate.rerank import votes
from coder_engine.head import CANDIDATES, Head, Ranking
from coder_engine.weightfile.general_texts import KINDS, NAME_KINDS, GeneralTexts
from coder_engine.weights import Weights

Features = NDArray[np.float32]
Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

OF_TEXTS = ("clip", "clip-ensemble", "vcd")

ABLATION = {
    "P": ("name",),
    "P+Att": ("name", "attribute"),
    "P+Att+Ana": ("name", "attribute", "analogous"),
    "P+Att+Ana+Syn": ("name", "attribute", "analogous", "synonym"),
}
"""The rows of Table 2, and synonyms, which it leaves out."""


def runnable(weights: Weights) -> list[str]:
    """The methods that a weight file has all for: keys of ``TITLES``."""
    lacking = () if weights.texts is not None else OF_TEXTS
    return [name for name in TITLES if name not in lacking and (name != "adapter" or weights.adapter_keys is not None)]


def answered_by(weights: Weights, margin: float) -> str:
    """The method that an engine answers by, unless it is told otherwise; "" where it is a gate of another margin."""
    if weights.adapter_keys is not None:
        return "adapter"
    if weights.meta.margin is None:
        return "coder-star"
    return "gated" if weights.meta.margin == margin else ""


def title_of(name: str, margin: float) -> str:
    """The title of a method in tables; ``margin`` is that of the gate."""
    return f"{TITLES[name]} {margin:g}" if name == "gated" else TITLES[name]


def zero_shot(
    methods: Sequence[str], features: Features, ranking: Ranking, weights: Weights, *, margin: float, threads: int = 1
) -> list[Answers]:
    """Answers of the methods named.

    Args:
        methods: keys of ``TITLES``.
        features: float32 [B, D], unit length.
        ranking: of these features by the ``Head`` of ``weights``, every image reranked.
        weights: the label set.
        margin: of the gate of "gated".

    Raises:
        DataError: a method needs texts or an adapter that the weight file has not got.
    """
    own, scale = answered_by(weights, margin), weights.meta.logit_scale
    found = []
    for name in methods:
        if name in OF_TEXTS:
            found.append(_of_texts(name, features, weights))
        elif name == "adapter":
            found.append(_of_adapter(features, weights, threads))
        else:
            ids = _order(name, ranking, scale, margin)
            temperature = weights.meta.temperature if name == own else 1.0
            found.append(_of_ranking(title_of(name, margin), ids, ranking, scale / temperature))
    return found


def ablation(features: Features, ranking: Ranking, weights: Weights) -> list[Answers]:
    """Table 2: stage 1 as the kinds of text come in, then the rerank by one-to-one texts on top; temperature 1.

    Args:
        features, ranking, weights: as in :func:`zero_shot`.

    Raises:
        DataError: the weight file has not got its texts.
    """
    kept, scale = kept_texts(weights), weights.meta.logit_scale
    columns = kept.rows_by_kind()

    def rows(block: Features) -> Logits:
        """[b, rows, C]; the cosines are what costs, so all rows share them."""
        cosines = block @ kept.texts.T
        return np.stack([_stage_one(cosines, columns, kinds) for kinds in ABLATION.values()], axis=1)

    logits = by_blocks(rows, features)
    found = [answers_of(title, logits[:, n], scale) for n, title in enumerate(ABLATION)]
    if weights.pair_rows is not None:
        ids = _order("coder-star", ranking, scale)
        found.append(_of_ranking("P+Att+Ana+Syn+1v1", ids, ranking, scale))
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
            f"{weights.path}: has no general texts, which CLIP, VCD and the ablation need; "
            "export it with coder-export --keep-texts, or pass --methods coder,coder-star"
        )
    return kept


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


def _of_adapter(features: Features, weights: Weights, threads: int) -> Answers:
    """What the engine says, scores included."""
    adapter = open_adapter(weights, Head(weights, threads=threads))
    if adapter is None:
        raise DataError(
            f"{weights.path}: has no few-shot adapter; coder-fit writes one, else leave adapter out of --methods"
        )
    ranking = adapter.rank(features)
    ids = ranking.ids[:, :CANDIDATES].astype(np.int64)
    return Answers(method=TITLES["adapter"], ids=ids, confidence=ranking.scores[:, 0].astype(np.float64))


def _of_ranking(title: str, ids: Ids, ranking: Ranking, scale: float) -> Answers:
    """Scores are stage 1's whatever put the classes into this order, as a Prediction's."""
    return Answers(method=title, ids=ids, confidence=confidence_of(ranking.logits, ids[:, 0], scale))


def _order(name: str, ranking: Ranking, scale: float, margin: float = 0.0) -> Ids:
    """The first classes [B, min(5, C)] of a ranking that reranked every image, as another method puts them."""
    if name == "votes":
        return votes(ranking)
    both = ranking.ids[:, :CANDIDATES].astype(np.int64)
    if name == "coder-star":
        return both
    first = best_first(ranking.logits)
    return first if name == "coder" else np.where((lead(ranking.logits, scale) < margin)[:, None], both, first)
