"""The compiled kernels against the oracle, Eq. 3-15; ``compare`` says what may differ, and by how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings

import reference
from coder_engine import _kernels
from parity.cases import Case, cases, grid_case, kinds, one_to_one, unit_rows
from parity.collapsed import collapse
from parity.compare import check_exactly, check_image, run

every_isa = pytest.mark.parametrize("isa", _kernels.isas())
examples = settings(max_examples=100, deadline=None)


@every_isa
@examples
@given(case=cases(dyadic=False))
def test_random_features(isa: str, case: Case) -> None:
    weights = collapse(case.class_texts, case.pairs, case.layout)
    answer = run(case, isa, weights)
    exact = case.features.astype(np.float64) @ weights.bank.astype(np.float64).T
    np.testing.assert_allclose(answer.coder, exact, rtol=0, atol=1e-5)
    near = sum(check_image(case, weights, answer, i) for i in range(len(case.features)))
    event("ids differ at a near tie" if near else "ids equal")


@every_isa
@examples
@given(case=cases(dyadic=True))
def test_exact_grids(isa: str, case: Case) -> None:
    check_exactly(case, run(case, isa, collapse(case.class_texts, case.pairs, case.layout)))


@every_isa
@settings(max_examples=25, deadline=None)
@given(case=cases(dyadic=False))
def test_an_image_has_the_same_answer_alone_and_in_a_batch(isa: str, case: Case) -> None:
    weights = collapse(case.class_texts, case.pairs, case.layout)
    together = run(case, isa, weights)
    for i in range(len(case.features)):
        alone = run(replace(case, features=case.features[i : i + 1], threads=1), isa, weights)
        for name, buffer in alone._asdict().items():
            np.testing.assert_array_equal(getattr(together, name)[i], buffer[0], err_msg=name)


@every_isa
@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize("mode", ["all", "one-sided", "none"])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6])
def test_few_classes(isa: str, classes: int, mode: str, layout: str) -> None:
    case = grid_case(classes, 9, mode, seed=classes, layout=layout)
    check_exactly(case, run(case, isa, collapse(case.class_texts, case.pairs, layout)))


@every_isa
@pytest.mark.parametrize("threads", [1, 3])
def test_no_images(isa: str, threads: int) -> None:
    case = grid_case(7, 0, "all", seed=0, threads=threads)
    assert run(case, isa, collapse(case.class_texts, case.pairs, "sparse")).ids.shape == (0, 7)


@every_isa
def test_one_text_a_class(isa: str) -> None:
    case = grid_case(9, 9, "all", seed=1)
    nothing = np.empty((0, 8))
    bare = [dict.fromkeys(texts, nothing) | {"name": texts["name"]} for texts in case.class_texts]
    case = replace(case, class_texts=bare)
    answer = run(case, isa, collapse(bare, case.pairs, "sparse"))
    check_exactly(case, answer)
    names = np.concatenate([texts["name"] for texts in bare])
    np.testing.assert_array_equal(answer.logits, case.features @ names.T)  # one text a class is plain CLIP


@every_isa
@pytest.mark.parametrize("mode", ["all", "none"])
@pytest.mark.parametrize("classes", [3, 5, 12])
def test_identical_classes_come_in_the_order_of_their_ids(isa: str, classes: int, mode: str) -> None:
    case = grid_case(classes, 9, mode, seed=2)
    texts = [case.class_texts[0]] * classes
    same = {pair: np.ones((1, 8)) for pair in case.pairs}  # both sides say the same: every gap is 0
    case = replace(case, class_texts=texts, pairs=same)
    answer = run(case, isa, collapse(texts, same, "sparse"))
    np.testing.assert_array_equal(answer.ids, np.tile(np.arange(classes), (9, 1)))
    check_exactly(case, answer)


@every_isa
@pytest.mark.parametrize("layout", ["none", "sparse", "dense"])
def test_missing_pairs_keep_the_first_order(isa: str, layout: str) -> None:
    case = grid_case(12, 9, "one-sided", seed=3, layout=layout)
    half = {(a, b): texts for (a, b), texts in case.pairs.items() if a < b}  # no pair has its other side
    case = replace(case, pairs=half)
    answer = run(case, isa, collapse(case.class_texts, half, layout))
    first = [reference.stage_one_order(o) for o in answer.logits.astype(np.float64)]
    np.testing.assert_array_equal(answer.ids, first)
    check_exactly(case, answer)


@every_isa
def test_near_ties_are_rare(isa: str) -> None:
    # Without this, a kernel wrong in a way that near ties excuse could hide behind them.
    rng = np.random.default_rng(4)
    case = Case(
        features=unit_rows(rng, 300, 64).astype(np.float32),
        class_texts=[kinds(rng, unit_rows, 64, dyadic=False) for _ in range(12)],
        pairs=one_to_one(rng, unit_rows, 12, 64, "all"),
        places=12,
    )
    weights = collapse(case.class_texts, case.pairs, "dense")
    answer = run(case, isa, weights)
    differ = sum(check_image(case, weights, answer, i) for i in range(300))
    assert differ <= 6, f"{differ} of 300 images differ from the oracle at near ties"


@every_isa
@pytest.mark.parametrize("margin", [-1.0, 0.0, 0.01, 0.05, 2.0, float("inf")])
def test_gate(isa: str, margin: float) -> None:
    # At scale 0.1 the nine leads run from 0 to 0.056: four are under 0.01, seven under 0.05.
    case = grid_case(6, 9, "all", seed=4, scale=0.1, margin=margin)
    check_exactly(case, run(case, isa, collapse(case.class_texts, case.pairs, "sparse")))


@every_isa
@pytest.mark.parametrize("temperature", [0.25, 1.0, 8.0])
def test_the_temperature_moves_scores_and_not_the_gate(isa: str, temperature: float) -> None:
    case = grid_case(6, 9, "all", seed=4, scale=0.1, margin=0.01, temperature=temperature)
    answer = run(case, isa, collapse(case.class_texts, case.pairs, "sparse"))
    assert answer.reranked.sum() == 4
    check_exactly(case, answer)


@every_isa
@pytest.mark.parametrize(("margin", "opens"), [(0.0, False), (1e-3, True)])
def test_a_full_tie_is_under_every_margin_but_0(isa: str, margin: float, opens: bool) -> None:
    case = grid_case(6, 9, "all", seed=2, margin=margin)
    case = replace(case, class_texts=[case.class_texts[0]] * 6)
    answer = run(case, isa, collapse(case.class_texts, case.pairs, "sparse"))
    assert answer.reranked.tolist() == [opens] * 9
    check_exactly(case, answer)
