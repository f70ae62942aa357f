"""Opening engine files and running them: what is refused, with which words, and what comes out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from coder_engine.backends import BACKENDS, Backend, open_backend
from coder_engine.errors import BackendError, EngineError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from coder_engine.backends.onnxruntime import OnnxRuntimeCpu, open_session  # noqa: E402

HEIGHT, WIDTH, D = 2, 4, 3 * 2 * 4
TOWER = "ab" * 32
PROPS = {"coder.format": "1", "coder.tower": TOWER}


def graph(
    *,
    pixels: tuple[object, ...] = ("B", HEIGHT, WIDTH, 3),
    bank: tuple[object, ...] = ("R", D),
    rows: int = -1,
    cast: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("features", "coder"),
    props: dict[str, str] = PROPS,
) -> Any:
    """The least graph with our interface: the features are the pixels as they lie in memory.

    ``rows`` is the batch the features are reshaped to; -1 takes any.
    """
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [rows, D])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], to=cast),
        helper.make_node("Reshape", ["cast", "shape"], [outputs[0]]),
        helper.make_node("Cast", [outputs[0]], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bank"], ["columns"]),
        helper.make_node("MatMul", ["x", "columns"], [outputs[1]]),
    ]
    made = helper.make_graph(
        nodes,
        "engine",
        [
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, pixels),
            helper.make_tensor_value_info("bank", TensorProto.FLOAT, bank),
        ],
        [
            helper.make_tensor_value_info(outputs[0], cast, None),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, None),
        ],
        [shape],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, props)
    return model


def write(path: Path, **changes: Any) -> Path:
    onnx.save_model(graph(**changes), path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.onnx"


@pytest.fixture
def engine(path: Path) -> Backend:
    return open_backend(write(path), backend="auto", threads=1)


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


# opening


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_an_engine_says_what_it_is(path: Path, backend: str) -> None:
    found = open_backend(write(path), backend=backend, threads=1)
    assert isinstance(found, OnnxRuntimeCpu)
    assert (found.size, found.width, found.tower) == ((HEIGHT, WIDTH), D, TOWER)


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread"), (2, "2 threads")])
def test_description(path: Path, threads: int, said: str) -> None:
    import onnxruntime

    found = open_backend(write(path), backend="auto", threads=threads).description
    assert found == f"ONNX Runtime {onnxruntime.__version__}, CPU, fp32, {said}"


def test_an_unknown_backend(path: Path) -> None:
    with pytest.raises(ValueError, match=r"^backend must be auto or one of onnxruntime, got 'tensorflow'$"):
        open_backend(path, backend="tensorflow", threads=1)


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
@pytest.mark.parametrize("name", ["engine.plan", "engine", "engine.onnx.data", "weights.safetensors"])
def test_a_file_of_another_kind(tmp_path: Path, backend: str, name: str) -> None:
    wanted = rf"{name}: not a kind of engine file this can run \(\.onnx\); coder-export makes one$"
    with pytest.raises(EngineError, match=wanted):
        open_backend(tmp_path / name, backend=backend, threads=1)


def test_names_and_suffixes_are_told_apart() -> None:
    assert all(kind.name == name for name, kind in BACKENDS.items())
    assert "auto" not in BACKENDS
    assert all(suffix.startswith(".") for kind in BACKENDS.values() for suffix in kind.suffixes)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"<html>", b"\xff" * 1000, None], ids=["empty", "zeros", "html", "ones", "cut"]
)
def test_bytes_that_are_no_onnx(path: Path, content: bytes | None) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    # an empty file is a valid, empty message to protobuf
    wanted = r"engine\.onnx: (ONNX Runtime cannot load it \(.+\)|not an engine of coder-export).*with coder-export$"
    with pytest.raises(EngineError, match=wanted) as caught:
        open_backend(path, backend="auto", threads=1)
    assert "\n" not in str(caught.value)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.onnx: ONNX Runtime cannot load it \(.*; export it again"):
        open_backend(path, backend="auto", threads=1)


def test_a_graph_of_another_interface(path: Path) -> None:
    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [one], [other])
    onnx.save_model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    wanted = (
        r"not an engine of coder-export \(inputs \['x'\], outputs \['y'\]; wanted pixels, bank and features, coder\)"
    )
    with pytest.raises(EngineError, match=wanted):
        open_backend(path, backend="auto", threads=1)


@pytest.mark.parametrize(
    "changes", [{"props": {}}, {"props": {"coder.tower": ""}}, {"outputs": ("features", "logits")}]
)
def test_a_graph_that_is_nearly_ours(path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"not an engine of coder-export .*make one with coder-export$"):
        open_backend(write(path, **changes), backend="auto", threads=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pixels": ("B", "H", "W", 3)}, r"pixels \['B', 'H', 'W', 3\] and bank \['R', 24\]"),
        ({"pixels": ("B", HEIGHT, WIDTH, 4)}, r"pixels \['B', 2, 4, 4\]"),
        ({"pixels": ("B", HEIGHT, WIDTH, "C")}, r"pixels \['B', 2, 4, 'C'\]"),
        ({"pixels": ("B", D)}, r"pixels \['B', 24\]"),
        ({"bank": ("R", "D")}, r"bank \['R', 'D'\]"),
        ({"bank": (D,)}, r"bank \[24\]"),
    ],
)
def test_inputs_of_another_shape(path: Path, changes: dict[str, Any], said: str) -> None:
    wanted = rf"its inputs are .*{said}.*, wanted \[B, H, W, 3\] and \[rows, D\] with H, W and D fixed; export it again"
    with pytest.raises(EngineError, match=wanted):
        open_backend(write(path, **changes), backend="auto", threads=1)


def test_a_missing_runtime_names_the_cure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    wanted = r"^ONNX Runtime is not installed \(.*onnxruntime.*\); install it: pip install 'coder-engine\[cpu\]'$"
    with pytest.raises(BackendError, match=wanted):
        open_backend(path, backend="auto", threads=1)
    with pytest.raises(BackendError, match=wanted):
        open_session(path, threads=None)


def test_a_plain_session_computes_all_of_the_graph(path: Path) -> None:
    session = open_session(write(path), threads=None)
    bank = np.random.default_rng(2).normal(size=(5, D)).astype(np.float32)
    pixels = images(3)
    features, coder = session.run(["features", "coder"], {"pixels": pixels, "bank": bank})
    assert_allclose(coder, features @ bank.T, rtol=1e-5)


# encoding


@pytest.mark.parametrize("count", [1, 2, 7])
def test_features(engine: Backend, count: int) -> None:
    pixels = images(count)
    found = engine.encode(pixels)
    assert (found.dtype, found.shape) == (np.float32, (count, D))
    assert_allclose(found, pixels.reshape(count, D))


def test_no_images(engine: Backend) -> None:
    found = engine.encode(images(0))
    assert (found.dtype, found.shape) == (np.float32, (0, D))


@pytest.mark.parametrize(
    "view", [lambda p: p[::2], lambda p: p[:, :, ::-1], lambda p: np.asfortranarray(p)], ids=["step", "flip", "Fortran"]
)
def test_pixels_need_not_be_contiguous(engine: Backend, view: Any) -> None:
    pixels = view(images(4))
    assert_allclose(engine.encode(pixels), pixels.reshape(len(pixels), D))


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (np.zeros((1, HEIGHT, WIDTH, 3), np.float32), r"float32 \[1, 2, 4, 3\]"),
        (np.zeros((1, HEIGHT, WIDTH, 3), np.int8), r"int8 \[1, 2, 4, 3\]"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), r"uint8 \[2, 4, 3\]"),
        (np.zeros((1, 3, HEIGHT, WIDTH), np.uint8), r"uint8 \[1, 3, 2, 4\]"),
        (np.zeros((1, WIDTH, HEIGHT, 3), np.uint8), r"uint8 \[1, 4, 2, 3\]"),
        (np.zeros((1, HEIGHT, WIDTH, 4), np.uint8), r"uint8 \[1, 2, 4, 4\]"),
        (np.zeros((0, HEIGHT, WIDTH, 1), np.uint8), r"uint8 \[0, 2, 4, 1\]"),
        (np.zeros((0,), np.uint8), r"uint8 \[0\]"),
    ],
)
def test_pixels_of_another_type_or_shape(engine: Backend, pixels: Any, got: str) -> None:
    wanted = rf"^pixels must be uint8 \[B, 2, 4, 3\], got {got}; resize and crop first, the engine does the scaling$"
    with pytest.raises(ValueError, match=wanted):
        engine.encode(pixels)


class Spy:
    """Passes runs on to a session and keeps the shapes of what was fed."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.fed: list[dict[str, tuple[int, ...]]] = []

    def run(self, outputs: list[str], feeds: dict[str, NDArray[Any]]) -> Any:
        self.fed.append({name: array.shape for name, array in feeds.items()})
        return self.session.run(outputs, feeds)


def test_the_runtime_multiplies_with_one_row_at_the_most(engine: Any) -> None:
    engine._session = spy = Spy(engine._session)
    engine.encode(images(3))
    engine.encode(images(0))
    assert spy.fed == [{"pixels": (3, HEIGHT, WIDTH, 3), "bank": (1, D)}]


def test_a_runtime_failure(path: Path) -> None:
    found = open_backend(write(path, rows=1), backend="auto", threads=1)
    assert found.encode(images(1)).shape == (1, D)
    with pytest.raises(BackendError, match=r"^ONNX Runtime failed on 2 images \(.+\); try a smaller batch$") as caught:
        found.encode(images(2))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_features_of_another_type(path: Path) -> None:
    found = open_backend(write(path, cast=TensorProto.DOUBLE), backend="auto", threads=1)
    wanted = (
        r"^the engine gave float64 \[2, 24\] features, wanted float32 \[2, 24\]; export it again with coder-export$"
    )
    with pytest.raises(EngineError, match=wanted):
        found.encode(images(2))


def test_features_of_another_width(path: Path) -> None:
    model = graph(bank=("R", D + 1))
    del model.graph.node[2:]  # the matmul, which would not fit
    model.graph.node.append(helper.make_node("Identity", ["bank"], ["coder"]))
    onnx.save_model(model, path)
    found = open_backend(path, backend="auto", threads=1)
    with pytest.raises(
        EngineError, match=r"the engine gave float32 \[2, 24\] features, wanted float32 \[2, 25\]; export"
    ):
        found.encode(images(2))


class Broken:
    """Stands for a session whose error has no text."""

    def run(self, *args: object) -> None:
        raise RuntimeError


def test_a_failure_without_words_is_named_by_its_type(engine: Any) -> None:
    engine._session = Broken()
    with pytest.raises(BackendError, match=r"failed on 1 images \(RuntimeError\)"):
        engine.encode(images(1))
