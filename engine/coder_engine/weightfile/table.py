"""The tensors of a weight file, little-endian.

    bank          float32 [C + R, D]  rows q_j of Eq. 8 collapsed, then the name rows
    name_offsets  int32   [C + 1]     class j's name rows are bank[C + off[j] : C + off[j + 1]]
    name_weight   float32 [C]         w_j = 1 / (m_j + 1)
    pair_rows     float16 [P, D]      g_ab of Eq. 11-14 collapsed, a < b; left out where there are none
    pair_starts   int64   [C + 1]     with pair_others, the sparse index; left out where every pair has its row
    pair_others   int32   [P]         the higher class of each row, ascending for each lower class
    texts, text_starts, text_kinds, text_sentences, text_sentence_starts: see ``coder_engine.weightfile.general_texts``
    pair_texts, pair_text_starts, pair_sentences, pair_sentence_starts: see ``coder_engine.weightfile.pair_texts``
    generic_texts float32 [G, D]      features of texts of no class, for the few-shot adapter; only where asked for

and where a few-shot adapter was fitted (see ``coder_engine.fewshot.CoderAdapter``):

    adapter_keys   float32 [NM, D]    the support images, by class
    adapter_labels int32   [NM]       their class ids, ascending
    adapter_mean   float32 [D]        mu
    adapter_factor float32 [D, D]     H, for the l2 norm only

Those of ``MAPPED`` can be large and are not read at opening; the metadata have the digest of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coder_engine.weightfile import general_texts, pair_texts

if TYPE_CHECKING:
    from coder_engine.weights import Weights

DTYPES = {
    "bank": np.float32,
    "name_offsets": np.int32,
    "name_weight": np.float32,
    "pair_rows": np.float16,
    "pair_starts": np.int64,
    "pair_others": np.int32,
    "texts": np.float32,
    "text_starts": np.int64,
    "text_kinds": np.uint8,
    "text_sentences": np.uint8,
    "text_sentence_starts": np.int64,
    "pair_texts": np.float16,
    "pair_text_starts": np.int64,
    "pair_sentences": np.uint8,
    "pair_sentence_starts": np.int64,
    "generic_texts": np.float32,
    "adapter_keys": np.float32,
    "adapter_labels": np.int32,
    "adapter_mean": np.float32,
    "adapter_factor": np.float32,
}

MAPPED = {
    "pair_rows": ("F16", 2, "float16 [P, D]"),
    "texts": ("F32", 2, "float32 [T, D]"),
    "text_sentences": ("U8", 1, "uint8 [bytes]"),
    "pair_texts": ("F16", 2, "float16 [K, D]"),
    "pair_sentences": ("U8", 1, "uint8 [bytes]"),
    "generic_texts": ("F32", 2, "float32 [G, D]"),
    "adapter_keys": ("F32", 2, "float32 [NM, D]"),
}
"""Tensors that are mapped and not read: their type in the file, axes, and both in words."""


def shape_problem(weights: Weights) -> str | None:
    """What contradicts the table above, or None. The index's inside is checked by the kernels."""
    for name, dtype in DTYPES.items():
        array = getattr(weights, name)
        if array is not None and array.dtype != dtype:
            return f"{name} must be {np.dtype(dtype)}, got {array.dtype}"
    classes = len(weights.meta.labels)
    wanted: dict[str, tuple[Any, ...]] = {"name_offsets": (classes + 1,), "name_weight": (classes,)}
    if weights.bank.ndim != 2 or weights.name_offsets.ndim != 1 or not len(weights.name_offsets):
        got = f"{weights.bank.shape} and {weights.name_offsets.shape}"
        return f"bank and name_offsets must be [C + R, D] and [C + 1], got {got}"
    width = weights.bank.shape[1]
    wanted["bank"] = (classes + int(weights.name_offsets[-1]), width)
    if weights.pair_rows is not None:
        sparse = weights.pair_starts is not None
        pairs = len(weights.pair_rows) if sparse else classes * (classes - 1) // 2
        wanted["pair_rows"] = (pairs, width)
        wanted.update({"pair_starts": (classes + 1,), "pair_others": (pairs,)} if sparse else {})
    texts = {name: getattr(weights, name) for name in general_texts.TENSORS}
    wanted.update(general_texts.shapes(texts, classes, width))
    duels = {name: getattr(weights, name) for name in pair_texts.TENSORS}
    pairs = 0 if weights.pair_rows is None else len(weights.pair_rows)
    wanted.update(pair_texts.shapes(duels, pairs, width))
    if weights.meta.generic or weights.generic_texts is not None:
        wanted["generic_texts"] = (weights.meta.generic.get("count"), width)
    wanted.update(_adapter_shapes(weights, width))
    for name, shape in wanted.items():
        array = getattr(weights, name)
        if array is None or array.shape != shape:
            got = "none" if array is None else str(list(array.shape))
            return f"{name} must be {list(shape)} for {classes} classes, got {got}"
    return general_texts.problem(texts) or pair_texts.index_problem(duels)


def _adapter_shapes(weights: Weights, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the adapter's tensors; none of them is wanted where there is no adapter."""
    tensors = (weights.adapter_keys, weights.adapter_labels, weights.adapter_mean, weights.adapter_factor)
    if not weights.meta.adapter and all(tensor is None for tensor in tensors):
        return {}
    count = 0 if weights.adapter_labels is None else weights.adapter_labels.size
    shapes: dict[str, tuple[int, ...]] = {
        "adapter_keys": (count, width),
        "adapter_labels": (count,),
        "adapter_mean": (width,),
    }
    if weights.meta.adapter.get("norm") == "l2" or weights.adapter_factor is not None:
        shapes["adapter_factor"] = (width, width)
    return shapes
