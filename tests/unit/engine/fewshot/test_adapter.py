"""The collapsed adapter against the oracle's T-wide form, and the identities of the spectral form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
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
    assume(texts > 2 or beta == 1)  # of two texts an image may have hardly any CODER: a higher beta shows its rounding
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


@pytest.mark.parametrize("centre", [True, False])
def test_copies_among_the_texts_are_no_texts(centre: bool) -> None:
    case = Case(2, texts=10)
    few = CoderAdapter.fit(case.support, case.labels, case.texts, centre=centre)
    many = CoderAdapter.fit(case.support, case.labels, np.tile(case.texts, (6, 1)), centre=centre)
    assert few.form.ridge == many.form.ridge == 0.1
    assert_allclose(many.keys, few.keys, atol=1e-5)
    enough = CoderAdapter.fit(case.support, case.labels, Case(2, texts=24).texts, centre=centre)
    assert enough.form.ridge == 0.0


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


@pytest.mark.parametrize("norm", ["minmax", "l2"])
def test_single_precision_keeps_close_affinities_apart(norm: str) -> None:
    """CLIP's CODERs point nearly the same way: without the mean key taken off, min-max would magnify the rounding."""
    case = Case(5, width=64, texts=200, count=40)
    case.texts = reference.unit(case.texts + 3 * case.texts[0])
    case.support = reference.unit(case.support + 2 * case.texts[0])
    case.images = reference.unit(case.images + 2 * case.texts[0])
    adapter = case.fit(norm=norm, **PAPER)
    exact = [reference.normalised_affinity(x @ case.texts.T, case.support @ case.texts.T, norm) for x in case.images]
    order = np.argsort(case.labels, kind="stable")
    assert_allclose(adapter.closeness(case.images), np.stack(exact)[:, order], atol=1e-5)


def test_equal_affinities_count_as_nearest_under_min_max() -> None:
    case = Case(6, count=1)
    assert np.array_equal(case.fit().closeness(case.images), np.ones((5, 1)))
    assert np.array_equal(case.fit(**PAPER).closeness(case.images), np.ones((5, 1)))


def test_without_a_direction_everything_is_at_zero_under_l2() -> None:
    case = Case(7)
    adapter = case.fit(norm="l2")
    at_mean = adapter.mean.copy()
    lengths = np.zeros((1, 1), np.float32)
    products = adapter.centred(at_mean[None]) @ adapter.keys.T
    assert np.array_equal(adapter.normalise(products, lengths), np.zeros((1, 12)))
    assert np.array_equal(Case(6, count=1).fit(norm="l2").closeness(case.images), np.zeros((5, 1)))


def test_a_class_without_support_has_only_its_zero_shot_logit() -> None:
    case = Case(8)
    case.labels[:] = 1
    adapter = case.fit()
    assert adapter.shots.tolist() == [0, 12, 0, 0]
    logits = adapter.logits(case.images, case.zero_shot)
    assert_allclose(logits[:, [0, 2, 3]], 100 * case.zero_shot[:, [0, 2, 3]], rtol=1e-6)
    assert (logits[:, 1] > 100 * case.zero_shot[:, 1]).all()
    assert np.array_equal(adapter.logits(case.images)[:, 0], np.zeros(5))


def test_nothing_grows_with_the_texts() -> None:
    case = Case(9, texts=9000)  # more than one block
    adapter = case.fit(**PAPER)
    assert adapter.keys.nbytes + adapter.mean.nbytes == 4 * 24 * 13
    assert adapter.texts == 9000
    assert_allclose(adapter.logits(case.images, case.zero_shot), wide(case, adapter), rtol=1e-5, atol=1e-5)


def test_half_precision_is_taken() -> None:
    case = Case(10)
    halves = [array.astype(np.float16) for array in (case.support, case.texts, case.images)]
    half = CoderAdapter.fit(halves[0], case.labels.astype(np.int16), halves[1])
    assert_allclose(half.logits(halves[2]), case.fit().logits(case.images), rtol=0.05)


SUPPORT = Case(11).support
LABELS = np.zeros(12, int)
TEXTS = Case(11).texts


def changed(array: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    found = array.copy()
    found[3, 2] = value
    return found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support": SUPPORT[:0]}, r"support must be floats \[N, D\] with at least one row, got float64 \[0, 24\]"),
        ({"support": SUPPORT[0]}, r"support must be floats \[N, D\] .*, got float64 \[24\]"),
        ({"support": SUPPORT.astype(int)}, r"support must be floats .*, got int64"),
        ({"support": SUPPORT[:, :8] / np.linalg.norm(SUPPORT[:, :8], axis=1, keepdims=True)}, r"\[N, 24\].*\[1, 8\]"),
        ({"support": changed(SUPPORT, np.nan)}, "support: row 3 holds a NaN or an infinity, as do 1 in all"),
        ({"support": changed(SUPPORT, -np.inf)}, "support: row 3 holds a NaN or an infinity"),
        ({"support": 10 * SUPPORT}, "support must be of unit length, got lengths 10 to 10; divide each row"),
        ({"texts": changed(TEXTS, np.nan)}, "texts: row 3 holds a NaN"),
        ({"texts": 3 * TEXTS}, "texts must be of unit length"),
        ({"labels": LABELS[:5]}, r"labels must be whole numbers \[12\], got int64 \[5\]"),
        ({"labels": LABELS + 0.5}, r"labels must be whole numbers \[12\], got float64"),
        ({"labels": LABELS - 1}, "labels must be class ids from 0 to 3, the classes, got -1 to -1"),
        ({"labels": LABELS + 4}, "labels must be class ids from 0 to 3, the classes, got 4 to 4"),
        ({"labels": LABELS - 1, "classes": None}, "labels must be class ids from 0, got -1"),
        ({"norm": "max"}, "norm must be one of minmax, l2, got 'max'"),
        ({"exponent": 1.5}, r"exponent must be from 0 \(image features\) to 1 \(CODER\), got 1.5"),
        ({"ridge": -1.0}, "ridge must be a number from 0 up, or None to choose it by T, got -1.0"),
        ({"ridge": np.nan}, "ridge must be a number from 0 up"),
        ({"alpha": 0.0}, "alpha must be above 0 and finite, got 0.0"),
        ({"beta": np.inf}, "beta must be above 0 and finite, got inf"),
        ({"temperature": -1.0}, "temperature must be above 0 and finite, got -1.0"),
    ],
)
def test_fit_refuses(options: dict[str, Any], message: str) -> None:
    given_all = {"support": SUPPORT, "labels": LABELS, "texts": TEXTS, "classes": 4, **options}
    with pytest.raises(ValueError, match=message):
        CoderAdapter.fit(given_all.pop("support"), given_all.pop("labels"), given_all.pop("texts"), **given_all)


def test_logits_refuse() -> None:
    case = Case(12)
    adapter = case.fit()
    with pytest.raises(ValueError, match=r"features must be floats \[N, 24\] with at least one row, got .*\[5, 8\]"):
        adapter.logits(case.images[:, :8])
    with pytest.raises(ValueError, match=r"zero_shot must be \[B, C\] = \[5, 4\], got \[5, 3\]"):
        adapter.logits(case.images, case.zero_shot[:, :3])
    with pytest.raises(ValueError, match="features: row 3 holds a NaN"):
        adapter.logits(changed(case.images, np.nan))
