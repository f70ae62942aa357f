"""Facts from fake roots, fake tools and fake packages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import numpy
import pytest

from coder_engine.doctor import engine_file, hardware, software
from coder_engine.doctor.engine_file import examine, in_own_process
from coder_engine.doctor.facts import find_facts
from coder_engine.doctor.hardware import Gpu

INTEL = (
    "processor : 0\nmodel name : Xeon\nflags : fpu avx2 avx512f avx512_bf16 amx_tile\n\nprocessor : 1\nflags : none\n"
)
ARM = "processor : 0\nFeatures : fp asimd bf16\nCPU implementer : 0x41\nCPU part : 0xd40\n"
NVRM = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC version: 12\n"
NVRM_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


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
    start = time.monotonic()
    assert hardware.nvidia(tmp_path)[2] == "nvidia-smi gave no answer in 0 s"
    assert time.monotonic() - start < 30
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


# packages, libraries, data


def test_the_cuda_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.cuda_head() in ("built", "not built")
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: name)
    monkeypatch.delattr("coder_engine._cuda", raising=False)
    monkeypatch.setitem(sys.modules, "coder_engine._cuda", None)
    assert software.cuda_head().startswith("cannot be loaded: ")
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: None)
    assert software.cuda_head() == "not built"


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.version("numpy")
    assert software.version("no-such-distribution") is None
    monkeypatch.setattr(importlib.metadata, "version", lambda name: None)
    assert software.version("numpy") == "unknown"

    def damaged(name: str) -> str:
        raise KeyError(name)

    monkeypatch.setattr(importlib.metadata, "version", damaged)
    assert software.version("numpy") == "unknown"


def test_cuda_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"libcublas.so.13": "", "libcublas.so.12": "", "libcublasLt.so.13": "", "libcudart.so": ""})
    monkeypatch.setattr(software, "find_library", {"curand": "libcurand.so.10"}.get)
    assert software.cuda_files([tmp_path, tmp_path / "none"]) == {
        "cublas": ("libcublas.so.12", "libcublas.so.13"),
        "cublasLt": ("libcublasLt.so.13",),
        "cudart": (),
        "curand": ("libcurand.so.10",),
    }


def test_a_loader_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> str:
        raise OSError(name)

    monkeypatch.setattr(software, "find_library", broken)
    assert set(software.cuda_files([]).values()) == {()}


def test_folders_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia/cu13/lib").mkdir(parents=True)
    monkeypatch.setattr(software, "module_folder", lambda name: tmp_path / name)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/opt/a{os.pathsep}{os.pathsep}/opt/b")
    assert software.library_folders() == [tmp_path / "nvidia/cu13/lib", Path("/opt/a"), Path("/opt/b")]


WHOLE = {"__init__.py": "", "capi/onnxruntime_pybind11_state.cpython-312.so": ""}


@pytest.mark.parametrize(
    ("files", "recorded", "found"),
    [
        (WHOLE, True, (None, None)),
        ({**WHOLE, "capi/build_and_package_info.py": "x = 1\ncuda_version = '13.0'\n"}, True, ("13.0", None)),
        ({**WHOLE, "capi/build_and_package_info.py": 'cuda_version = ""\n'}, True, (None, None)),
        ({"__init__.py": ""}, True, (None, "it lacks its library")),
        ({"a": ""}, True, (None, "it lacks __init__.py and its library")),
        ({"a": ""}, False, (None, None)),
    ],
)
def test_onnx_runtimes_files(
    tmp_path: Path, files: dict[str, str], recorded: bool, found: tuple[str | None, str | None]
) -> None:
    assert software.onnx_runtime(write(tmp_path, files), recorded) == found


def test_onnx_runtime_is_gone() -> None:
    assert software.onnx_runtime(None, True) == (None, "its files are gone")
    assert software.onnx_runtime(None, False) == (None, None)


def test_folders_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.module_folder("numpy") == Path(numpy.__file__).parent
    assert software.module_folder("no_such_module") is None
    monkeypatch.setitem(sys.modules, "half_loaded", None)
    assert software.module_folder("half_loaded") is None


def test_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODER_WORDNET", str(tmp_path / "own"))
    assert software.wordnet() is None
    write(tmp_path, {"own/data.noun": "", "data/corpora/wordnet.zip": ""})
    assert software.wordnet() == str(tmp_path / "own")
    monkeypatch.delenv("CODER_WORDNET")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "data"))
    assert software.wordnet() == str(tmp_path / "data/corpora/wordnet.zip")


def test_a_bare_root(tmp_path: Path) -> None:
    facts = find_facts(tmp_path)
    assert (facts.features, facts.memory, facts.pci_gpu) == ((), None, False)
    assert facts.packages["numpy"]
    assert ".onnx" in facts.suffixes


# engine files


def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'outcome: [true, \"fine\"]'; echo noise at the end", (True, "fine")),
        ("echo 'outcome: [false, \"no GPU\"]'", (False, "no GPU")),
        ("kill -ILL $$", (False, "its process ended with signal 4")),
        ("echo 'outcome: [true, \"fine\"]'; echo gone >&2; exit 3", (False, "its process ended with code 3: gone")),
        ("echo hello", (False, "its process ended with code 0: hello")),
    ],
)  # fmt: skip
def test_what_a_trial_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: tuple[bool, str]) -> None:
    fake_python(tmp_path, monkeypatch, body)
    assert in_own_process("onnxruntime", "cpu", Path("x.onnx"), weights=Path("x.safetensors")) == said


def test_a_trial_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path, monkeypatch, "exec sleep 60")
    runs, said = in_own_process("onnxruntime", "cpu", Path("x.onnx"), weights=Path("x.safetensors"), timeout=0.2)
    assert (runs, said) == (False, "python gave no answer in 0 s")


def test_every_backend_gets_its_trial(tiny: Path) -> None:
    asked = []

    def attempt(name: str, device: str, path: Path) -> tuple[bool, str]:
        asked.append((name, device, path))
        return device == "cpu", "said"

    found = examine(tiny, attempt=attempt)
    assert found.ok
    assert ("onnxruntime", "cpu", tiny) in asked
    assert [trial.runs for trial in found.trials] == [device == "cpu" for _, device, _ in asked]


def test_damaged_pair_rows(tiny: Path, tmp_path: Path) -> None:
    weights = bytearray(tiny.with_suffix(".safetensors").read_bytes())
    length = int.from_bytes(weights[:8], "little")
    start = 8 + length + json.loads(bytes(weights[8 : 8 + length]))["pair_rows"]["data_offsets"][0]
    weights[start] ^= 1
    copy = tmp_path / "damaged.safetensors"
    copy.write_bytes(weights)
    found = examine(tiny, copy, attempt=lambda *_: (True, ""))
    assert not found.belongs
    assert "'pair_rows' was edited or damaged" in found.weights


def test_an_engine_that_may_not_be_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, weights: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(engine_file, "check_belongs", forbidden)
    found = examine(tiny)
    assert (found.belongs, "Permission denied" in found.weights) == (False, True)


def test_a_kind_of_file_that_no_backend_reads(tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny.engine"
    other.write_bytes(tiny.read_bytes())
    found = examine(other, tiny.with_suffix(".safetensors"), attempt=lambda *_: (True, ""))
    assert (found.belongs, found.trials, found.ok) == (True, (), False)
