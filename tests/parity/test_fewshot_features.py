"""The adapter on real CLIP features: image features, the paper's CODER and the spectral form, as measured before.

Test accuracy in percent with every text of the bank, min-max, no zero-shot term, beta chosen on the validation split.
Nothing was tuned on these sets; a change of the formulas moves the figures by far more than the half point allowed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine.fewshot import Form, Grid, Validation, search_adapter

DATA = Path(os.environ.get("CODER_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
FORMS = (Form(exponent=0, centre=False, ridge=0), Form(exponent=1, centre=False, ridge=0), Form())
GRID = Grid(exponents=(), ridges=())
KNOWN = {
    ("caltech101", 1): (75.8, 79.3, 81.2),
    ("ucf101", 1): (46.9, 51.7, 54.6),
    ("ucf101", 4): (64.3, 65.6, 68.0),
}


def arrays(name: str) -> dict[str, NDArray[Any]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no real features: {path} is not there; point CODER_DATA at a folder that has it")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    wide = rows.astype(np.float32)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


@pytest.mark.parametrize(("dataset", "shots"), KNOWN)
def test_real_features(dataset: str, shots: int) -> None:
    data = arrays(f"clip_features/{dataset}_vitb32.npz")
    texts = unit(np.concatenate(list(arrays("clip_text_embeddings/detic_vitb32.npz").values())))
    support, labels = unit(data[f"support{shots}_features"]), data[f"support{shots}_labels"]
    val = Validation(features=unit(data["val_features"]), labels=data["val_labels"])
    test = unit(data["test_features"])
    found = []
    for form in FORMS:
        adapter = search_adapter(support, labels, texts, form=form, grid=GRID, validation=val).adapter
        found.append(100 * float((adapter.logits(test).argmax(axis=1) == data["test_labels"]).mean()))
    assert np.allclose(found, KNOWN[dataset, shots], atol=0.5), found
