"""Stages 2 to 4 in order: the text set of the labels, its features, and these collapsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.weightfile.general_texts import pack_texts
from coder_export.collapse import (
    GeneralRows,
    PairRows,
    collapse_general,
    collapse_pairs,
    count_duel_texts,
    duelling_pairs,
    one_sided_pairs,
)
from coder_export.config import NO_TEXTS, ExportConfig
from coder_export.encode import TextEncoder
from coder_export.generic import GenericTexts
from coder_export.model import ClipModel
from coder_export.report import Report
from coder_export.shipped import find_shipped, open_textset
from coder_export.textset import GENERAL_KINDS, Sentence, TextSet, names_only

MAX_KEPT = 250_000
"""One-to-one texts whose features are kept for explanations: 256 MB at D = 512. All pairs of 1,000 classes have
millions, gigabytes beside pair rows of 512 MB."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The text set's features, collapsed.

    Attributes:
        sentences: the T general texts, by class.
        features: float32 [T, D].
        generic: texts of no class, and ``generic_features`` theirs, float32 [G, D]; None where none were asked for.
    """

    textset: TextSet
    sentences: list[list[Sentence]]
    features: NDArray[np.float32]
    general: GeneralRows
    pairs: PairRows | None
    truncated: int
    generic: GenericTexts | None = None
    generic_features: NDArray[np.float32] | None = None

    def counts(self) -> dict[str, Any]:
        """Counts of texts by kind and of pairs, holes included."""
        classes = len(self.textset.labels)
        kinds = [sentence.kind for own in self.sentences for sentence in own]
        return {
            "general": {kind: kinds.count(kind) for kind in ("name", *GENERAL_KINDS)},
            "classes_without": {kind: len(labels) for kind, labels in self.textset.holes().items()},
            "pairs": 0 if self.pairs is None else len(self.pairs.rows),
            "pairs_possible": classes * (classes - 1) // 2,
            "pairs_one_sided": len(one_sided_pairs(self.textset)),
            "truncated": self.truncated,
        }

    def tensors(self, *, keep: bool) -> dict[str, NDArray[Any]]:
        """What the weight file holds of them; ``keep`` the sentences and their features, too."""
        tensors: dict[str, NDArray[Any]] = dict(self.general.__dict__)
        if self.pairs is not None:
            tensors.update(pair_rows=self.pairs.rows, **self.pairs.texts)
            if self.pairs.starts is not None and self.pairs.others is not None:
                tensors.update(pair_starts=self.pairs.starts, pair_others=self.pairs.others)
        if keep:
            classes = [[(sentence.kind, sentence.text) for sentence in own] for own in self.sentences]
            tensors.update(pack_texts(self.features, classes))
        if self.generic_features is not None:
            tensors["generic_texts"] = self.generic_features
        return tensors


def choose_texts(config: ExportConfig, labels: tuple[str, ...], report: Report) -> TextSet | None:
    """The text set asked for, else the shipped one that covers the labels; None where there is none."""
    if config.texts == NO_TEXTS:
        return names_only(labels)
    if config.texts is not None:
        return open_textset(config.texts).for_labels(labels)
    shipped = find_shipped(labels)
    if shipped is None:
        return None
    report.say(
        f"{config.labels} is covered by the shipped text set {shipped.name!r} ({shipped.source['domain']}): using it "
        "(--texts none for class names only)"
    )
    return shipped.for_labels(labels)


def embed_texts(
    textset: TextSet, clip: ClipModel, config: ExportConfig, report: Report, generic: GenericTexts | None = None
) -> Texts:
    """Encode and collapse all texts of a text set, and encode those of no class."""
    encoder = TextEncoder(
        model=clip.model, tokenizer=clip.tokenizer, batch_size=config.batch_size, on_long=config.on_long
    )
    sentences = [textset.sentences(i) for i in range(len(textset.labels))]
    flat = [sentence.text for own in sentences for sentence in own]
    with report.progress("general texts", len(set(flat))) as advance:
        features = encoder.encode(flat, advance)
    generic_features = None
    if generic is not None:
        with report.progress(f"{generic.name} texts", len(generic.sentences)) as advance:
            generic_features = encoder.encode(generic.sentences, advance)
    duels = count_duel_texts(textset)
    with report.progress("pairs", len(duelling_pairs(textset))) as advance:
        pairs = collapse_pairs(textset, encoder, advance, keep_texts=config.keep_texts and duels <= MAX_KEPT)
    texts = Texts(
        textset=textset,
        sentences=sentences,
        features=features,
        general=collapse_general(features, sentences),
        pairs=pairs,
        truncated=encoder.truncated,
        generic=generic,
        generic_features=generic_features,
    )
    report.texts(texts.counts(), textset)
    if config.keep_texts and duels > MAX_KEPT:
        report.say(
            f"  the {duels:,} one-to-one texts are not kept, only up to {MAX_KEPT:,} are: "
            "explanations will tell duels, not their texts"
        )
    return texts
