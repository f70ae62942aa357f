"""Which backends run on a machine, what is a fault there (exit code 1) and what only a warning."""

from __future__ import annotations

import dataclasses
import json

import pytest

from coder_engine.doctor.engine_file import EngineFile, Trial
from coder_engine.doctor.facts import Facts
from coder_engine.doctor.hardware import Gpu
from coder_engine.doctor.report import as_json, as_text
from coder_engine.doctor.software import NEEDED
from coder_engine.doctor.todo import exit_code, todos
from helpers_doctor import CUDA_12, CUDA_13, CURAND, GOOD, HEALTHY, SERVER, but, having, only, problem, usable, without

# machines where all is well


def test_a_healthy_machine_has_nothing_to_do() -> None:
    assert usable(HEALTHY) == ["OpenVINO", "ONNX Runtime"]
    assert todos(HEALTHY) == ()
    assert exit_code(HEALTHY) == 0
    assert as_text(HEALTHY, None).endswith("to do\n  nothing\n")


def test_a_healthy_server_runs_cuda_first() -> None:
    assert usable(SERVER) == ["ONNX Runtime CUDA", "OpenVINO", "ONNX Runtime"]
    assert todos(SERVER) == ()


def test_a_machine_that_tells_nothing_at_all() -> None:
    text = as_text(Facts(), None)
    assert "unknown" in text
    assert exit_code(Facts()) == 1
    json.dumps(as_json(Facts(), None))


# faults, which end in exit code 1


@pytest.mark.parametrize(("facts", "extra"), [(HEALTHY, "cpu"), (SERVER, "gpu")])
def test_both_wheels(facts: Facts, extra: str) -> None:
    mixed = having(facts, onnxruntime="1.32.0", onnxruntime_gpu="1.31.1")
    todo = only(mixed)
    assert todo.level == "fault"
    assert todo.text.startswith("onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are one module")
    wanted = ("pip uninstall -y onnxruntime onnxruntime-gpu", f"pip install 'coder-engine[{extra}]'")
    assert todo.commands == wanted
    assert usable(mixed) == ["OpenVINO"]
    assert exit_code(mixed) == 1


def test_a_package_that_is_installed_and_cannot_be_imported() -> None:
    broken = but(HEALTHY, import_faults={"numpy": "built for another Python"})
    todo = only(broken)
    assert (todo.level, exit_code(broken), usable(broken)) == ("fault", 1, [])
    assert todo.text.startswith("numpy is installed and cannot be imported (built for another Python)")
    assert todo.commands == ("pip install --force-reinstall --no-deps numpy",)
    assert problem(broken, "ONNX Runtime") == "numpy cannot be imported"


def test_other_wheels_of_the_same_module_conflict_too() -> None:
    assert only(having(HEALTHY, onnxruntime_openvino="1.2")).commands[0] == (
        "pip uninstall -y onnxruntime onnxruntime-openvino"
    )


def test_a_damaged_onnx_runtime() -> None:
    damaged = but(having(HEALTHY, onnxruntime="1.32.0"), ort_fault="it lacks its library")
    assert only(damaged).commands == ("pip install --force-reinstall --no-deps onnxruntime==1.32.0",)
    assert problem(damaged, "ONNX Runtime") == "damaged: it lacks its library"
    assert exit_code(damaged) == 1


@pytest.mark.parametrize(("facts", "extra"), [(HEALTHY, "cpu"), (SERVER, "gpu")])
def test_no_runtime(facts: Facts, extra: str) -> None:
    bare = without(facts, "onnxruntime", "onnxruntime-gpu", "openvino")
    todo = todos(bare)[0]
    assert (todo.level, todo.commands) == ("fault", (f"pip install 'coder-engine[{extra}]'",))
    assert usable(bare) == []
    assert exit_code(bare) == 1


def test_a_missing_dependency() -> None:
    bare = without(HEALTHY, "pillow")
    assert only(bare).commands == ("pip install pillow",)
    assert problem(bare, "OpenVINO") == "pillow not installed"
    assert exit_code(bare) == 1


def test_kernels_that_do_not_load() -> None:
    broken = but(HEALTHY, isas=(), kernels_fault="GLIBC_2.34 not found")
    assert "(GLIBC_2.34 not found)" in only(broken).text
    assert usable(broken) == []
    assert exit_code(broken) == 1
    assert "our kernels         cannot be loaded" in as_text(broken, None)


# warnings: something installed does not work, but engines run


def test_a_driver_that_does_not_answer() -> None:
    stuck = but(SERVER, gpu_fault="Failed to initialize NVML: Driver/library version mismatch.", gpus=())
    warning, option = todos(stuck)
    assert warning.level == "warning"
    assert (
        "does not work: Failed to initialize NVML: Driver/library version mismatch. Start the machine" in warning.text
    )
    assert option.commands == ("pip uninstall -y onnxruntime-gpu", "pip install 'coder-engine[cpu]'")
    assert problem(stuck, "ONNX Runtime CUDA") == "the NVIDIA driver does not work"
    assert exit_code(stuck) == 0


def test_a_gpu_without_a_driver() -> None:
    todo = only(but(HEALTHY, pci_gpu=True))
    assert (todo.level, "without its driver" in todo.text, "--gpus all" in todo.text) == ("warning", True, True)


def test_a_container_without_the_drivers_library() -> None:
    todo = todos(but(SERVER, driver_cuda=None))[0]
    assert (todo.level, "libcuda.so.1" in todo.text) == ("warning", True)


def test_a_driver_too_old_for_the_wheel() -> None:
    old = but(SERVER, driver_cuda="12.4")
    assert problem(old, "ONNX Runtime CUDA") == "the driver serves CUDA 12.4 at most, wanted 13"
    todo = only(old)
    assert todo.text.endswith("install a newer NVIDIA driver (580 or newer), or an onnxruntime-gpu built for CUDA 12.")
    assert todo.commands == ()
    assert exit_code(old) == 0


def test_a_gpu_too_old_for_the_wheel() -> None:
    volta = but(SERVER, gpus=(Gpu(name="V100", capability="7.0"),))
    assert problem(volta, "ONNX Runtime CUDA") == "compute capability under 7.5, too old for CUDA 13"
    assert "built for CUDA 12" in only(volta).text
    assert problem(but(volta, ort_cuda="12.8", cuda_files={**CUDA_12, **CURAND}), "ONNX Runtime CUDA") is None


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({}, "libcublas.so.13, libcublasLt.so.13, libcudart.so.13, libcurand"),
        ({**CUDA_12, **CURAND}, "libcublas.so.13, libcublasLt.so.13, libcudart.so.13"),
        (CUDA_13, "libcurand"),
    ],
)
def test_missing_cuda_libraries(files: dict[str, tuple[str, ...]], missing: str) -> None:
    bare = but(SERVER, cuda_files=files)
    assert problem(bare, "ONNX Runtime CUDA") == f"{missing} not found"
    assert only(bare).commands == ("pip install 'onnxruntime-gpu[cuda,cudnn]'",)
    assert exit_code(bare) == 0


def test_any_cuda_library_will_do_where_the_wheel_does_not_say() -> None:
    assert problem(but(SERVER, ort_cuda=None, cuda_files={**CUDA_12, **CURAND}), "ONNX Runtime CUDA") is None


def test_torch_and_torchvision_of_different_builds() -> None:
    todo = only(having(HEALTHY, torch="2.15.0+cpu", torchvision="0.29.2"))
    assert (todo.level, todo.commands) == ("warning", ("pip install --force-reinstall torch torchvision",))
    assert todos(having(HEALTHY, torch="2.15.0+cpu", torchvision="0.29.2+cpu")) == ()


def test_warnings_come_before_options() -> None:
    found = todos(without(having(HEALTHY, torch="2.15.0+cpu"), "openvino"))
    assert [todo.level for todo in found] == ["warning", "option"]


@pytest.mark.parametrize("runtime", [(), ("onnxruntime",), ("onnxruntime-gpu",), ("onnxruntime", "onnxruntime-gpu")])
@pytest.mark.parametrize("openvino", [(), ("openvino",)])
@pytest.mark.parametrize("changes", [{}, {"ort_fault": "it lacks its library"}, {"kernels_fault": "no"}])
def test_where_nothing_runs_there_is_a_fault(
    runtime: tuple[str, ...], openvino: tuple[str, ...], changes: dict[str, str]
) -> None:
    packages = {name: "1.0" for name in (*NEEDED, *runtime, *openvino)}
    facts = but(HEALTHY, packages=packages, **changes)
    assert usable(facts) or exit_code(facts) == 1


# the engine file


def test_an_engine_that_runs() -> None:
    text = as_text(HEALTHY, GOOD)
    assert "the two belong together" in " ".join(text.split())
    assert "OpenVINO            does not run it: not installed" in text
    assert "ONNX Runtime        runs it: ONNX Runtime 1.32.0, CPU, fp32, 2 threads" in text
    assert exit_code(HEALTHY, GOOD) == 0


def test_an_engine_of_another_pair() -> None:
    wrong = EngineFile(path="birds.onnx", belongs=False, weights="birds.onnx and finches do not belong together")
    todo = only(HEALTHY, wrong)
    assert todo.text == "The engine is not usable: birds.onnx and finches do not belong together."
    assert exit_code(HEALTHY, wrong) == 1


@pytest.mark.parametrize(
    ("trials", "said"), [(GOOD.trials[:1], "What each one says is above."), ((), "No backend reads such files.")]
)
def test_an_engine_that_nothing_runs(trials: tuple[Trial, ...], said: str) -> None:
    idle = dataclasses.replace(GOOD, trials=trials)
    assert only(HEALTHY, idle).text == f"Nothing here runs birds.onnx. {said}"
    assert exit_code(HEALTHY, idle) == 1
