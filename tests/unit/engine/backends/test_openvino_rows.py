"""Token rows cut for OpenVINO: what is cut, what is left alone, and that nothing computes anything else for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from coder_engine.backends import openvino as module
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.backends.openvino_rows import cut_rows, pays
from helpers_engine import features_of, images, write

ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'coder-engine[openvino]'")
op = pytest.importorskip("openvino.opset13")

D, HEADS = 16, 2

AMD, INTEL = "vendor_id : AuthenticAMD\nflags : ", "vendor_id : GenuineIntel\nflags : "


@pytest.mark.parametrize(
    ("precision", "threads", "cpu", "wanted"),
    [
        ("bf16", 2, AMD + "avx512_bf16", True),
        ("bf16", 8, AMD + "avx512_bf16", True),
        ("bf16", 1, AMD + "avx512_bf16", False),
        ("bf16", 9, AMD + "avx512_bf16", False),
        ("fp32", 2, AMD + "avx512_bf16", False),
        ("bf16", 2, AMD + "avx512_bf16 amx_bf16", False),
        ("bf16", 2, INTEL + "avx512_bf16", False),
    ],
)
def test_where_it_pays(precision: str, threads: int, cpu: str, wanted: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpu)
    assert pays(precision, threads, tmp_path / "cpuinfo") is wanted


class Tower:
    """What an image tower has, over tokens [B, rows, D]; weights are [in, out], as the export writes them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def weight(self, *shape: int) -> Any:
        return op.constant((self.rng.standard_normal(shape) / 4).astype(np.float32))

    def linear(self, x: Any, width: int, out: int) -> Any:
        return op.add(op.matmul(x, self.weight(width, out), False, False), self.weight(out))

    def norm(self, x: Any, axes: Any) -> Any:
        return op.add(op.multiply(op.mvn(x, axes, True, 1e-5, "inside_sqrt"), self.weight(D)), self.weight(D))

    def heads(self, x: Any) -> Any:
        split = op.reshape(x, op.constant(np.array([0, 0, HEADS, D // HEADS])), True)
        return op.transpose(split, op.constant(np.array([0, 2, 1, 3])))

    def block(self, x: Any, axes: Any) -> Any:
        y = self.norm(x, axes)
        q, k, v = (self.heads(self.linear(y, D, D)) for _ in range(3))
        mixed = op.matmul(op.softmax(op.matmul(q, k, False, True), 3), v, False, False)
        flat = op.reshape(
            op.transpose(mixed, op.constant(np.array([0, 2, 1, 3]))), op.constant(np.array([0, 0, D])), True
        )
        x = op.add(x, self.linear(flat, D, D))
        gelu = op.gelu(self.linear(self.norm(x, axes), D, 4 * D), "erf")
        return op.add(x, self.linear(gelu, 4 * D, D))


def last_axis() -> Any:
    return op.constant(np.array([2]))


def ranged_axis() -> Any:
    """As the ONNX reader writes the axes of LayerNormalization."""
    ends = (op.constant(np.int64(number)) for number in (2, 3, 1))
    return op.range(*ends, "i64")


def tower(rows: int, axis: Any = last_axis) -> Any:
    made, tokens = Tower(), op.parameter([-1, rows, D], np.float32)
    x = op.add(tokens, made.weight(rows, D))
    for _ in range(2):
        x = made.block(x, axis())
    return ov.Model([op.slice(x, [0], [1], [1], [1])], [tokens])


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def answer(model: Any, rows: int, batch: int = 3) -> NDArray[np.float32]:
    tokens = np.random.default_rng(1).standard_normal((batch, rows, D)).astype(np.float32)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(tokens)[0])


@pytest.mark.parametrize("axis", [last_axis, ranged_axis])
@pytest.mark.parametrize("rows", [65, 72, 197])
def test_the_same_answers_of_rows_in_two_parts(rows: int, axis: Any) -> None:
    whole, cut = tower(rows, axis), tower(rows, axis)
    assert cut_rows(cut) == 2 * 6
    assert kinds(cut)["MatMul"] == kinds(whole)["MatMul"] + 2 * 6
    # Cut: the first norm's output and its tokens, and what each attention gives. Joined: queries, keys and values of
    # each, and the last tokens. All between, norms, sums and GELU, is done in parts.
    assert (kinds(cut)["VariadicSplit"], kinds(cut)["Concat"]) == (2 + 2, 2 * 3 + 1)
    assert kinds(cut)["Gelu"] == 2 * kinds(whole)["Gelu"]
    assert kinds(cut)["MVN"] == 2 * kinds(whole)["MVN"] - 1  # the first comes before any product
    for batch in (1, 3):
        assert_array_equal(answer(cut, rows, batch), answer(whole, rows, batch))


@pytest.mark.parametrize("rows", [50, 64, 73, 128])
def test_rows_that_fill_their_blocks_stay(rows: int) -> None:
    whole, cut = tower(rows), tower(rows)
    assert cut_rows(cut) == 0
    assert kinds(cut) == kinds(whole)


def test_both_products_share_one_weight() -> None:
    cut = tower(65)
    cut_rows(cut)
    products = [node for node in cut.get_ops() if node.get_type_name() == "MatMul"]
    cuts = [node for node in products if len(node.input_value(1).get_partial_shape()) == 2]
    assert all(node.get_attributes()["transpose_b"] for node in cuts)  # transposed for each, they would share nothing
    weights = [node.input_value(1) for node in cuts]
    assert set(Counter(weight.get_node().get_name() for weight in weights).values()) == {2}
    assert len(weights) == 2 * 2 * 6


def product(x: Any, width: int = D) -> Any:
    return op.matmul(x, op.constant(np.ones((width, D), np.float32)), False, False)


def softmax_twice(x: Any) -> Any:
    given = product(x)
    return op.add(op.softmax(given, 1), op.softmax(given, 0))


MIXERS = {
    "two of them": softmax_twice,
    "norm over rows": lambda x: op.mvn(product(x), op.constant(np.array([1])), True, 1e-5, "inside_sqrt"),
    "norm over both": lambda x: op.mvn(product(x), op.constant(np.array([1, 2])), True, 1e-5, "inside_sqrt"),
    "softmax over rows": lambda x: op.softmax(product(x), 1),
    "a table of rows": lambda x: op.add(product(x), op.constant(np.arange(65 * D, dtype=np.float32).reshape(65, D))),
    "one row for all": lambda x: op.add(product(x), op.reduce_mean(x, op.constant(np.array([1])), True)),
    "products of both": lambda x: op.matmul(
        product(x), op.transpose(x, op.constant(np.array([0, 2, 1]))), False, False
    ),
}


@pytest.mark.parametrize("name", MIXERS)
def test_what_mixes_rows_gets_them_whole(name: str) -> None:
    models = []
    for _ in range(2):
        tokens = op.parameter([-1, 65, D], np.float32)
        models.append(ov.Model([MIXERS[name](tokens)], [tokens]))
    assert cut_rows(models[1]) == 1
    assert kinds(models[1])["Concat"] == 1
    assert_array_equal(answer(models[1], 65), answer(models[0], 65))


def test_products_whose_rows_lie_elsewhere_stay() -> None:
    tokens = op.parameter([-1, 65, D], np.float32)
    square = op.matmul(product(tokens), product(tokens), False, True)  # [B, 65, 65]
    transposed = op.matmul(square, op.constant(np.ones((65, D), np.float32)), True, False)
    batched = op.matmul(tokens, op.constant(np.ones((1, D, D), np.float32)), False, False)
    model = ov.Model([transposed, batched], [tokens])
    assert cut_rows(model) == 2


def test_opening_cuts_where_it_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, seen = write(tmp_path / "engine.onnx"), []
    monkeypatch.setattr(module, "cut_rows", seen.append)
    OpenVinoCpu(path, threads=1, precision="fp32")
    assert not seen
    monkeypatch.setattr(module, "pays", lambda precision, threads: (precision, threads) == ("fp32", 2))
    found = OpenVinoCpu(path, threads=2, precision="fp32")
    assert [type(model) for model in seen] == [ov.Model]
    np.testing.assert_allclose(found.encode(images(2)), features_of(images(2)), rtol=1e-5)
