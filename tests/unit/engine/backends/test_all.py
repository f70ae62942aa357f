"""Opening engine files and running them: what is refused, with which words, and what comes out.

Every backend that runs here gets the same files; the other files and tensorrt/ have what is each one's own.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

onnx = pytest.importorskip("onnx", reason="the build side, which writes engine files, is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'coder-engine[cpu]'")

from onnx import TensorProto, helper  # noqa: E402

from coder_engine.backends import BACKENDS, Backend  # noqa: E402
from coder_engine.errors import BackendError, CoderError, EngineError  # noqa: E402
from helpers_engine import HEIGHT, TOWER, WIDTH, D, features_of, graph, images, model_of, write  # noqa: E402

SAID = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def runs_here(kind: type[Backend]) -> str:
    """Why a backend does not run here, or nothing."""
    try:
        kind.require()
    except CoderError as err:
        return str(err)
    return ""


HERE = [
    pytest.param(kind, marks=pytest.mark.skipif(bool(why), reason=why), id=f"{kind.name}-{kind.device}")
    for kind in BACKENDS
    if ".onnx" in kind.suffixes  # plans have tests of their own
    for why in [runs_here(kind)]
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=HERE)
def kind(request: pytest.FixtureRequest) -> type[Backend]:
    found: type[Backend] = request.param
    return found


@pytest.fixture
def engine(kind: type[Backend], path: Path) -> Backend:
    return kind(write(path), threads=1, precision="fp32")


# opening


def test_an_engine_says_what_it_is(engine: Backend) -> None:
    assert (engine.size, engine.width, engine.tower) == ((HEIGHT, WIDTH), D, TOWER)
    assert engine.passed_over == ()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"<html>", b"\xff" * 1000, None], ids=["empty", "zeros", "html", "ones", "cut"]
)
def test_bytes_that_are_no_onnx(kind: type[Backend], path: Path, content: bytes | None) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    # an empty file is a valid, empty message to protobuf
    said = SAID[kind.name]
    wanted = rf"engine\.onnx: ({said} cannot load it \(.+\)|not an engine of coder-export).*with coder-export$"
    with pytest.raises(EngineError, match=wanted) as caught:
        kind(path, threads=1)
    assert "\n" not in str(caught.value)


def test_a_missing_file(kind: type[Backend], path: Path) -> None:
    with pytest.raises(EngineError, match=rf"engine\.onnx: {SAID[kind.name]} cannot load it \(.*; export it again"):
        kind(path, threads=1)


def test_a_graph_of_another_interface(kind: type[Backend], path: Path) -> None:
    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    made = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [one], [other])
    onnx.save_model(model_of(made), path)
    wanted = (
        r"not an engine of coder-export \(inputs \['x'\], outputs \['y'\]; wanted pixels, bank and features, coder\)"
    )
    with pytest.raises(EngineError, match=wanted):
        kind(path, threads=1)


@pytest.mark.parametrize(
    "changes", [{"props": {}}, {"props": {"coder.tower": ""}}, {"outputs": ("features", "logits")}]
)
def test_a_graph_that_is_nearly_ours(kind: type[Backend], path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"not an engine of coder-export .*make one with coder-export$"):
        kind(write(path, **changes), threads=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pixels": ("B", "H", "W", 3)}, r"pixels \['.', '.', '.', 3\] and bank \['.', 24\]"),
        ({"pixels": ("B", HEIGHT, WIDTH, 4)}, r"pixels \['.', 2, 4, 4\]"),
        ({"pixels": ("B", HEIGHT, WIDTH, "C")}, r"pixels \['.', 2, 4, '.'\]"),
        ({"pixels": ("B", D)}, r"pixels \['.', 24\]"),
        ({"bank": ("R", "D")}, r"bank \['.', '.'\]"),
        ({"bank": (D,)}, r"bank \[24\]"),
    ],
)
def test_inputs_of_another_shape(kind: type[Backend], path: Path, changes: dict[str, Any], said: str) -> None:
    wanted = rf"its inputs are .*{said}.*, wanted \[B, H, W, 3\] and \[rows, D\] with H, W and D fixed; export it again"
    with pytest.raises(EngineError, match=wanted):
        kind(write(path, **changes), threads=1)


# encoding


@pytest.mark.parametrize("count", [1, 2, 7])
def test_features(engine: Backend, count: int) -> None:
    pixels = images(count)
    found = engine.encode(pixels)
    assert (found.dtype, found.shape) == (np.float32, (count, D))
    assert_allclose(found, features_of(pixels), rtol=1e-5)


def test_no_images(engine: Backend) -> None:
    found = engine.encode(images(0))
    assert (found.dtype, found.shape) == (np.float32, (0, D))


@pytest.mark.parametrize(
    "view", [lambda p: p[::2], lambda p: p[:, :, ::-1], lambda p: np.asfortranarray(p)], ids=["step", "flip", "Fortran"]
)
def test_pixels_need_not_be_contiguous(engine: Backend, view: Any) -> None:
    pixels = view(images(4))
    assert_allclose(engine.encode(pixels), features_of(pixels), rtol=1e-5)


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


def test_read_only_pixels(engine: Backend) -> None:
    pixels = images(2)
    pixels.flags.writeable = False
    assert_allclose(engine.encode(pixels), features_of(pixels), rtol=1e-5)


def test_features_stay_when_the_next_batch_runs(engine: Backend) -> None:
    pixels = images(4)
    first = engine.encode(pixels[:2])
    engine.encode(pixels[2:])
    assert_allclose(first, features_of(pixels[:2]), rtol=1e-5)


def test_threads_share_a_backend(engine: Backend) -> None:
    pixels = images(24)
    wrong: list[int] = []

    def encode(count: int) -> None:
        for i in range(40):
            mine = pixels[(i + count) % 8 : (i + count) % 8 + count]
            if not np.allclose(engine.encode(mine), features_of(mine), rtol=1e-5):
                wrong.append(count)

    running = [threading.Thread(target=encode, args=(count,)) for count in (1, 2, 3, 16)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert wrong == []


def test_a_batch_baked_into_the_graph(kind: type[Backend], path: Path) -> None:
    found = kind(write(path, rows=1), threads=1, precision="fp32")
    with pytest.raises((BackendError, EngineError), match=r"failed on 2 images|gave float32 \[1, 24\] features"):
        found.encode(images(2))
    assert_allclose(found.encode(images(1)), features_of(images(1)), rtol=1e-5)


def test_features_of_another_type(kind: type[Backend], path: Path) -> None:
    found = kind(write(path, cast=TensorProto.DOUBLE), threads=1)
    wanted = (
        r"^the engine gave float64 \[2, 24\] features, wanted float32 \[2, 24\]; export it again with coder-export$"
    )
    with pytest.raises(EngineError, match=wanted):
        found.encode(images(2))


def test_features_of_another_width(kind: type[Backend], path: Path) -> None:
    model = graph(bank=("R", D + 1))
    del model.graph.node[-3:]  # the matmul, which would not fit
    model.graph.node.append(helper.make_node("Identity", ["bank"], ["coder"]))
    onnx.save_model(model, path)
    found = kind(path, threads=1)
    with pytest.raises(
        EngineError, match=r"the engine gave float32 \[2, 24\] features, wanted float32 \[2, 25\]; export"
    ):
        found.encode(images(2))


@pytest.mark.parametrize(("scale", "said"), [(1.02, "1.02"), (0.98, "0.98"), (0.0, "0"), (float("nan"), "nan")])
def test_features_that_are_not_of_unit_length(kind: type[Backend], path: Path, scale: float, said: str) -> None:
    found = kind(write(path, scale=scale), threads=1, precision="fp32")
    wanted = (
        rf"^the engine gave a feature of length {said}, wanted 1 \(.+fp32.*\); try --precision fp32, else export it"
    )
    with pytest.raises(EngineError, match=wanted):
        found.encode(images(2))


@pytest.mark.parametrize("scale", [1.004, 0.996])
def test_rounded_features_are_scaled_to_unit_length(kind: type[Backend], path: Path, scale: float) -> None:
    found = kind(write(path, scale=scale), threads=1, precision="fp32")
    assert_allclose(found.encode(images(3)), features_of(images(3)), rtol=1e-5)


def test_closed(engine: Backend) -> None:
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match=r"engine\.onnx: this engine was closed; open it again$"):
        engine.encode(images(1))


def test_closed_while_it_runs(kind: type[Backend], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = kind(write(path), threads=1)
    monkeypatch.setattr(late, "check_pixels", lambda pixels: late.close())  # right after it
    with pytest.raises(BackendError, match=r"engine\.onnx: this engine was closed; open it again$"):
        late.encode(images(1))
