"""Weight files in memory that keep the texts they were collapsed from."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import reference
from coder_engine.weightfile import general_texts, pair_texts
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import Weights
from parity.cases import Case
from parity.collapsed import collapse


def text_of(kind: str, owner: object, number: int) -> str:
    return f"{kind} text {number} of {owner}"


def kept_weights(case: Case, *, general: bool = True, pairs: bool = True, **meta: Any) -> Weights:
    """The case's weights, with the general and the one-to-one texts kept or not."""
    texts = collapse(case.class_texts, case.pairs, case.layout)
    made = Metadata(
        labels=tuple(f"class {j}" for j in range(len(case.class_texts))),
        model="numbers",
        pretrained="none",
        tower="numbers",
        preprocess={},
        logit_scale=case.scale,
        temperature=case.temperature,
        **meta,
    )
    kept: dict[str, Any] = _general(case) if general else {}
    if pairs and texts.pair_rows is not None:
        kept |= _packed(case)
    return Weights(path=Path("drawn.safetensors"), meta=made, **texts.__dict__, **kept)


def _general(case: Case) -> dict[str, Any]:
    kinds = reference.KINDS
    rows = [own[kind] for own in case.class_texts for kind in kinds]
    sentences = [
        [(kind, text_of(kind, j, n)) for kind in kinds for n in range(len(own[kind]))]
        for j, own in enumerate(case.class_texts)
    ]
    return general_texts.pack_texts(np.concatenate(rows).astype(np.float32), sentences)


def _packed(case: Case) -> dict[str, Any]:
    """The one-to-one texts of the pairs that have a row, side by side."""
    order = [
        side
        for a, b in combinations(range(len(case.class_texts)), 2)
        for side in ((a, b), (b, a))
        if case.layout == "dense" or reference.has_texts(case.pairs, a, b)
    ]
    width = case.features.shape[1]
    features = [case.pairs.get(side, np.empty((0, width))) for side in order]
    sides = [[text_of("pair", side, n) for n in range(len(own))] for side, own in zip(order, features, strict=True)]
    return pair_texts.pack_sides(np.concatenate([np.empty((0, width)), *features]).astype(np.float16), sides)
