"""What one command more would bring to a machine: wheels, extras, WordNet, TensorRT."""

from __future__ import annotations

import pytest

from coder_engine.doctor.facts import Facts
from coder_engine.doctor.hardware import Gpu
from coder_engine.doctor.report import as_text
from coder_engine.doctor.todo import exit_code, todos
from helpers_doctor import HEALTHY, SERVER, but, having, only, problem, usable, without


def test_the_gpu_wheel_where_there_is_a_gpu() -> None:
    todo = only(having(without(SERVER, "onnxruntime-gpu"), onnxruntime="1.32.0"))
    assert todo.level == "option"
    assert todo.commands == ("pip uninstall -y onnxruntime", "pip install 'coder-engine[gpu]'")
    assert "update it" not in todo.text


def test_the_gpu_wheel_needs_a_newer_driver_first() -> None:
    todo = only(but(having(without(SERVER, "onnxruntime-gpu"), onnxruntime="1.32.0"), driver_cuda="12.4"))
    assert todo.text.endswith("It is built for CUDA 13; this driver serves 12.4, so update it first.")


def test_the_gpu_wheel_without_a_gpu() -> None:
    todo = only(but(SERVER, gpus=(), driver=None, driver_cuda=None))
    assert todo.level == "option"
    assert todo.commands == ("pip uninstall -y onnxruntime-gpu", "pip install 'coder-engine[cpu]'")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus(hidden: str) -> None:
    assert problem(but(SERVER, hidden=hidden), "ONNX Runtime CUDA") == "hidden by CUDA_VISIBLE_DEVICES"
    assert ("unset CUDA_VISIBLE_DEVICES",) in [todo.commands for todo in todos(but(SERVER, hidden=hidden))]
    assert todos(but(SERVER, hidden="0")) == ()


def test_openvino() -> None:
    todo = only(without(HEALTHY, "openvino"))
    assert (todo.level, todo.commands) == ("option", ("pip install 'coder-engine[openvino]'",))
    assert "needs AMX" in todo.text
    native = only(without(but(HEALTHY, bf16="AMX"), "openvino"))
    assert "fast in (AMX)" in native.text


def test_onnx_runtime_beside_openvino() -> None:
    todo = only(without(HEALTHY, "onnxruntime"))
    assert (todo.level, todo.commands) == ("option", ("pip install 'coder-engine[cpu]'",))
    assert exit_code(without(HEALTHY, "onnxruntime")) == 0


@pytest.mark.parametrize(
    ("facts", "extras"),
    [
        (HEALTHY, "export,cpu"),
        (SERVER, "export,gpu"),
        (having(without(HEALTHY, "onnxruntime"), onnxruntime_qnn="1.0"), "export"),
    ],
)
def test_the_build_side(facts: Facts, extras: str) -> None:
    todo = only(without(facts, "torch", "onnx"))
    assert todo.text == "coder-export, which makes engines, lacks torch, onnx."
    assert (todo.level, todo.commands) == ("option", (f"pip install 'coder-engine[{extras}]'",))


def test_the_build_side_brings_the_runtime_that_suits() -> None:
    found = todos(without(SERVER, "onnxruntime-gpu", "torch"))
    assert [todo.commands[0] for todo in found] == [
        "pip install 'coder-engine[gpu]'",
        "pip install 'coder-engine[export,gpu]'",
    ]


def test_the_text_side() -> None:
    todo = only(without(HEALTHY, "nltk"))
    assert (todo.level, todo.commands) == ("option", ("pip install 'coder-engine[texts,cpu]'",))


def test_wordnet() -> None:
    todo = only(but(HEALTHY, wordnet=None))
    assert todo.commands == ("python -m nltk.downloader wordnet", "sudo apt-get install wordnet-base")
    assert len(todos(without(but(HEALTHY, wordnet=None), "nltk"))) == 1  # first the package, then its data


def test_a_jetson() -> None:
    orin = but(HEALTHY, jetson="L4T R36.4.0", driver_cuda="12.6", suffixes=(".onnx", ".plan"))
    assert only(orin).commands == ("sudo apt-get install python3-libnvinfer",)
    assert "Jetson              L4T R36.4.0" in as_text(orin, None)
    half = having(orin, tensorrt="10.13")
    assert problem(half, "TensorRT") == "lacks cuda-bindings"
    assert (only(half).level, only(half).commands) == ("warning", ("pip install 'cuda-bindings==12.*'",))
    assert "TensorRT" in usable(having(half, cuda_bindings="12.9"))
    thor = without(but(orin, driver_cuda="13.0"), "onnxruntime")
    assert todos(thor)[0].commands == ("pip install 'coder-engine[cpu]'",)  # pip's GPU wheel is for servers


def test_onnx_runtime_on_a_gpu_needs_the_bindings() -> None:
    bare = without(SERVER, "cuda-bindings")
    assert problem(bare, "ONNX Runtime CUDA") == "lacks cuda-bindings"
    assert (only(bare).level, only(bare).commands) == ("warning", ("pip install 'cuda-bindings==13.*'",))
    assert "onnxruntime-gpu cannot run engines on the GPU without NVIDIA's cuda-bindings." in only(bare).text


def test_plans_need_a_backend_for_them() -> None:
    rtx = having(SERVER, tensorrt="11.0", tensorrt_rtx="1.7", cuda_bindings="13.0")
    assert problem(rtx, "TensorRT") == problem(rtx, "TensorRT-RTX") == "this coder-engine does not run .plan files"
    plans = but(rtx, suffixes=(".onnx", ".plan"))
    assert usable(plans)[:3] == ["ONNX Runtime CUDA", "TensorRT", "TensorRT-RTX"]
    hopper = but(plans, gpus=(Gpu(name="H200", capability="9.0"),))
    assert problem(hopper, "TensorRT-RTX") == "does not list compute capability 9.0"
    assert problem(but(plans, gpus=()), "TensorRT") == "no NVIDIA GPU"


@pytest.mark.parametrize(
    ("capability", "extra"),
    [("8.9", "tensorrt-rtx"), ("8.0", "tensorrt-rtx"), ("9.0", "tensorrt"), ("7.5", "tensorrt"), (None, "tensorrt")],
)
def test_a_gpu_without_tensorrt(capability: str | None, extra: str) -> None:
    plans = but(SERVER, suffixes=(".onnx", ".plan"), gpus=(Gpu(name="some GPU", capability=capability),))
    assert only(plans).commands == (f"pip install 'coder-engine[{extra}]'",)
    assert todos(but(plans, gpus=())) == todos(but(SERVER, gpus=()))
