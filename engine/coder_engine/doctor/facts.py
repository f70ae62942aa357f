"""All that the doctor looks at, as one value: a report depends on nothing else.

Whatever cannot be found out is None or empty; what that means is said by
:mod:`coder_engine.doctor.backends` and :mod:`coder_engine.doctor.todo`.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coder_engine import __version__
from coder_engine.doctor import hardware, software
from coder_engine.doctor.hardware import Gpu
from coder_engine.machine.cpus import fast_bf16, usable_cpus


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found.

    Attributes:
        cpus, present: the CPUs this process may use, and those of the machine.
        features, lacking: instruction sets that matter, as people write them.
        bf16: the one by which this CPU is faster in bf16 than in fp32.
        isas: what our kernels can run here, best first; empty where they cannot be loaded (``kernels_fault``).
        cuda_head: whether our head for NVIDIA GPUs was built, and loads, in a few words.
        memory, memory_free: bytes this process may use, and how many of the machine's are free.
        driver, driver_cuda: the NVIDIA driver, and the newest CUDA it can serve.
        gpu_fault: why nvidia-smi gave no answer, in its words.
        pci_gpu: the PCI bus shows an NVIDIA GPU, whether or not it has a driver.
        jetson: the release of the Jetson's system.
        hidden: CUDA_VISIBLE_DEVICES, where it is set.
        cuda_files: file names of each of ``software.CUDA_LIBRARIES``, by the loader or in pip's nvidia packages.
        packages: versions by name, of those that are installed.
        import_faults: why those of ``software.NEEDED`` that are installed cannot be imported, by name.
        ort_cuda: the CUDA that the installed ONNX Runtime was built for.
        ort_fault: what its module lacks.
        suffixes: the engine files that this coder-engine has a backend for.
        wordnet: where WordNet's files are.
    """

    system: str = "unknown"
    python: str = ""
    version: str = ""
    cpu: str = "unknown"
    machine: str = ""
    cpus: int = 1
    present: int = 1
    features: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    bf16: str | None = None
    isas: tuple[str, ...] = ()
    kernels_fault: str | None = None
    cuda_head: str = "not built"
    memory: int | None = None
    memory_free: int | None = None
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    driver_cuda: str | None = None
    gpu_fault: str | None = None
    pci_gpu: bool = False
    jetson: str | None = None
    hidden: str | None = None
    cuda_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    import_faults: Mapping[str, str] = field(default_factory=dict)
    ort_cuda: str | None = None
    ort_fault: str | None = None
    suffixes: tuple[str, ...] = (".onnx",)
    wordnet: str | None = None


def find_facts(root: Path = Path("/")) -> Facts:
    """Look at this machine; ``root`` is where its /proc, /sys and /etc are."""
    model, features, lacking = hardware.cpu(root)
    memory, memory_free = hardware.memory_bytes(root)
    gpus, driver, gpu_fault = hardware.nvidia(root)
    isas, kernels_fault = software.kernels()
    packages = {name: version for name in software.PACKAGES if (version := software.version(name))}
    ort_cuda, ort_fault = software.onnx_runtime(
        software.module_folder("onnxruntime"), recorded=any(name in packages for name in software.ONNX_RUNTIMES)
    )
    return Facts(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=f"{platform.python_version()}, {sys.executable}",
        version=__version__,
        cpu=model,
        machine=platform.machine(),
        cpus=usable_cpus(),
        present=os.cpu_count() or 1,
        features=features,
        lacking=lacking,
        bf16=fast_bf16(root / "proc/cpuinfo"),
        isas=isas,
        kernels_fault=kernels_fault,
        cuda_head=software.cuda_head(),
        memory=memory,
        memory_free=memory_free,
        gpus=gpus,
        driver=driver,
        driver_cuda=None if gpu_fault else hardware.driver_cuda(),
        gpu_fault=gpu_fault,
        pci_gpu=hardware.pci_gpu(root),
        jetson=hardware.jetson(root),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cuda_files=software.cuda_files(software.library_folders()),
        packages=packages,
        import_faults=software.import_faults(packages),
        ort_cuda=ort_cuda,
        ort_fault=ort_fault,
        suffixes=software.suffixes(),
        wordnet=software.wordnet(),
    )
