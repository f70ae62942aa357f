"""What the Python face of the kernels gives: every output, the same by every way. Numbers: tests/parity, tests/cpp."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from coder_engine import _kernels
from helpers_kernels import OUTPUTS, Arrays, C, D, P, call, head, rank, weights


def test_isas_are_best_first_and_end_with_scalar() -> None:
    assert _kernels.isas()[0] == _kernels.isa()
    assert _kernels.isas()[-1] == "scalar"


def test_head_says_what_it_uses() -> None:
    assert head().isa == _kernels.isa()
    assert head().threads == 1
    assert head(isa="scalar", threads=3).isa == "scalar"
    assert head(isa="scalar", threads=3).threads == 3


def test_no_images() -> None:
    arrays = call(0)
    head().coder(arrays["features"], arrays["coder"])
    rank(head(), arrays)


def test_outputs_are_filled_and_nothing_around_them() -> None:
    wide = {name: np.full((5, *array.shape[1:]), 77, array.dtype) for name, array in call().items()}
    inside = {name: wide[name][1:4] for name in OUTPUTS}
    rank(head(), {**call(), **inside})
    for name in OUTPUTS[:-1]:
        assert (wide[name][[0, 4]] == 77).all(), name
        assert (wide[name][1:4] != 77).all(), name
    assert wide["reranked"][1:4].all()


def test_head_keeps_its_arrays_alive() -> None:
    arrays = weights(40, 512)
    wanted = rank(head(arrays), call(arrays=arrays))
    kept = head({name: array.copy() for name, array in arrays.items()})
    gc.collect()
    _ = [np.full(array.nbytes, 255, np.uint8) for array in arrays.values()]
    got = rank(kept, call(arrays=arrays))
    for name in OUTPUTS:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_pairs_may_be_a_read_only_map(tmp_path: Path) -> None:
    arrays = weights()
    arrays["pair_rows"].tofile(tmp_path / "pairs")
    mapped = np.memmap(tmp_path / "pairs", np.float16, "r", shape=(P, D))
    wanted = rank(head(arrays), call())
    got = rank(head(arrays, pair_rows=mapped), call())
    for name in OUTPUTS:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_all_pairs_sparse_is_dense() -> None:
    starts = np.cumsum([0, 5, 4, 3, 2, 1, 0]).astype(np.int64)
    others = np.concatenate([np.arange(a + 1, C) for a in range(C)]).astype(np.int32)
    wanted, got = rank(head(), call()), rank(head(pair_starts=starts, pair_others=others), call())
    for name in OUTPUTS:
        np.testing.assert_array_equal(got[name], wanted[name])


@pytest.mark.parametrize("isa", _kernels.isas())
def test_instruction_sets_agree(isa: str) -> None:
    arrays = weights(50, 77)
    answers: list[Arrays] = []
    for one in (isa, "scalar"):
        kernel = head(arrays, isa=one)
        given = call(9, arrays, n=50)
        kernel.coder(given["features"], given["coder"])
        answers.append({**rank(kernel, given), "coder": given["coder"]})
    for name, array in answers[1].items():
        if array.dtype == np.float32:
            np.testing.assert_allclose(answers[0][name], array, rtol=2e-5, atol=2e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(answers[0][name], array, name)


def test_product_takes_any_rows() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(37, D)).astype(np.float32)
    features = random.normal(size=(5, D)).astype(np.float32)
    out = np.full((5, 37), 77, np.float32)
    head(threads=2).product(rows, features, out)
    np.testing.assert_allclose(out, features.astype(np.float64) @ rows.T.astype(np.float64), rtol=1e-5, atol=1e-5)
    head().product(rows[:0], features, np.empty((5, 0), np.float32))
    head().product(rows, features[:0], np.empty((0, 37), np.float32))
