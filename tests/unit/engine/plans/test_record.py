"""Every field that keeps a plan from this machine is refused by name, with both values and the mending command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coder_engine.backends import Unavailable
from coder_engine.errors import EngineError
from coder_engine.machine.cuda_driver import Gpu
from coder_engine.plans.record import PlanRecord, check_gpu, library_of, record_of
from helpers_weights import PLAIN

PATH = Path("folder/m.plan")
MEND = r"; rebuild it from m\.onnx: coder-infer IMAGES --engine folder/m\.plan --rebuild$"
RECORD = PlanRecord(
    library="tensorrt",
    version="10.13.2.6",
    gpu="NVIDIA L4",
    compute_capability="8.9",
    max_batch=64,
    precision="fp16",
    onnx_sha256="ab" * 32,
)
RTX = replace(RECORD, library="tensorrt_rtx", version="1.7.1", gpu=None, compute_capability=None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the versions that are installed of the two libraries."""

    def put(**versions: str) -> None:
        for name in ("tensorrt", "tensorrt_rtx"):
            fake = SimpleNamespace(__name__=name, __version__=versions.get(name), __spec__=None)
            monkeypatch.setitem(sys.modules, name, fake if name in versions else None)  # type: ignore[arg-type]

    return put


def test_there_and_back() -> None:
    meta = replace(PLAIN, plans={"m.plan": RECORD.to_json(), "other.plan": RTX.to_json()})
    assert record_of(PATH, type(meta).from_json(meta.to_json())) == RECORD
    assert str(RTX) == "TensorRT-RTX 1.7.1 for any GPU it supports, B up to 64"


def test_no_record() -> None:
    wanted = r"^folder/m\.plan: its weight file does not say what it was built by and for \(it knows {}\)" + MEND
    with pytest.raises(EngineError, match=wanted.format("no plan")):
        record_of(PATH, PLAIN)
    with pytest.raises(EngineError, match=wanted.format(r"n\.plan")):
        record_of(PATH, replace(PLAIN, plans={"n.plan": RECORD.to_json()}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"library": "os"}, "library must be one of tensorrt, tensorrt_rtx, got 'os'"),
        ({"max_batch": 0}, "max_batch must be a number from 1 on, got 0"),
        ({"max_batch": "64"}, "max_batch must be a number from 1 on, got '64'"),
        ({"version": None}, "KeyError"),
    ],
)
def test_a_record_that_cannot_be_read(change: dict[str, Any], said: str) -> None:
    content = {key: value for key, value in {**RECORD.to_json(), **change}.items() if value is not None}
    with pytest.raises(EngineError, match=rf"what its weight file says of it cannot be read \(.*{said}.*\)" + MEND):
        record_of(PATH, replace(PLAIN, plans={"m.plan": content}))


def test_the_same_library(installed: Any) -> None:
    installed(tensorrt="10.13.2.6", tensorrt_rtx="1.7.1")
    found: ModuleType = library_of(PATH, RECORD)
    assert found.__name__ == "tensorrt"
    assert library_of(PATH, RTX).__name__ == "tensorrt_rtx"


@pytest.mark.parametrize(
    ("record", "here", "built", "has"),
    [
        (RECORD, {"tensorrt": "10.13.3.9"}, "TensorRT 10.13.2.6", "TensorRT 10.13.3.9"),
        (RECORD, {"tensorrt_rtx": "1.7.1"}, "TensorRT 10.13.2.6", "TensorRT-RTX 1.7.1"),
        (RTX, {"tensorrt": "10.13.2.6"}, "TensorRT-RTX 1.7.1", "TensorRT 10.13.2.6"),
        (RTX, {"tensorrt_rtx": "1.8.0"}, "TensorRT-RTX 1.7.1", "TensorRT-RTX 1.8.0"),
    ],
)
def test_another_library_or_version(
    installed: Any, record: PlanRecord, here: dict[str, str], built: str, has: str
) -> None:
    installed(**here)
    with pytest.raises(EngineError, match=rf"^folder/m\.plan: built by {built}, this machine has {has}" + MEND):
        library_of(PATH, record)


def test_no_library_names_the_one_to_install(installed: Any) -> None:
    installed()
    with pytest.raises(
        Unavailable, match=r"^TensorRT-RTX is not installed .*pip install 'coder-engine\[tensorrt-rtx\]'"
    ):
        library_of(PATH, RTX)


@pytest.mark.parametrize(
    "here",
    [Gpu(name="NVIDIA L40", capability="8.9"), Gpu(name="NVIDIA L4", capability="9.0")],
    ids=["name", "capability"],
)
def test_another_gpu(here: Gpu) -> None:
    wanted = (
        r"^folder/m\.plan: built for NVIDIA L4 \(compute capability 8\.9\), this machine has "
        rf"{here.name} \(compute capability {here.capability}\)"
    )
    with pytest.raises(EngineError, match=wanted + MEND):
        check_gpu(PATH, RECORD, here)


def test_a_gpu_that_is_too_old() -> None:
    wanted = (
        r"^folder/m\.plan: plans of TensorRT-RTX run from compute capability 8\.0 on, this machine has "
        r"NVIDIA T4 \(compute capability 7\.5\); run m\.onnx instead$"
    )
    with pytest.raises(EngineError, match=wanted):
        check_gpu(PATH, RTX, Gpu(name="NVIDIA T4", capability="7.5"))


def test_gpus_that_fit() -> None:
    check_gpu(PATH, RECORD, Gpu(name="NVIDIA L4", capability="8.9"))
    check_gpu(PATH, RTX, Gpu(name="NVIDIA GeForce RTX 5090", capability="12.0"))
