"""A random label set with all its texts, as the oracle reads it and as a weight file has it, and labelled features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine.cli.eval import main
from coder_engine.evaluate.labelled import Labelled, labelled
from coder_engine.weightfile.general_texts import pack_texts
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import Weights, load_weights, save_weights
from parity.cases import one_to_one, unit_rows
from parity.collapsed import collapse
from reference import KINDS

Array = NDArray[np.float64]
COUNTS = {"name": 2, "attribute": 3, "analogous": 2, "synonym": 1}
SCALE = 20.0


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """C classes: ``class_texts`` and ``pairs`` for the oracle, ``weights`` the same as a weight file."""

    class_texts: list[dict[str, Array]]
    pairs: dict[tuple[int, int], Array]
    weights: Weights


def label_set(
    folder: Path,
    *,
    classes: int = 7,
    width: int = 12,
    pairs: str = "all",
    counts: Mapping[str, int] = COUNTS,
    seed: int = 0,
) -> LabelSet:
    """Write a weight file with texts kept; ``pairs`` as ``parity.cases.one_to_one`` has it."""
    rng = np.random.default_rng(seed)
    texts = [{kind: unit_rows(rng, counts[kind], width) for kind in KINDS} for _ in range(classes)]
    duels = one_to_one(rng, unit_rows, classes, width, pairs)
    collapsed = collapse(texts, duels, "none" if not duels else "dense" if pairs == "all" else "sparse")
    tensors = {
        name: array
        for name in ("bank", "name_offsets", "name_weight", "pair_rows", "pair_starts", "pair_others")
        if (array := getattr(collapsed, name)) is not None
    }
    features = np.stack([row for own in texts for kind in KINDS for row in own[kind]]).astype(np.float32)
    sentences = [[(kind, f"a {kind} text") for kind in KINDS for _ in own[kind]] for own in texts]
    tensors |= pack_texts(features, sentences)
    meta = Metadata(
        labels=tuple(f"class {j}" for j in range(classes)),
        model="random",
        pretrained="none",
        tower="ab" * 32,
        preprocess={},
        logit_scale=SCALE,
    )
    save_weights(folder / "random.safetensors", meta, tensors)
    return LabelSet(class_texts=texts, pairs=duels, weights=load_weights(folder / "random.safetensors"))


def images_of(found: LabelSet, count: int, *, seed: int = 1, noise: float = 0.35) -> Labelled:
    """Features near the mean text of their class, so that methods are mostly right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(found.class_texts), count)
    means = np.stack([np.concatenate(list(own.values())).mean(axis=0) for own in found.class_texts])
    return labelled(means[labels] + noise * rng.standard_normal((count, means.shape[1])), labels, where="images")


def clusters(classes: int, each: int, *, width: int = 16, seed: int = 0, noise: float = 0.25) -> Labelled:
    """``each`` features around each of ``classes`` random centres; the same centres whatever the seed."""
    centres = unit_rows(np.random.default_rng(99), classes, width)
    labels = np.repeat(np.arange(classes), each)
    noise_rows = np.random.default_rng(seed).standard_normal((len(labels), width))
    return labelled(centres[labels] + noise * noise_rows, labels, where="clusters")


CLASSES = 4
"""Of :func:`feature_files`."""


def feature_files(folder: Path) -> tuple[str, str]:
    """A features file with supports of 1 and 2 shots, and a texts file."""
    arrays: dict[str, Any] = {}
    sets = {"test": (20, 1), "val": (10, 2), "support1": (1, 3), "support2": (2, 4)}
    for name, (each, seed) in sets.items():
        data = clusters(CLASSES, each, seed=seed, noise=0.5)
        arrays |= {f"{name}_features": data.features.astype(np.float16), f"{name}_labels": data.labels}
    np.savez(folder / "features.npz", **arrays)
    np.savez(folder / "texts.npz", a=unit_rows(np.random.default_rng(5), 40, 16).astype(np.float16))
    return str(folder / "features.npz"), str(folder / "texts.npz")


def result(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    """What coder-eval gives as JSON."""
    assert main([*args, "--format", "json", "--bootstrap", "20"]) == code
    return json.loads(capsys.readouterr().out)
