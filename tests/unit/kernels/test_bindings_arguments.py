"""What the Python face of the kernels refuses: types, strides, shapes, numbers; which image an error names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers_kernels import OUTPUTS, C, D, P, R, call, head, rank, weights

# Head


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


# rank


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


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e-50, 1e300])
def test_rank_refuses_a_scale(scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale must be from 1e-9 to 1e9, got"):
        rank(head(), call(), scale=scale)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, 1e-300, 1e300])
def test_rank_refuses_a_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be such that scale / temperature is from 1e-9 to 1e9, got"):
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


# coder and product


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


def test_product_refuses() -> None:
    rows, features, out = np.zeros((4, D), np.float32), np.zeros((2, D), np.float32), np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match=r"rows must be \[N, D\] = \[any, 16\], got \[4, 3\]"):
        head().product(np.zeros((4, 3), np.float32), features, out)
    with pytest.raises(ValueError, match=r"out must be \[B, N\] = \[2, 4\], got \[2, 3\]"):
        head().product(rows, features, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        head().product(rows.astype(np.float64), features, out)
    features[1, 0] = np.inf
    with pytest.raises(RuntimeError, match="image row 1 cannot be ranked"):
        head().product(rows, features, out)
