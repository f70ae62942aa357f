"""The collapsed adapter against the oracle's T-wide form, and the identities of the spectral form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import reference
from coder_engine.fewshot import CoderAdapter, Spectrum

PAPER: dict[str, Any] = {"exponent": 1.0, "centre": False, "ridge": 0.0}
TIP: dict[str, Any] = {"exponent": 0.0, "centre": False, "ridge": 0.0}


class Case:
    """Random unit features with what CLIP's have: a direction common to all texts and one to all images."""

    def __init__(self, seed: int, *, width: int = 24, texts: int = 60, classes: int = 4, count: int = 12) -> None:
        random = np.random.default_rng(seed)

        def rows(n: int, common: float) -> NDArray[np.float64]:
            return reference.unit(random.normal(size=(n, width)) + common * random.normal(size=width))

        self.texts = rows(texts, 1.5)
        self.support = rows(count, 1.0)
        self.labels = random.integers(0, classes, count)
        self.images = rows(5, 1.0)
        self.zero_shot = random.normal(size=(5, classes)) / 50
        self.classes = classes

    def fit(self, **options: Any) -> CoderAdapter:
        return CoderAdapter.fit(self.support, self.labels, self.texts, **{"classes": self.classes, **options})


def wide(case: Case, adapter: CoderAdapter, texts: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Eq. 16-20, T wide, image by image."""
    w = (case.texts if texts is None else texts).T
    return np.stack(
        [
            reference.coder_adapter(
                x,
                w,
                case.support,
                case.labels,
                zero_shot,
                alpha=adapter.alpha,
                beta=adapter.beta,
                t=adapter.temperature,
                norm=adapter.norm,
            )
            for x, zero_shot in zip(case.images, case.zero_shot, strict=True)
        ]
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    norm=st.sampled_from(["minmax", "l2"]),
    texts=st.sampled_from([2, 7, 24, 200]),
    beta=st.sampled_from([1.0, 5.5, 20.0]),
    alpha=st.sampled_from([0.3, 4.0]),
    temperature=st.sampled_from([1.0, 3.0]),
)
def test_paper_form_is_the_oracle(
    seed: int, norm: str, texts: int, beta: float, alpha: float, temperature: float
) -> None:
    case = Case(seed, texts=texts)
    adapter = case.fit(norm=norm, alpha=alpha, beta=beta, temperature=temperature, **PAPER)
    assert_allclose(adapter.logits(case.images, case.zero_shot), wide(case, adapter), rtol=1e-5, atol=1e-5)


def test_exponent_0_is_tip_adapter() -> None:
    case = Case(1)
    adapter = case.fit(norm="l2", **TIP)
    assert_allclose(
        adapter.closeness(case.images), case.images @ case.support[np.argsort(case.labels, kind="stable")].T, atol=1e-6
    )
    adapter = case.fit(norm="minmax", **TIP)
    assert_allclose(adapter.logits(case.images, case.zero_shot), wide(case, adapter, np.eye(24)), rtol=1e-5)


@pytest.mark.parametrize("norm", ["minmax", "l2"])
@pytest.mark.parametrize("texts", [10, 60])
def test_spectral_form_is_its_formula(norm: str, texts: int) -> None:
    """G_p T wide: W G_p^(1/2) has the rows that make its affinity a plain CODER's."""
    case = Case(2, texts=texts)
    adapter = case.fit(norm=norm)
    centred = case.texts - case.texts.mean(axis=0)
    gram = centred.T @ centred / texts
    ridge = 0.1 if texts < 24 else 0.0
    values, vectors = np.linalg.eigh(gram + ridge * np.trace(gram) / 24 * np.eye(24))
    root = vectors * np.maximum(values, 0) ** 0.25  # G_p = root root^T, p = 0.5
    mean = case.support.mean(axis=0)
    case.support, case.images = case.support - mean, case.images - mean
    assert_allclose(adapter.logits(case.images + mean, case.zero_shot), wide(case, adapter, root.T), rtol=1e-5)
    assert (adapter.form.exponent, adapter.form.centre, adapter.form.ridge) == (0.5, True, ridge)


@pytest.mark.parametrize("norm", ["minmax", "l2"])
def test_rotating_everything_changes_nothing(norm: str) -> None:
    case, turned = Case(3), Case(3)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(24, 24)))
    for name in ("texts", "support", "images"):
        setattr(turned, name, getattr(case, name) @ turn)
    assert_allclose(
        turned.fit(norm=norm).logits(turned.images), case.fit(norm=norm).logits(case.images), rtol=1e-5, atol=1e-6
    )


def test_texts_as_a_spectrum_give_the_same() -> None:
    case = Case(4)
    given_texts = case.fit()
    shared = CoderAdapter.fit(case.support, case.labels, Spectrum(case.texts), classes=4)
    assert np.array_equal(given_texts.keys, shared.keys)
    with pytest.raises(ValueError, match="Spectrum with centre=False, as asked for, got True"):
        CoderAdapter.fit(case.support, case.labels, Spectrum(case.texts), centre=False)
