"""Which backends can run engines here, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

from coder_engine.doctor.facts import Facts
from coder_engine.doctor.software import CUDA_LIBRARIES, NEEDED, ONNX_RUNTIMES

CPU, OPENVINO, CUDA, TENSORRT, RTX = "ONNX Runtime", "OpenVINO", "ONNX Runtime CUDA", "TensorRT", "TensorRT-RTX"
NEWEST_CUDA = 13
"""What pip's newest onnxruntime-gpu is built for; drivers may serve less."""
_CUDA_13_CAPABILITY = 7.5
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.")
"""That TensorRT-RTX 1.7 runs plans on, of those it can build ours for."""
LACKS_BINDINGS = "lacks cuda-bindings"


@dataclass(frozen=True, kw_only=True)
class State:
    """One backend here: ``problem`` says why it cannot run engines, None that it can."""

    title: str
    version: str | None
    problem: str | None


def states(facts: Facts) -> tuple[State, ...]:
    """Every backend, best first."""
    version = ", ".join(f"{name} {facts.packages[name]}" for name in runtimes(facts)) or None
    problems = {
        CUDA: (version, _core_problem(facts) or gpu_problem(facts) or _ort_problem(facts) or cuda_problem(facts)),
        TENSORRT: (facts.packages.get("tensorrt"), _plan_problem(facts, "tensorrt")),
        RTX: (facts.packages.get("tensorrt-rtx"), _plan_problem(facts, "tensorrt-rtx") or _rtx_problem(facts)),
        OPENVINO: (facts.packages.get("openvino"), _core_problem(facts) or _missing(facts, "openvino")),
        CPU: (version, _core_problem(facts) or _ort_problem(facts)),
    }
    return tuple(State(title=name, version=has, problem=problem) for name, (has, problem) in problems.items())


def runtimes(facts: Facts) -> list[str]:
    """The installed distributions of the one module ``onnxruntime``."""
    return [name for name in ONNX_RUNTIMES if name in facts.packages]


def suits(facts: Facts) -> str:
    """The extra with the ONNX Runtime to install here: ``gpu`` where the driver serves pip's newest, else ``cpu``."""
    served = major(facts.driver_cuda) or 0
    return "gpu" if gpu_problem(facts) is None and not facts.jetson and served >= NEWEST_CUDA else "cpu"


def cuda_missing(facts: Facts) -> list[str]:
    """CUDA libraries, of the version the CUDA provider wants, that nothing here has."""
    cuda = major(facts.ort_cuda)
    wanted = {name: "" if name == "curand" or cuda is None else f".so.{cuda}" for name in CUDA_LIBRARIES}
    return [f"lib{name}{ending}" for name, ending in wanted.items() if not _has(facts.cuda_files.get(name, ()), ending)]


def _has(files: tuple[str, ...], ending: str) -> bool:
    return any(file.endswith(ending) or f"{ending}." in file for file in files)


def _missing(facts: Facts, name: str) -> str | None:
    return None if name in facts.packages else "not installed"


def _core_problem(facts: Facts) -> str | None:
    """Why nothing at all could run."""
    lacks = [name for name in NEEDED if name not in facts.packages]
    if lacks:
        return f"{', '.join(lacks)} not installed"
    if facts.import_faults:
        return f"{', '.join(facts.import_faults)} cannot be imported"
    return "our own kernels cannot be loaded" if facts.kernels_fault else None


def _ort_problem(facts: Facts) -> str | None:
    if not runtimes(facts):
        return "not installed"
    if len(runtimes(facts)) > 1:
        return "conflict, see below"
    return f"damaged: {facts.ort_fault}" if facts.ort_fault else None


def gpu_problem(facts: Facts) -> str | None:
    if facts.gpu_fault:
        return "the NVIDIA driver does not work"
    if not facts.gpus and not facts.jetson:
        return "its driver is not installed" if facts.pci_gpu else "no NVIDIA GPU"
    if facts.hidden is not None and facts.hidden.strip() in ("", "-1"):
        return "hidden by CUDA_VISIBLE_DEVICES"
    return None if facts.driver_cuda else "libcuda.so.1 is not there"


def cuda_problem(facts: Facts) -> str | None:
    if "onnxruntime-gpu" not in facts.packages:
        return "onnxruntime-gpu is not installed"
    wants, serves = major(facts.ort_cuda), major(facts.driver_cuda)
    if wants and serves and serves < wants:
        return f"the driver serves CUDA {facts.driver_cuda} at most, wanted {wants}"
    if (wants or 0) >= 13 and facts.gpus and all(_too_old(gpu.capability) for gpu in facts.gpus):
        return f"compute capability under {_CUDA_13_CAPABILITY}, too old for CUDA {wants}"
    if lacks := cuda_missing(facts):
        return f"{', '.join(lacks)} not found"
    return _missing(facts, "cuda-bindings") and LACKS_BINDINGS


def _plan_problem(facts: Facts, name: str) -> str | None:
    if missing := _missing(facts, name):
        return missing
    if core := _core_problem(facts):
        return core
    if ".plan" not in facts.suffixes:
        return "this coder-engine does not run .plan files"
    return gpu_problem(facts) or (_missing(facts, "cuda-bindings") and LACKS_BINDINGS)


def _rtx_problem(facts: Facts) -> str | None:
    known = [gpu.capability for gpu in facts.gpus if gpu.capability]
    if not known or any(one.startswith(RTX_CAPABILITIES) for one in known):
        return None
    return f"does not list compute capability {', '.join(known)}"


def _too_old(capability: str | None) -> bool:
    return capability is not None and float(capability) < _CUDA_13_CAPABILITY


def major(version: str | None) -> int | None:
    head = (version or "").split(".")[0]
    return int(head) if head.isdigit() else None
