"""The search: what it chooses on, that it repeats itself, and that nothing else reaches it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reference
from coder_engine.fewshot import CoderAdapter, Form, Grid, Validation, search_adapter
from coder_engine.fewshot.folds import folds_of
from coder_engine.fewshot.search import BETAS, BETAS_L2

C, D = 5, 16
CENTRES = np.random.default_rng(0).normal(size=(C, D))
TEXTS = reference.unit(np.random.default_rng(1).normal(size=(60, D)))
FIXED = Grid(exponents=(), ridges=())


def images(count: int, seed: int, noise: float = 1.3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % C
    return reference.unit(CENTRES[labels] + noise * random.normal(size=(count, D))), labels


SUPPORT, LABELS = images(40, 2)


def validation(count: int = 100, seed: int = 3) -> Validation:
    features, labels = images(count, seed)
    cosines = features @ reference.unit(CENTRES).T / 10
    return Validation(features=features, labels=labels, zero_shot=cosines)


def brute_force(grid: Grid, val: Validation, form: Form) -> NDArray[np.float64]:
    """Accuracy of each candidate by ``logits`` itself."""
    found = np.zeros((len(grid.alphas), len(grid.betas), len(grid.temperatures)))
    for a, alpha in enumerate(grid.alphas):
        for b, beta in enumerate(grid.betas):
            for t, temperature in enumerate(grid.temperatures):
                adapter = CoderAdapter.fit(
                    SUPPORT, LABELS, TEXTS, alpha=alpha, beta=beta, temperature=temperature, exponent=form.exponent
                )
                said = adapter.logits(val.features, val.zero_shot).argmax(axis=1)
                found[a, b, t] = (said == val.labels).mean()
    return found


def test_every_candidate_is_measured() -> None:
    grid = Grid(alphas=(0.3, 3.0), betas=(2.0, 9.0, 30.0), temperatures=(0.5, 2.0), exponents=(), ridges=())
    search = search_adapter(SUPPORT, LABELS, TEXTS, validation=validation(), grid=grid)
    exact = brute_force(grid, validation(), Form())
    assert np.allclose(search.record["forms"][0]["candidates"], exact, atol=1e-4)
    assert search.record["accuracy"] == pytest.approx(exact.max(), abs=1e-4)
    chosen = (
        grid.alphas.index(search.adapter.alpha),
        grid.betas.index(search.adapter.beta),
        grid.temperatures.index(search.adapter.temperature),
    )
    assert exact[chosen] == exact.max()


def test_the_same_input_gives_the_same_adapter_and_a_record_for_json() -> None:
    one = search_adapter(SUPPORT, LABELS, TEXTS, validation=validation(300))
    two = search_adapter(SUPPORT, LABELS, TEXTS, validation=validation(300))
    assert one.record == two.record == json.loads(json.dumps(one.record)) | {"grid": one.record["grid"]}
    assert np.array_equal(one.adapter.keys, two.adapter.keys)
    assert one.adapter.search == one.record


def test_test_labels_never_reach_the_search() -> None:
    """What an adapter is used on between two searches changes nothing in the next; labels: see test_few_shot."""
    test, labels = images(200, 4)
    chosen = []
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(labels)
        adapter = search_adapter(SUPPORT, LABELS, TEXTS, validation=validation()).adapter
        right = (adapter.logits(test).argmax(axis=1) == shuffled).mean()
        chosen.append((adapter.alpha, adapter.beta, adapter.temperature, adapter.form))
        assert right < 1
    assert len(set(chosen)) == 1


def test_validation_labels_do_reach_it() -> None:
    """With other validation labels other parameters are chosen."""
    val = validation(40)
    labels = np.asarray(val.labels)
    found = [
        search_adapter(SUPPORT, LABELS, TEXTS, grid=FIXED, validation=replace(val, labels=np.roll(labels, k)))
        for k in range(3)
    ]
    assert len({one.record["accuracy"] for one in found}) > 1
    assert len({(one.adapter.alpha, one.adapter.beta) for one in found}) > 1


def test_folds_hold_every_image_out_once_and_keep_every_class() -> None:
    ids = np.array([0] * 7 + [1] * 2 + [2] + [4] * 3, np.int32)
    rows = np.arange(len(ids))[:, None].astype(float)
    parts = list(folds_of(rows, ids, None))
    assert len(parts) == 5
    held = np.concatenate([part.features[:, 0] for part in parts])
    assert sorted(held) == [i for i in range(len(ids)) if ids[i] != 2]
    for part in parts:
        assert set(part.support_labels) == {0, 1, 2, 4}
        assert not set(part.features[:, 0]) & set(part.support[:, 0])
        assert np.bincount(part.labels).max() <= 2  # of class 0's seven in five folds


def test_copies_are_held_out_together() -> None:
    ids = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int32)
    rows = np.array([7, 7, 8, 9, 5, 5, 7, 6])[:, None].astype(float)  # class 1 has one image, class 2 shares one with 0
    parts = list(folds_of(rows, ids, None))
    assert len(parts) == 3
    assert sum(len(part.labels) for part in parts) == 6
    for part in parts:
        held = set(zip(part.labels, part.features[:, 0], strict=True))
        assert not held & set(zip(part.support_labels, part.support[:, 0], strict=True))


def test_what_is_held_out_is_as_a_prediction_sees_it() -> None:
    ids = np.array([0, 0, 1, 1], np.int32)
    rows = np.arange(4.0)[:, None]
    for part in folds_of(rows, ids, None, rows + 10):
        assert set(part.features[:, 0]) == {10, 11, 12, 13} - set(part.support[:, 0] + 10)
    with pytest.raises(ValueError, match=r"seen must have a row for each support image, 40, got 39"):
        search_adapter(SUPPORT, LABELS, TEXTS, seen=SUPPORT[1:])
    seen = search_adapter(SUPPORT, LABELS, TEXTS, grid=FIXED, seen=np.roll(SUPPORT, 8, axis=0))
    assert seen.record["accuracy"] < search_adapter(SUPPORT, LABELS, TEXTS, grid=FIXED).record["accuracy"]
    assert np.array_equal(seen.adapter.keys, search_adapter(SUPPORT, LABELS, TEXTS, grid=FIXED).adapter.keys)


def test_without_validation_the_folds_decide() -> None:
    search = search_adapter(SUPPORT, LABELS, TEXTS)
    assert (search.record["chosen_on"], search.record["folds"], search.record["images"]) == ("folds", 5, 40)
    assert search.adapter.shots.tolist() == [8] * C  # fitted on all of them again
    assert search.adapter.alpha == 1  # no zero-shot logits: every alpha ranks alike


def test_one_image_a_class_keeps_the_defaults() -> None:
    search = search_adapter(SUPPORT[:C], LABELS[:C], TEXTS)
    assert search.record == {"chosen_on": "defaults", "images": 0, "folds": 0}
    assert (search.adapter.alpha, search.adapter.beta, search.adapter.temperature) == (1.0, 5.5, 1.0)
    assert search.adapter.form == Form(ridge=0.0)


def test_one_image_a_class_can_be_tuned_on_validation() -> None:
    search = search_adapter(SUPPORT[:C], LABELS[:C], TEXTS, validation=validation())
    assert search.record["chosen_on"] == "validation"
    assert 0 < search.record["zero_shot_accuracy"] <= 1


def test_what_the_adapter_turns_is_counted_by_image() -> None:
    features, labels = images(200, 3)
    texts = reference.unit(CENTRES + np.random.default_rng(4).normal(size=(C, D)))
    val = Validation(features=features, labels=labels, zero_shot=features @ texts.T / 10)
    found = search_adapter(SUPPORT, LABELS, TEXTS, validation=val, grid=FIXED)
    without = np.asarray(val.zero_shot).argmax(axis=1) == val.labels
    with_it = found.adapter.logits(val.features, val.zero_shot).argmax(axis=1) == val.labels
    assert found.record["better"] == (with_it & ~without).sum() > 0
    assert found.record["worse"] == (without & ~with_it).sum() > 0


def test_of_equals_the_nearest_to_the_defaults_is_taken() -> None:
    exact = Validation(features=SUPPORT[:C], labels=LABELS[:C])  # its own support: right whatever beta is
    adapter = search_adapter(SUPPORT[:C], LABELS[:C], TEXTS, validation=exact, grid=FIXED).adapter
    assert (adapter.alpha, adapter.beta) == (1.0, 5.0)


def test_few_images_do_not_move_the_form() -> None:
    assert len(search_adapter(SUPPORT, LABELS, TEXTS, validation=validation(199)).record["forms"]) == 1
    record = search_adapter(SUPPORT, LABELS, TEXTS, validation=validation(200)).record
    assert len(record["forms"]) == 1 + 4 + 3  # the start, p without 0.5, r without 0


@pytest.mark.parametrize(("right", "moves"), [(300, False), (321, False), (328, False), (329, True), (400, True)])
def test_another_form_must_win_by_more_than_its_standard_error(right: int, moves: bool) -> None:
    """320 of 400 are right at first: sqrt(0.8 * 0.2 / 400) = 0.02, 8 images."""
    from coder_engine.fewshot.search import _best, _Tried

    none = np.zeros((2, 1, 1), np.int64)
    first = _Tried(Form(), np.array([[[10]], [[320]]]), 400, none)
    other = _Tried(Form(exponent=0), np.array([[[right]], [[10]]]), 400, none)
    assert (_best([first, other]) is other) == moves


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation": Validation(features=SUPPORT[:, :8], labels=LABELS)},
            r"validation features .*\[N, 16\]",
        ),
        ({"validation": Validation(features=SUPPORT, labels=LABELS[:3])}, r"validation labels must be .*\[40\]"),
        ({"validation": Validation(features=SUPPORT, labels=LABELS + 1)}, "validation labels must be class ids from 0"),
        ({"zero_shot": np.zeros((40, 2))}, r"zero_shot must be \[images, C\] = \[40, 5\], got \[40, 2\]"),
        ({"zero_shot": np.full((40, 5), np.nan)}, "zero_shot holds a NaN"),
        ({"norm": "max"}, "norm must be one of"),
        ({"labels": LABELS[:2]}, r"labels must be whole numbers \[40\]"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"labels": LABELS, **options}
    with pytest.raises(ValueError, match=message):
        search_adapter(SUPPORT, given.pop("labels"), TEXTS, **given)


@pytest.mark.parametrize("name", ["alphas", "betas", "temperatures"])
@pytest.mark.parametrize("values", [(), (0.0,), (1.0, -2.0), (float("nan"),)])
def test_a_grid_has_positive_values(name: str, values: tuple[float, ...]) -> None:
    if (name, values) == ("betas", ()):
        assert Grid(betas=()) == Grid()  # those of the norm
        return
    with pytest.raises(ValueError, match=f"grid: {name} must be one or more numbers above 0"):
        Grid(**{name: values})


def test_cosines_that_are_nearly_all_one_are_told_apart() -> None:
    """As those of the paper's form, which is not centred, on texts that are all alike."""
    rng = np.random.default_rng(5)
    common = np.eye(8)[0]
    texts = common + 0.01 * rng.normal(size=(50, 8))
    search = search_adapter(
        reference.unit(SUPPORT[:, :8]),
        LABELS,
        reference.unit(texts),
        norm="l2",
        form=Form(exponent=1.0, centre=False, ridge=0.0),
        grid=FIXED,
    )
    assert search.record["grid"]["betas"] == BETAS_L2
    assert search.adapter.beta > max(BETAS)
