"""Engine files that are stored in a lower precision, and what may be asked of them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from coder_engine.backends import OnnxRuntimeCpu, OpenVinoCpu, Unavailable, open_backend
from coder_engine.backends.base import stored_precision
from helpers_engine import write


def stored(folder: Path, precision: str) -> Path:
    """An engine that says it is stored so, whatever its tensors are."""
    path = write(folder / f"{precision}.onnx")
    model = onnx.load(path)
    props = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, {**props, "coder.precision": precision})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_it_is_read_from_the_file(precision: str, tmp_path: Path) -> None:
    assert stored_precision(stored(tmp_path, precision)) == precision


def test_a_file_that_records_none_is_fp32(tmp_path: Path) -> None:
    assert stored_precision(write(tmp_path / "m.onnx")) == "fp32"
    assert stored_precision(tmp_path / "missing.onnx") == "fp32"


@pytest.mark.parametrize("asked", ["auto", "int8"])
def test_its_own_precision_may_be_asked_for_and_is_told(asked: str, tmp_path: Path) -> None:
    found = open_backend(stored(tmp_path, "int8"), threads=1, backend="onnxruntime", device="cpu", precision=asked)
    assert found.stored == "int8"
    assert ", CPU, int8 and fp32, 1 thread" in found.description


@pytest.mark.parametrize(
    ("held", "asked", "message"),
    [
        (
            "int8",
            "fp32",
            r"int8\.onnx is an engine stored in int8, got precision fp32; leave it out, or export it again",
        ),
        ("fp16", "bf16", r"fp16\.onnx is an engine stored in fp16, got precision bf16; .* --precision bf16$"),
        ("fp32", "int8", r"is an fp32 engine, and int8 is made at export: .*--precision int8 --calibrate DIR$"),
        ("fp32", "fp16", r"is an fp32 engine, and fp16 is made at export: coder-export --precision fp16$"),
    ],
)
def test_a_precision_that_contradicts_the_file(held: str, asked: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        open_backend(stored(tmp_path, held), threads=1, precision=asked)


def test_onnx_runtime_has_no_bf16(tmp_path: Path) -> None:
    path = stored(tmp_path, "bf16")
    wanted = r"bf16\.onnx is bf16, which ONNX Runtime does not compute on CPUs; OpenVINO does \(pip install "
    with pytest.raises(Unavailable, match=wanted) as caught:
        open_backend(path, threads=1, backend="onnxruntime", device="cpu")
    assert caught.value.short == "no bf16"


@pytest.mark.parametrize(("precision", "said"), [("int8", "int8 and fp32"), ("fp16", "fp16 file in fp32")])
def test_openvino_tells_the_file_and_what_it_computes_in(precision: str, said: str, tmp_path: Path) -> None:
    try:
        found = OpenVinoCpu(stored(tmp_path, precision), threads=1, precision="fp32")
    except Unavailable as err:
        pytest.skip(str(err))
    assert f", CPU, {said}, 1 thread" in found.description
    assert OnnxRuntimeCpu(stored(tmp_path, "fp16"), threads=1).description.endswith("fp16 file in fp32, 1 thread")
