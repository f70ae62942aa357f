"""The Python face of the kernels: arguments, errors, the GIL, lifetimes. Numbers: tests/parity, tests/cpp."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine import _kernels

Arrays = dict[str, NDArray[Any]]

C, R, D, P = 6, 12, 16, 15
K = 5


def weights(classes: int = C, width: int = D) -> Arrays:
    """A dense label set with one, two, three, one, ... names a class."""
    random = np.random.default_rng(classes)
    offsets = np.concatenate([[0], np.cumsum(1 + np.arange(classes) % 3)]).astype(np.int32)
    bank = random.normal(size=(classes + int(offsets[-1]), width)) / np.sqrt(width)
    pairs = random.normal(size=(classes * (classes - 1) // 2, width)) / np.sqrt(width)
    return {
        "bank": bank.astype(np.float32),
        "name_offsets": offsets,
        "name_weight": random.uniform(0.1, 1.0, classes).astype(np.float32),
        "pair_rows": pairs.astype(np.float16),
    }


def head(arrays: Arrays | None = None, **options: Any) -> _kernels.Head:
    given: dict[str, Any] = {"pair_starts": None, "pair_others": None, **(arrays or weights()), **options}
    return _kernels.Head(**given)


def call(batch: int = 3, arrays: Arrays | None = None, n: int = K) -> Arrays:
    """The arguments of ``rank`` that are arrays: inputs at random, outputs full of 77."""
    arrays = arrays or weights()
    rows, width = arrays["bank"].shape
    classes = len(arrays["name_weight"])
    k = min(5, classes)
    random = np.random.default_rng(1)
    return {
        "features": random.normal(size=(batch, width)).astype(np.float32),
        "coder": random.normal(size=(batch, rows)).astype(np.float32),
        "logits": np.full((batch, classes), 77, np.float32),
        "ids": np.full((batch, n), 77, np.int32),
        "scores": np.full((batch, n), 77, np.float32),
        "gaps": np.full((batch, k), 77, np.float32),
        "duels": np.full((batch, k, k), 77, np.float32),
        "reranked": np.zeros(batch, np.bool_),
    }


OUTPUTS = ("logits", "ids", "scores", "gaps", "duels", "reranked")


def rank(kernel: _kernels.Head, arrays: Arrays, **options: Any) -> Arrays:
    given: dict[str, Any] = {"scale": 30.0, "temperature": 1.0, "margin": -1.0, "rerank": True, **arrays, **options}
    kernel.rank(**given)
    return {name: arrays[name] for name in OUTPUTS}


def test_isas_are_best_first_and_end_with_scalar() -> None:
    assert _kernels.isas()[0] == _kernels.isa()
    assert _kernels.isas()[-1] == "scalar"


def test_head_says_what_it_uses() -> None:
    assert head().isa == _kernels.isa()
    assert head().threads == 1
    assert head(isa="scalar", threads=3).isa == "scalar"
    assert head(isa="scalar", threads=3).threads == 3


@pytest.mark.parametrize("name", ["bank", "name_offsets", "name_weight", "pair_rows"])
def test_head_takes_exact_dtypes_only(name: str) -> None:
    arrays = weights()
    arrays[name] = arrays[name].astype(np.float64)
    with pytest.raises(TypeError, match=r"float16, got float64|incompatible constructor arguments"):
        head(arrays)


@pytest.mark.parametrize("name", ["bank", "name_offsets", "name_weight", "pair_rows"])
def test_head_takes_no_strided_arrays(name: str) -> None:
    arrays = weights()
    arrays[name] = np.repeat(arrays[name], 2, axis=-1)[..., ::2]
    with pytest.raises(TypeError, match=r"C order without strides|incompatible constructor arguments"):
        head(arrays)


def test_head_takes_no_swapped_bytes() -> None:
    with pytest.raises(TypeError, match=r"pair_rows must be float16, got >f2"):
        head(weights(), pair_rows=weights()["pair_rows"].astype(">f2"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bank": np.zeros(3, np.float32)}, r"bank must be \[C \+ R, D\] = \[any, any\], got \[3\]"),
        ({"bank": np.zeros((4, D), np.float32)}, r"number of name rows R = -2, got"),
        ({"name_offsets": np.zeros(C, np.int32)}, r"name_offsets must be \[C \+ 1\] = \[7\], got \[6\]"),
        ({"name_offsets": np.zeros(C + 1, np.int32)}, r"every class has a name row; class 0 has 0 to 0"),
        ({"name_weight": np.zeros(0, np.float32)}, r"name_weight must be \[C\] with C >= 1, got \[0\]"),
        ({"name_weight": np.zeros(C, np.float32)}, r"name_weight must be in \(0, 1\].* class 0 has 0"),
        ({"pair_rows": np.zeros((P, 3), np.float16)}, r"pair_rows must be \[P, D\] = \[any, 16\], got"),
        ({"pair_rows": np.zeros((4, D), np.float16)}, r"must have C \(C - 1\) / 2 = 15 rows, got 4"),
        ({"pair_starts": np.zeros(C + 1, np.int64)}, r"given both \(sparse\) or neither"),
        ({"pair_others": np.zeros(P, np.int32)}, r"given both \(sparse\) or neither"),
        ({"pair_others": np.zeros(3, np.int32)}, r"pair_others must be \[P\] = \[15\], got \[3\]"),
        ({"pair_starts": np.zeros(3, np.int64)}, r"pair_starts must be \[C \+ 1\] = \[7\], got \[3\]"),
        ({"threads": 0}, r"threads must be from 1 to 1024, got 0"),
        ({"isa": "sse9"}, r"isa must be one this CPU has \(auto, .*scalar\), got 'sse9'"),
    ],
)
def test_head_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(weights(), **change)


def test_head_refuses_an_odd_address() -> None:
    rows = np.frombuffer(bytes(P * D * 2 + 1), np.uint8)[1:].view(np.float16).reshape(P, D)
    with pytest.raises(ValueError, match=r"pair_rows must be aligned"):
        head(weights(), pair_rows=rows)


@pytest.mark.parametrize("name", ["features", "coder", *OUTPUTS])
def test_rank_takes_exact_dtypes_and_no_strides(name: str) -> None:
    arrays = call()
    for other in (arrays[name].astype(np.float64), np.repeat(arrays[name], 2, axis=0)[::2]):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            rank(head(), {**arrays, name: other})


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("features", (3, 4), r"features must be \[B, D\] = \[any, 16\], got \[3, 4\]"),
        ("features", (D,), r"features must be \[B, D\] = \[any, 16\], got \[16\]"),
        ("coder", (2, C + R), r"coder must be \[B, C \+ R\] = \[3, 18\], got \[2, 18\]"),
        ("logits", (3, 5), r"logits must be \[B, C\] = \[3, 6\], got \[3, 5\]"),
        ("ids", (3,), r"ids must be \[B, n\] = \[3, any\], got \[3\]"),
        ("scores", (3, 6), r"scores must be \[B, n\] = \[3, 5\], got \[3, 6\]"),
        ("gaps", (3, 4), r"gaps must be \[B, k\] = \[3, 5\], got \[3, 4\]"),
        ("duels", (3, 25), r"duels must be \[B, k, k\] = \[3, 5, 5\], got \[3, 25\]"),
        ("reranked", (4,), r"reranked must be \[B\] = \[3\], got \[4\]"),
    ],
)
def test_rank_refuses_shapes(name: str, shape: tuple[int, ...], message: str) -> None:
    arrays = call()
    arrays[name] = np.zeros(shape, arrays[name].dtype)
    with pytest.raises(ValueError, match=message):
        rank(head(), arrays)


@pytest.mark.parametrize("n", [4, 7])
def test_rank_refuses_a_length_out_of_range(n: int) -> None:
    with pytest.raises(ValueError, match=rf"ids must have from k = 5 to C = 6 columns, got {n}"):
        rank(head(), call(n=n))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_rank_refuses_a_scale(scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale must be positive and finite"):
        rank(head(), call(), scale=scale)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, 1e-300])
def test_rank_refuses_a_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be positive and finite, as must scale / temperature, got"):
        rank(head(), call(), temperature=temperature)


def test_rank_refuses_a_margin() -> None:
    with pytest.raises(ValueError, match=r"margin must be a number"):
        rank(head(), call(), margin=np.nan)


@pytest.mark.parametrize("name", OUTPUTS)
def test_rank_refuses_read_only_outputs(name: str) -> None:
    arrays = call()
    arrays[name].flags.writeable = False
    with pytest.raises(ValueError, match=f"{name} must be writable"):
        rank(head(), arrays)


@pytest.mark.parametrize(
    "change", [{"scale": 0.0}, {"temperature": 0.0}, {"margin": np.nan}, {"reranked": np.zeros(4, np.bool_)}]
)
def test_rank_writes_nothing_when_it_refuses(change: dict[str, Any]) -> None:
    arrays = call()
    with pytest.raises(ValueError, match=r"must be"):
        rank(head(), arrays, **change)
    for name in OUTPUTS[:-1]:
        assert (arrays[name] == 77).all(), name


def test_coder_refuses() -> None:
    kernel, features = head(), call()["features"]
    out = np.full((3, C + R), 77, np.float32)
    with pytest.raises(ValueError, match=r"out must be \[B, C \+ R\] = \[3, 18\], got \[3, 17\]"):
        kernel.coder(features, np.zeros((3, C + R - 1), np.float32))
    with pytest.raises(ValueError, match=r"features must be \[B, D\] = \[any, 16\], got \[3, 18\]"):
        kernel.coder(np.zeros((3, C + R), np.float32), out)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        kernel.coder(features.astype(np.float64), out)
    features[2, 3] = np.nan
    with pytest.raises(RuntimeError, match=r"image row 2 cannot be ranked: its feature"):
        kernel.coder(features, out)
    assert (out == 77).all()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writable"):
        kernel.coder(call()["features"], out)


@pytest.mark.parametrize("name", ["features", "coder"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rank_names_the_first_bad_image(name: str, bad: float) -> None:
    arrays = call(5)
    arrays[name][[1, 4], -1] = bad
    with pytest.raises(RuntimeError, match=r"image row 1 cannot be ranked"):
        rank(head(), arrays)


def test_a_bad_pair_row_names_the_image() -> None:
    arrays = weights()
    arrays["pair_rows"][:] = np.nan
    with pytest.raises(RuntimeError, match=r"image row 0 cannot be ranked: a pair row"):
        rank(head(arrays), call())


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


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_threads_change_nothing(batch: int) -> None:
    arrays = weights(300, 128)
    wanted: list[Arrays] = []
    for threads in (1, 2, 4):
        kernel = head(arrays, threads=threads)
        given = call(batch, arrays, n=20)
        kernel.coder(given["features"], given["coder"])
        rank(kernel, given, margin=0.5)
        wanted.append(given)
    for got in wanted[1:]:
        for name, array in wanted[0].items():
            np.testing.assert_array_equal(got[name], array, name)


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


def longest_stall(work: threading.Thread) -> tuple[float, float]:
    """Runs ``work``; the longest this thread could not tick meanwhile, and the whole time, in seconds."""
    start = last = time.perf_counter()
    longest = 0.0
    work.start()  # inside the measurement: with the GIL held it returns only when the work is done
    while work.is_alive():
        time.sleep(0.0005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest, last - start


def test_coder_releases_the_gil() -> None:
    kernel = head(weights(60, 512), isa="scalar")
    features, out = np.full((8000, 512), 0.1, np.float32), np.empty((8000, 180), np.float32)
    longest, whole = longest_stall(threading.Thread(target=kernel.coder, args=(features, out)))
    assert longest < whole / 2, f"stalled {longest:.3f} s of {whole:.3f} s"


def test_rank_releases_the_gil() -> None:
    arrays = weights(300, 32)
    given = call(1500, arrays, n=300)
    longest, whole = longest_stall(threading.Thread(target=rank, args=(head(arrays, isa="scalar"), given)))
    assert longest < whole / 2, f"stalled {longest:.3f} s of {whole:.3f} s"


def test_python_threads_share_a_head() -> None:
    arrays = weights(300, 128)
    kernel = head(arrays, threads=2)
    wanted = rank(kernel, call(40, arrays))
    wrong: list[str] = []

    def repeat() -> None:
        for _ in range(20):
            got = rank(kernel, call(40, arrays))
            wrong.extend(name for name in OUTPUTS if not np.array_equal(got[name], wanted[name]))

    callers = [threading.Thread(target=repeat) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []
