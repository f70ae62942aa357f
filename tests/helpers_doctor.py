"""Machines for coder-doctor that are not there: their roots, their facts, and what is said of these."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coder_engine.doctor.backends import states
from coder_engine.doctor.engine_file import EngineFile, Trial
from coder_engine.doctor.facts import Facts
from coder_engine.doctor.hardware import Gpu
from coder_engine.doctor.software import BUILD_SIDE, NEEDED, TEXT_SIDE
from coder_engine.doctor.todo import Todo, todos

ALL = {name: "1.0" for name in (*NEEDED, *BUILD_SIDE, *TEXT_SIDE, "onnxruntime", "openvino")}
CUDA_12 = {"cublas": ("libcublas.so.12",), "cublasLt": ("libcublasLt.so.12",), "cudart": ("libcudart.so.12",)}
CUDA_13 = {"cublas": ("libcublas.so.13",), "cublasLt": ("libcublasLt.so.13.0.2",), "cudart": ("libcudart.so.13",)}
CURAND = {"curand": ("libcurand.so.10",)}

HEALTHY = Facts(
    system="Linux 6.1, x86_64",
    python="3.12.1, /usr/bin/python3",
    version="1.2.3",
    cpu="Some CPU",
    features=("AVX2", "AVX-512"),
    lacking=("AVX512_BF16", "AMX"),
    isas=("avx512", "avx2", "scalar"),
    memory=8 << 30,
    packages=ALL,
    wordnet="/usr/share/wordnet",
)
SERVER = dataclasses.replace(
    HEALTHY,
    gpus=(Gpu(name="NVIDIA L4", capability="8.9", memory=24 << 30),),
    driver="580.65.06",
    driver_cuda="13.0",
    packages={
        **{name: version for name, version in ALL.items() if name != "onnxruntime"},
        "onnxruntime-gpu": "1.31.1",
        "cuda-bindings": "13.0.3",
    },
    ort_cuda="13.0",
    cuda_files={**CUDA_13, **CURAND},
)

GOOD = EngineFile(
    path="birds.onnx",
    belongs=True,
    weights="birds.safetensors: ViT-B/16 (openai), 3 classes, 3 pairs",
    trials=(
        Trial(title="OpenVINO", runs=False, text="not installed"),
        Trial(title="ONNX Runtime", runs=True, text="ONNX Runtime 1.32.0, CPU, fp32, 2 threads"),
    ),
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def but(facts: Facts, **changes: object) -> Facts:
    return dataclasses.replace(facts, **changes)  # type: ignore[arg-type]


def without(facts: Facts, *names: str) -> Facts:
    return but(facts, packages={name: version for name, version in facts.packages.items() if name not in names})


def having(facts: Facts, **versions: str) -> Facts:
    return but(facts, packages={**facts.packages, **{name.replace("_", "-"): v for name, v in versions.items()}})


def usable(facts: Facts) -> list[str]:
    return [state.title for state in states(facts) if state.problem is None]


def problem(facts: Facts, title: str) -> str | None:
    return next(state.problem for state in states(facts) if state.title == title)


def only(facts: Facts, engine: EngineFile | None = None) -> Todo:
    (todo,) = todos(facts, engine)
    return todo
