"""What is wrong on this machine and what could be gained, each with the commands that do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from coder_engine.doctor.backends import (
    LACKS_BINDINGS,
    NEWEST_CUDA,
    RTX_CAPABILITIES,
    cuda_problem,
    gpu_problem,
    major,
    runtimes,
    suits,
)
from coder_engine.doctor.engine_file import EngineFile
from coder_engine.doctor.facts import Facts
from coder_engine.doctor.software import BUILD_SIDE, NEEDED, TEXT_SIDE

_DRIVERS = {12: "525", 13: "580"}
"""The oldest Linux driver that serves any release of a CUDA major version."""


@dataclass(frozen=True, kw_only=True)
class Todo:
    """One thing to mend or to gain.

    Attributes:
        level: a fault must be mended before engines run; a warning says that something installed does not work; an
            option would bring something that is not there.
        text: what it is, in sentences.
        commands: what to type, in this order.
    """

    level: Literal["fault", "warning", "option"]
    text: str
    commands: tuple[str, ...] = ()


def todos(facts: Facts, engine: EngineFile | None = None) -> tuple[Todo, ...]:
    """What to do, the most urgent first."""
    found = [*_engine(engine), *(todo for rule in _RULES for todo in rule(facts))]
    return tuple(sorted(found, key=lambda todo: ("fault", "warning", "option").index(todo.level)))


def exit_code(facts: Facts, engine: EngineFile | None = None) -> int:
    """0 where something here can run engines, and ``engine`` where given, and nothing is in conflict; else 1."""
    return int(any(todo.level == "fault" for todo in todos(facts, engine)))


def _engine(engine: EngineFile | None) -> Iterator[Todo]:
    if engine is None or engine.ok:
        return
    if not engine.belongs:
        yield Todo(level="fault", text=f"The engine is not usable: {engine.weights}.")
    else:
        text = "No backend reads such files." if not engine.trials else "What each one says is above."
        yield Todo(level="fault", text=f"Nothing here runs {engine.path}. {text}")


def _core(facts: Facts) -> Iterator[Todo]:
    if lacks := [name for name in NEEDED if name not in facts.packages]:
        yield Todo(level="fault", text=f"Not installed: {', '.join(lacks)}.", commands=_pip(*lacks))
    for name, why in facts.import_faults.items():
        text = f"{name} is installed and cannot be imported ({why}): it is damaged or for another Python."
        yield Todo(level="fault", text=text, commands=(f"pip install --force-reinstall --no-deps {name}",))
    if facts.kernels_fault:
        text = (
            f"Our own kernels cannot be loaded ({facts.kernels_fault}): the package is damaged or for another Python."
        )
        yield Todo(level="fault", text=text, commands=("pip install --force-reinstall --no-deps coder-engine",))


def _onnx_runtime(facts: Facts) -> Iterator[Todo]:
    installed = runtimes(facts)
    if len(installed) > 1:
        names = " and ".join(f"{name} {facts.packages[name]}" for name in installed)
        text = f"{names} are one module, and their files are mixed: remove all of them, then install one."
        commands = (f"pip uninstall -y {' '.join(installed)}", *_extra(suits(facts)))
        yield Todo(level="fault", text=text, commands=commands)
    elif installed and facts.ort_fault:
        name = installed[0]
        text = f"{name} is damaged: {facts.ort_fault}. Removing another onnxruntime package does that."
        command = f"pip install --force-reinstall --no-deps {name}=={facts.packages[name]}"
        yield Todo(level="fault", text=text, commands=(command,))
    elif not installed and "openvino" not in facts.packages:
        text = "Nothing here can run engines: ONNX Runtime brings that."
        yield Todo(level="fault", text=text, commands=_extra(suits(facts)))
    elif not installed:
        text = "ONNX Runtime: the reference that other backends are compared with, and needed by coder-export."
        yield Todo(level="option", text=text, commands=_extra(suits(facts)))


def _driver(facts: Facts) -> Iterator[Todo]:
    containers = "In a container, start it with --gpus all."
    if facts.gpu_fault:
        text = (
            f"The NVIDIA driver does not work: {facts.gpu_fault.rstrip('.')}. Start the machine anew (after an update "
        )
        yield Todo(level="warning", text=f"{text}of the driver it must be), or install the driver again. {containers}")
    elif facts.pci_gpu and not facts.gpus:
        text = f"There is an NVIDIA GPU without its driver: install that from your system's packages. {containers}"
        yield Todo(level="warning", text=text)
    elif (facts.gpus or facts.jetson) and not facts.driver_cuda:
        text = f"The driver's library libcuda.so.1 cannot be loaded, so no program can compute on the GPU. {containers}"
        yield Todo(level="warning", text=text)
    elif gpu_problem(facts) == "hidden by CUDA_VISIBLE_DEVICES":
        text = f"CUDA_VISIBLE_DEVICES is {facts.hidden!r}, which hides every GPU."
        yield Todo(level="option", text=text, commands=("unset CUDA_VISIBLE_DEVICES",))


def _cuda(facts: Facts) -> Iterator[Todo]:
    if runtimes(facts) != ["onnxruntime-gpu"] or facts.ort_fault:
        return
    if gpu_problem(facts):
        text = "onnxruntime-gpu runs on the CPU here; the smaller onnxruntime does the same."
        yield Todo(level="option", text=text, commands=("pip uninstall -y onnxruntime-gpu", *_extra("cpu")))
    elif (problem := cuda_problem(facts)) == LACKS_BINDINGS:
        yield _bindings(facts, "onnxruntime-gpu cannot run engines on the GPU")
    elif problem:
        lacks = "not found" in problem
        mend = "pip packages bring the libraries" if lacks else _newer(facts)
        yield Todo(
            level="warning",
            text=f"onnxruntime-gpu cannot use the GPU: {problem}; {mend}.",
            commands=("pip install 'onnxruntime-gpu[cuda,cudnn]'",) if lacks else (),
        )


def _bindings(facts: Facts, what: str) -> Todo:
    command = _pip(f"'cuda-bindings=={major(facts.driver_cuda)}.*'")
    return Todo(level="warning", text=f"{what} without NVIDIA's cuda-bindings.", commands=command)


def _newer(facts: Facts) -> str:
    wants = major(facts.ort_cuda) or 0
    if "compute capability" in (cuda_problem(facts) or ""):
        return f"take an older onnxruntime-gpu, built for CUDA {wants - 1}, or use the CPU"
    release = f" ({_DRIVERS[wants]} or newer)" if wants in _DRIVERS else ""
    return f"install a newer NVIDIA driver{release}, or an onnxruntime-gpu built for CUDA {major(facts.driver_cuda)}"


def _gains(facts: Facts) -> Iterator[Todo]:
    installed = runtimes(facts)
    if not gpu_problem(facts) and not facts.jetson and len(installed) == 1 and installed != ["onnxruntime-gpu"]:
        old = f" It is built for CUDA {NEWEST_CUDA}; this driver serves {facts.driver_cuda}, so update it first."
        text = "ONNX Runtime CUDA: runs engines on the GPU. It replaces the package installed now."
        text += "" if suits(facts) == "gpu" else old
        yield Todo(level="option", text=text, commands=(f"pip uninstall -y {installed[0]}", *_extra("gpu")))
    if "openvino" not in facts.packages:
        why = "its largest gain, bf16, needs AMX, AVX512_BF16 of AMD's, or BF16 on Arm"
        if facts.bf16:
            why = f"computes in bf16, which this CPU is fast in ({facts.bf16})"
        text = f"OpenVINO: a CPU backend; {why}."
        yield Todo(level="option", text=text, commands=_extra("openvino"))


def _plans(facts: Facts) -> Iterator[Todo]:
    if ".plan" not in facts.suffixes:
        return
    has = [name for name in ("tensorrt", "tensorrt-rtx") if name in facts.packages]
    if has and not gpu_problem(facts) and "cuda-bindings" not in facts.packages:
        yield _bindings(facts, f"{' and '.join(has)} cannot run .plan engines")
    elif facts.jetson and "tensorrt" not in has:
        text = "TensorRT: runs .plan engines; on a Jetson it comes with JetPack, and a virtual environment "
        text += "sees it if made with --system-site-packages."
        yield Todo(level="option", text=text, commands=("sudo apt-get install python3-libnvinfer",))
    elif not has and facts.gpus and not gpu_problem(facts):
        rtx = all(gpu.capability and gpu.capability.startswith(RTX_CAPABILITIES) for gpu in facts.gpus)
        text = "TensorRT: runs .plan engines, which coder-export --format plan compiles for this GPU."
        yield Todo(level="option", text=text, commands=_extra("tensorrt-rtx" if rtx else "tensorrt"))


def _build_side(facts: Facts) -> Iterator[Todo]:
    if lacks := [name for name in BUILD_SIDE if name not in facts.packages]:
        text = f"coder-export, which makes engines, lacks {', '.join(lacks)}."
        yield Todo(level="option", text=text, commands=_extra("export" + _with_runtime(facts)))
    if lacks := [name for name in TEXT_SIDE if name not in facts.packages]:
        text = f"coder-texts, which writes texts by LLM and WordNet, lacks {', '.join(lacks)}."
        yield Todo(level="option", text=text, commands=_extra("texts" + _with_runtime(facts)))
    elif not facts.wordnet:
        text = "WordNet's files: synonyms and glosses without an LLM. Either of these (10 MB):"
        commands = ("python -m nltk.downloader wordnet", "sudo apt-get install wordnet-base")
        yield Todo(level="option", text=text, commands=commands)
    torch, vision = (facts.packages.get(name, "") for name in ("torch", "torchvision"))
    if torch and vision and torch.endswith("+cpu") != vision.endswith("+cpu"):
        text = (
            f"torch {torch} and torchvision {vision} are of different builds, which fails on import; take both of one."
        )
        yield Todo(level="warning", text=text, commands=("pip install --force-reinstall torch torchvision",))


def _with_runtime(facts: Facts) -> str:
    """The extra that goes with the build side and brings no second package of the same module."""
    installed = runtimes(facts)
    known = {"onnxruntime": ",cpu", "onnxruntime-gpu": ",gpu"}
    return known.get(installed[0], "") if len(installed) == 1 else f",{suits(facts)}"


def _pip(*names: str) -> tuple[str, ...]:
    return (f"pip install {' '.join(names)}",)


def _extra(names: str) -> tuple[str, ...]:
    return _pip(f"'coder-engine[{names}]'")


_RULES = (_core, _onnx_runtime, _driver, _cuda, _plans, _gains, _build_side)
