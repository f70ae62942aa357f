"""CPU, memory and NVIDIA GPUs, from the system's own files and the driver's own tool."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_X86 = {"AVX2": "avx2", "AVX-512": "avx512f", "AVX512_BF16": "avx512_bf16", "AMX": "amx_bf16"}
_ARM = {"NEON": "asimd", "BF16": "bf16"}
_NVIDIA_SMI_WSL = "/usr/lib/wsl/lib/nvidia-smi"
_TIMEOUT = 15.0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU; ``capability`` like "8.9", ``memory`` in bytes, None where the driver does not tell."""

    name: str
    capability: str | None = None
    memory: int | None = None


def cpu(root: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Model, instruction sets it has, and those it lacks; both empty where the system does not list them."""
    info: dict[str, str] = {}
    for line in read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    flags = set((info.get("flags") or info.get("Features") or "").split())
    board = read(root / "proc/device-tree/model").strip("\0\n ")
    part = f"implementer {info.get('CPU implementer')}, part {info.get('CPU part')}" if "CPU part" in info else ""
    model = info.get("model name") or board or part or platform.processor() or platform.machine() or "unknown"
    known = (_X86 if "flags" in info else _ARM) if flags else {}
    has = tuple(name for name, flag in known.items() if flag in flags)
    return model, has, tuple(name for name in known if name not in has)


def memory_bytes(root: Path) -> tuple[int | None, int | None]:
    """Bytes this process may use, by machine or container, and the machine's free ones."""
    found = dict(re.findall(r"^(\w+): +(\d+) kB", read(root / "proc/meminfo"), re.MULTILINE))
    total = int(found["MemTotal"]) << 10 if "MemTotal" in found else None
    free = int(found["MemAvailable"]) << 10 if "MemAvailable" in found else None
    cgroup = root / "sys/fs/cgroup"
    limits = (read(cgroup / name).strip() for name in ("memory.max", "memory/memory.limit_in_bytes"))
    return min([int(n) for n in limits if n.isdigit()] + ([total] if total else []), default=None), free


def nvidia(root: Path) -> tuple[tuple[Gpu, ...], str | None, str | None]:
    """GPUs, driver, and why nvidia-smi gave none; from /proc alone where there is no nvidia-smi."""
    version = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d[\d.]+)", read(root / "proc/driver/nvidia/version"))
    driver = version[1] if version else None
    smi = shutil.which("nvidia-smi") or shutil.which(_NVIDIA_SMI_WSL)
    if smi is None:
        return _proc_gpus(root), driver, None
    for field_names in (
        "name,driver_version,compute_cap,memory.total",
        "name,driver_version",
    ):  # the short: old drivers
        code, said = run(smi, f"--query-gpu={field_names}", "--format=csv,noheader,nounits")
        if code == 0:
            rows = [[cell.strip() for cell in line.split(",")] for line in said.splitlines() if "," in line]
            return tuple(map(_gpu, rows)), (rows[0][1] if rows else driver), None
        if code is None:
            break
    return _proc_gpus(root), driver, " ".join(said.split())[:300] or f"nvidia-smi ended with code {code}"


def run(*command: str, timeout: float = _TIMEOUT) -> tuple[int | None, str]:
    """Exit code and output of a command; None and the reason where it gave none in time.

    ``subprocess.run`` would wait for ever for a process that a broken driver holds in the kernel.
    """
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=nothing, stdout=pipe, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError as err:
        return None, f"{command[0]} cannot be run ({err.strerror})"
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        if process.stdout:
            process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        return None, f"{Path(command[0]).name} gave no answer in {timeout:.0f} s"
    return process.returncode, out.decode(errors="replace")


def pci_gpu(root: Path) -> bool:
    """Whether a display controller of NVIDIA's is on the PCI bus."""
    devices = (root / "sys/bus/pci/devices").glob("*")
    return any(
        read(device / "vendor").strip() == "0x10de" and read(device / "class").startswith("0x03") for device in devices
    )


def jetson(root: Path) -> str | None:
    """Release of a Jetson's system, like "L4T R36.4.0"; None on other machines."""
    text = read(root / "etc/nv_tegra_release")
    found = re.search(r"R(\d+) .*?REVISION: ([\d.]+)", text)
    return f"L4T R{found[1]}.{found[2]}" if found else "release unknown" if text else None


def _proc_gpus(root: Path) -> tuple[Gpu, ...]:
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    return tuple(Gpu(name=found[1].strip()) for file in files if (found := re.search(r"Model:(.+)", read(file))))


def _gpu(row: list[str]) -> Gpu:
    capability, memory = (*row[2:4], "", "")[:2]
    return Gpu(
        name=row[0],
        capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
        memory=int(memory) << 20 if memory.isdigit() else None,
    )


def driver_cuda() -> str | None:
    """The newest CUDA the driver serves; its own library tells, which needs no GPU for that."""
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) or not number.value:
            return None
    except (OSError, AttributeError):
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def read(path: Path) -> str:
    """Text of a file; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""
