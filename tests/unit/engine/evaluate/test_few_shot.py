"""Few-shot methods on the same support: the paper's formula by the oracle, no leak of test labels, clear refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import reference
from coder_engine.errors import DataError
from coder_engine.evaluate import blocks
from coder_engine.evaluate.few_shot import TITLES, FewShot, Task, answers_with, few_shot
from coder_engine.evaluate.tip_x import TipX
from coder_engine.fewshot import CoderAdapter
from helpers_evaluate import clusters
from parity.cases import unit_rows

TEXTS = unit_rows(np.random.default_rng(5), 40, 16).astype(np.float32)
CLASSES = 5


def task(**changes: object) -> Task:
    supports = {m: [clusters(CLASSES, m, seed=10 * m + seed, noise=0.5) for seed in range(2)] for m in (1, 2, 4)}
    found = Task(
        test=clusters(CLASSES, 20, seed=1, noise=0.5),
        val=clusters(CLASSES, 12, seed=2, noise=0.5),
        supports=supports,
        texts=TEXTS,
        zero_shot=None,
        classes=CLASSES,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def cosines(features: np.ndarray) -> np.ndarray:
    return np.asarray(features @ TEXTS[:CLASSES].T)


def test_every_method_beats_chance_and_reports_its_choice() -> None:
    found = few_shot(tuple(TITLES), task(), rounds=50)
    assert len(found) == (3 * 2 + 2) * 3  # three methods have norms, over three numbers of shots
    assert all(one.accuracy > 1.5 / CLASSES and len(one.by_seed) == len(one.chosen) == 2 for one in found)
    assert all(one.interval[0] <= one.accuracy <= one.interval[1] for one in found)
    assert {one.norm for one in found if one.method in ("TIP-X", "nearest class mean")} == {""}
    assert {chosen["chosen_on"] for one in found for chosen in one.chosen} == {"validation", "nothing to choose"}


@pytest.mark.parametrize("zero_shot", [None, cosines])
@pytest.mark.parametrize("norm", ["minmax", "l2"])
@pytest.mark.parametrize("name", ["tip-adapter", "coder-adapter"])
def test_answers_are_the_papers_formula(name: str, norm: str, zero_shot: object) -> None:
    given = task(zero_shot=zero_shot)
    support = given.supports[4][0]
    answers, chosen = answers_with(name, norm, support, given)
    # Tip-Adapter is the formula with the identity for W. CODERs are of unit length under either norm.
    w = TEXTS.T if name == "coder-adapter" else np.eye(16)
    for x, answer in zip(given.test.features, answers, strict=True):
        s, s_train = reference.unit(reference.coder(x, w)), reference.unit(reference.coder(support.features, w))
        wanted = reference.coder_adapter(
            s,
            np.eye(len(s)),
            s_train,
            support.labels,
            np.zeros(CLASSES) if zero_shot is None else cosines(x),
            alpha=chosen["alpha"],
            beta=chosen["beta"],
            t=1.0,
            norm=norm,
        )
        assert wanted[answer] >= wanted.max() - 1e-4


def test_spectral_takes_its_own_form() -> None:
    given = task()
    _, chosen = answers_with("spectral", "minmax", given.supports[4][0], given)
    assert (chosen["exponent"], chosen["ridge"]) == (0.5, 0.0)  # 40 texts of width 16: no ridge


@pytest.mark.parametrize("zero_shot", [None, cosines])
@pytest.mark.parametrize("with_val", [True, False])
def test_test_labels_reach_no_parameter_and_no_answer(with_val: bool, zero_shot: object) -> None:
    given = task(zero_shot=zero_shot) if with_val else task(val=None, zero_shot=zero_shot)
    labels = np.random.default_rng(0).permutation(given.test.labels)
    shuffled = replace(given, test=replace(given.test, labels=labels))
    one = few_shot(tuple(TITLES), given, rounds=5)
    other = few_shot(tuple(TITLES), shuffled, rounds=5)
    assert [row.chosen for row in one] == [row.chosen for row in other]
    assert [row.by_seed for row in one] != [row.by_seed for row in other]
    for name in TITLES:
        support = given.supports[2][0]
        assert (
            answers_with(name, "minmax", support, given)[0] == answers_with(name, "minmax", support, shuffled)[0]
        ).all()


def test_without_validation_the_support_is_held_out_and_one_shot_keeps_the_defaults() -> None:
    found = few_shot(("tip-x", "coder-adapter"), task(val=None), norms=("minmax",), rounds=5)
    by = {(one.method, one.shots): one.chosen[0] for one in found}
    assert by["TIP-X", 4]["chosen_on"] == "folds"
    assert by["CODER-Adapter", 4]["chosen_on"] == "folds"
    assert (by["TIP-X", 1]["chosen_on"], by["TIP-X", 1]["beta"]) == ("defaults", 5.5)
    assert by["CODER-Adapter", 1]["chosen_on"] == "defaults"


def test_a_good_zero_shot_term_helps() -> None:
    centres = clusters(CLASSES, 1, noise=0.0).features
    given = task(val=None)
    plain = few_shot(("tip-adapter",), given, norms=("l2",), rounds=5)[0]
    helped = few_shot(
        ("tip-adapter",), replace(given, zero_shot=lambda features: features @ centres.T), norms=("l2",), rounds=5
    )[0]
    assert helped.accuracy > plain.accuracy


def test_methods_that_need_texts_say_so() -> None:
    bare = task(texts=None)
    assert len(few_shot(("tip-adapter", "nearest-mean"), bare, norms=("l2",), rounds=5)) == 6
    for name, title in (("tip-x", "TIP-X"), ("coder-adapter", "CODER-Adapter"), ("spectral", "spectral")):
        with pytest.raises(DataError, match=f"{title} needs general texts; give --texts"):
            few_shot((name,), bare)


def test_support_that_lacks_a_class_or_is_unequal() -> None:
    support = clusters(CLASSES, 2)
    with pytest.raises(DataError, match=r"support: no support image for 1 class \(4\)"):
        few_shot(("tip-adapter",), task(supports={2: [support.take(np.arange(8))]}))
    with pytest.raises(DataError, match="support: wanted 2 support images a class, got class 4 1"):
        few_shot(("tip-adapter",), task(supports={2: [support.take(np.arange(9))]}))
    with pytest.raises(DataError, match="labels must be class ids, 0 to 3, got 4"):
        few_shot(("tip-adapter",), task(classes=4))


def test_a_table_cell_tells_the_spread_over_seeds() -> None:
    one = FewShot(method="m", norm="", shots=1, by_seed=(0.8,), interval=(0.7, 0.9), chosen=({},))
    assert one.short() == "80.0"
    assert replace(one, by_seed=(0.8, 0.9)).short() == "85.0 ±7.1"
    assert_allclose(replace(one, by_seed=(0.8, 0.9)).accuracy, 0.85)


def test_progress_is_told() -> None:
    said: list[str] = []
    few_shot(("tip-adapter", "tip-x"), task(), norms=("l2",), rounds=5, advance=said.append)
    assert said[0] == "Tip-Adapter, l2, 1 shot"
    assert len(said) == 6


@pytest.mark.parametrize("name", list(TITLES))
def test_test_images_are_taken_by_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = task(zero_shot=cosines)
    whole, _ = answers_with(name, "minmax", given.supports[4][0], given)
    seen: list[int] = []
    for kind in (CoderAdapter, TipX):
        inner = kind.logits

        def logits(self: Any, features: np.ndarray, zero_shot: Any, inner: Any = inner) -> np.ndarray:
            seen.append(len(features))
            return np.asarray(inner(self, features, zero_shot))

        monkeypatch.setattr(kind, "logits", logits)
    monkeypatch.setattr(blocks, "BLOCK", 7)
    answers, _ = answers_with(name, "minmax", given.supports[4][0], given)
    assert (answers == whole).all()
    assert name == "nearest-mean" or max(seen) == 7
