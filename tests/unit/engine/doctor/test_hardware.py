"""CPU, memory and NVIDIA GPUs of a machine, from fake roots and a fake nvidia-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.doctor import hardware
from coder_engine.doctor.hardware import Gpu
from helpers_doctor import write

INTEL = (
    "processor : 0\nmodel name : Xeon\nflags : fpu avx2 avx512f avx512_bf16 amx_tile\n\nprocessor : 1\nflags : none\n"
)
ARM = "processor : 0\nFeatures : fp asimd bf16\nCPU implementer : 0x41\nCPU part : 0xd40\n"
NVRM = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC version: 12\n"
NVRM_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with a nvidia-smi to be written."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(hardware, "_NVIDIA_SMI_WSL", str(folder / "none"))
    return folder


def script(folder: Path, body: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "nvidia-smi").chmod(0o755)


# cpu and memory


def test_an_intel_cpu(tmp_path: Path) -> None:
    assert hardware.cpu(write(tmp_path, {"proc/cpuinfo": INTEL})) == (
        "Xeon", ("AVX2", "AVX-512", "AVX512_BF16"), ("AMX",)
    )  # fmt: skip


def test_an_arm_cpu(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/cpuinfo": ARM})
    assert hardware.cpu(root) == ("implementer 0x41, part 0xd40", ("NEON", "BF16"), ())
    write(root, {"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"})
    assert hardware.cpu(root)[0] == "NVIDIA Jetson Orin Nano"


def test_a_machine_without_files(tmp_path: Path) -> None:
    model, features, lacking = hardware.cpu(tmp_path)
    assert (bool(model), features, lacking) == (True, (), ())
    assert hardware.memory_bytes(tmp_path) == (None, None)
    assert hardware.jetson(tmp_path) is None
    assert hardware.pci_gpu(tmp_path) is False


@pytest.mark.parametrize(
    ("files", "usable"),
    [
        ({}, 8 << 20 << 10),
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8 << 20 << 10),
        ({"sys/fs/cgroup/memory.max": "1048576\n"}, 1 << 20),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n"}, 2 << 20),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 20 << 10),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], usable: int) -> None:
    info = "MemTotal:       8388608 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n"
    assert hardware.memory_bytes(write(tmp_path, {"proc/meminfo": info, **files})) == (usable, 1 << 20)


# nvidia


def test_gpus_of_nvidia_smi(smi: Path, tmp_path: Path) -> None:
    script(smi, "echo 'NVIDIA L4, 580.65.06, 8.9, 23034'; echo 'Orin, 580.65.06, 8.7, [N/A]'")
    gpus, driver, fault = hardware.nvidia(tmp_path)
    assert gpus == (Gpu(name="NVIDIA L4", capability="8.9", memory=23034 << 20), Gpu(name="Orin", capability="8.7"))
    assert (driver, fault) == ("580.65.06", None)


def test_an_old_nvidia_smi(smi: Path, tmp_path: Path) -> None:
    script(smi, 'case "$1" in *compute_cap*) echo not a valid field; exit 2;; esac; echo Tesla K80, 450.1')
    assert hardware.nvidia(tmp_path) == ((Gpu(name="Tesla K80"),), "450.1", None)


def test_a_driver_without_gpus(smi: Path, tmp_path: Path) -> None:
    script(smi, "echo No devices were found")
    assert hardware.nvidia(tmp_path) == ((), None, None)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("echo Failed to initialize NVML: Driver/library version mismatch; exit 18", "Failed to initialize NVML: Dri"),
        ("exit 9", "nvidia-smi ended with code 9"),
    ],
)
def test_a_driver_in_trouble(smi: Path, tmp_path: Path, body: str, fault: str) -> None:
    script(smi, body)
    root = write(tmp_path, {"proc/driver/nvidia/version": NVRM})
    gpus, driver, said = hardware.nvidia(root)
    assert (gpus, driver) == ((), "535.104.05")
    assert said is not None
    assert said.startswith(fault)


def test_a_driver_that_hangs(smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(smi, "exec /bin/sleep 60")
    real = hardware.run
    asked = []

    def run(*command: str) -> tuple[int | None, str]:
        asked.append(command)
        return real(*command, timeout=0.2)

    monkeypatch.setattr(hardware, "run", run)
    assert hardware.nvidia(tmp_path)[2] == "nvidia-smi gave no answer in 0 s"
    assert len(asked) == 1


def test_a_tool_that_cannot_be_run(smi: Path, tmp_path: Path) -> None:
    (smi / "nvidia-smi").write_bytes(b"\x7fELF of another machine")
    (smi / "nvidia-smi").chmod(0o755)
    assert "cannot be run (Exec format error)" in str(hardware.nvidia(tmp_path)[2])


@pytest.mark.parametrize(("text", "driver"), [(NVRM, "535.104.05"), (NVRM_OPEN, "550.54.14"), ("?", None)])
@pytest.mark.usefixtures("smi")
def test_a_container_without_nvidia_smi(tmp_path: Path, text: str, driver: str | None) -> None:
    card = {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t NVIDIA A10\nIRQ: 1\n"}
    root = write(tmp_path, {"proc/driver/nvidia/version": text, **card})
    assert hardware.nvidia(root) == ((Gpu(name="NVIDIA A10"),), driver, None)


@pytest.mark.parametrize(
    ("vendor", "kind", "found"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x1002", "0x03", False)],
)
def test_the_pci_bus(tmp_path: Path, vendor: str, kind: str, found: bool) -> None:
    device = "sys/bus/pci/devices/0000:01:00.0"
    assert hardware.pci_gpu(write(tmp_path, {f"{device}/vendor": f"{vendor}\n", f"{device}/class": kind})) is found


def test_jetsons(tmp_path: Path) -> None:
    release = "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic\n"
    assert hardware.jetson(write(tmp_path, {"etc/nv_tegra_release": release})) == "L4T R36.4.0"
    assert hardware.jetson(write(tmp_path, {"etc/nv_tegra_release": "new words"})) == "release unknown"
