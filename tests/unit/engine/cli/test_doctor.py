from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from coder_engine.cli import doctor
from coder_engine.cli.doctor import main
from coder_engine.doctor.backends import states
from coder_engine.doctor.engine_file import EngineFile, Trial
from coder_engine.doctor.facts import Facts, find_facts
from coder_engine.doctor.hardware import Gpu
from coder_engine.doctor.report import as_json, as_text
from coder_engine.doctor.software import BUILD_SIDE, NEEDED, TEXT_SIDE
from coder_engine.doctor.todo import Todo, exit_code, todos

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
    packages={**{name: version for name, version in ALL.items() if name != "onnxruntime"}, "onnxruntime-gpu": "1.31.1"},
    ort_cuda="13.0",
    cuda_files={**CUDA_13, **CURAND},
)


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


# options: what one command would bring


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
    native = only(without(but(HEALTHY, features=("AVX2", "AVX512_BF16", "AMX")), "openvino"))
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


def test_plans_need_a_backend_for_them() -> None:
    rtx = having(SERVER, tensorrt="11.0", tensorrt_rtx="1.7", cuda_bindings="13.0")
    assert problem(rtx, "TensorRT") == problem(rtx, "TensorRT-RTX") == "this coder-engine does not run .plan files"
    plans = but(rtx, suffixes=(".onnx", ".plan"))
    assert usable(plans)[:3] == ["ONNX Runtime CUDA", "TensorRT", "TensorRT-RTX"]
    hopper = but(plans, gpus=(Gpu(name="H200", capability="9.0"),))
    assert problem(hopper, "TensorRT-RTX") == "does not list compute capability 9.0"
    assert problem(but(plans, gpus=()), "TensorRT") == "no NVIDIA GPU"


@pytest.mark.parametrize(("capability", "extra"), [("8.9", "tensorrt-rtx"), ("9.0", "tensorrt"), (None, "tensorrt")])
def test_a_gpu_without_tensorrt(capability: str | None, extra: str) -> None:
    plans = but(SERVER, suffixes=(".onnx", ".plan"), gpus=(Gpu(name="some GPU", capability=capability),))
    assert only(plans).commands == (f"pip install 'coder-engine[{extra}]'",)
    assert todos(but(plans, gpus=())) == todos(but(SERVER, gpus=()))


# the engine file

GOOD = EngineFile(
    path="birds.onnx",
    belongs=True,
    weights="birds.safetensors: ViT-B/16 (openai), 3 classes, 3 pairs",
    trials=(
        Trial(title="OpenVINO", runs=False, text="not installed"),
        Trial(title="ONNX Runtime", runs=True, text="ONNX Runtime 1.32.0, CPU, fp32, 2 threads"),
    ),
)


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


# the report

EVERYTHING = [
    HEALTHY,
    SERVER,
    Facts(),
    but(SERVER, gpu_fault="x" * 300, hidden="0,1", pci_gpu=True),
    but(SERVER, python="/a/very" + "/long" * 60 + "/bin/python"),
    having(without(SERVER, "torch", "openai", "openvino", "numpy"), onnxruntime="1.0", torchvision="2+cpu"),
    but(HEALTHY, kernels_fault="no\nsuch\nfile", isas=(), pci_gpu=True, memory_free=1 << 30),
]


@pytest.mark.parametrize("facts", EVERYTHING)
def test_lines_stay_under_100_columns(facts: Facts) -> None:
    text = as_text(facts, GOOD)
    assert max(map(len, text.splitlines())) < 100
    assert "\n\n\n" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("facts", EVERYTHING)
def test_commands_are_whole_lines_that_a_shell_takes(facts: Facts) -> None:
    lines = [line.strip() for line in as_text(facts, None).splitlines()]
    for todo in todos(facts):
        for command in todo.commands:
            assert command in lines
            assert shlex.split(command)


def test_sections_in_their_order_and_faults_first() -> None:
    text = as_text(having(without(HEALTHY, "nltk"), onnxruntime_gpu="1.31"), GOOD)
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles == [
        "coder-engine 1.2.3", "cpu", "nvidia gpu", "backends", "packages", "build side", "engine", "to do"
    ]  # fmt: skip
    assert text.index("must be mended") < text.index("could be had")


def test_what_the_cpu_section_says() -> None:
    text = as_text(but(HEALTHY, cpus=2, present=64, memory_free=3 << 30), None)
    assert "CPUs                2 usable of 64" in text
    assert "instruction sets    AVX2, AVX-512; not AVX512_BF16, AMX" in text
    assert "our kernels         avx512 in use; also avx2, scalar" in text
    assert "memory              8.0 GiB; 3.0 GiB of the machine's free" in text
    assert "instruction sets    none that matter" in as_text(but(HEALTHY, features=()), None)


def test_what_the_gpu_section_says() -> None:
    text = as_text(SERVER, None)
    assert "GPU 0               NVIDIA L4, compute capability 8.9, 24.0 GiB" in text
    assert "driver              580.65.06, serves CUDA up to 13.0" in text
    assert "cublasLt            libcublasLt.so.13.0.2" in text
    assert "our CUDA head       not built" in text
    assert "our CUDA head       built" in as_text(but(SERVER, cuda_head="built"), None)
    assert "CUDA head" not in as_text(HEALTHY, None)
    assert "cublas" not in as_text(but(HEALTHY, cuda_files=SERVER.cuda_files), None)


def test_extras_are_shown_only_where_they_are() -> None:
    assert "matplotlib" not in as_text(HEALTHY, None)
    assert "matplotlib          3.9" in as_text(having(HEALTHY, matplotlib="3.9"), None)


def test_the_object_for_programs() -> None:
    found = json.loads(json.dumps(as_json(having(HEALTHY, onnxruntime_gpu="1.31"), GOOD)))
    assert found["ok"] is False
    assert found["todo"][0]["level"] == "fault"
    assert found["engine"]["ok"] is True
    assert [one["title"] for one in found["backends"] if one["usable"]] == ["OpenVINO"]


# the command


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_facts", lambda: HEALTHY)


@pytest.mark.usefixtures("healthy")
def test_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == as_text(HEALTHY, None)
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["cpu"] == "Some CPU"


@pytest.mark.usefixtures("healthy")
def test_an_engine_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", str(tmp_path / "no.onnx")]) == 1
    assert "no such engine file; coder-export makes one." in " ".join(capsys.readouterr().out.split())


def test_exit_code_of_a_conflict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "find_facts", lambda: having(HEALTHY, onnxruntime_gpu="1.31"))
    assert main([]) == 1
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in capsys.readouterr().out


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> Facts:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "find_facts", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "coder-doctor: interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.usefixtures("healthy")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, which is the point
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([]) == 1
    assert "cannot write to standard output" in capsys.readouterr().err
    stream.close()


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--enginee", "x"])
    assert caught.value.code == 1
    assert "coder-doctor: unrecognized arguments" in capsys.readouterr().err


# this machine


def test_a_real_run(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--engine", str(tiny), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["engine"]["ok"] is True
    assert found["engine"]["weights"].endswith("coder-tiny (cifar10), 10 classes, 45 pairs")
    reference = next(trial for trial in found["engine"]["trials"] if trial["title"] == "ONNX Runtime")
    assert reference["runs"] is True
    assert found["facts"]["packages"]["numpy"]
    assert found["facts"]["isas"][-1] == "scalar"
    assert found["facts"]["memory"] > 1 << 20


def test_a_real_run_on_a_pair_that_does_not_belong_together(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    shutil.copy(tiny, other)
    with other.open("ab") as stream:
        stream.write(b" ")
    main(["--engine", str(other), "--weights", str(tiny.with_suffix(".safetensors")), "--json"])
    engine = json.loads(capsys.readouterr().out)["engine"]
    assert (engine["ok"], engine["belongs"], engine["trials"]) == (False, False, [])
    assert "do not belong together" in engine["weights"]


def test_looking_imports_no_runtime(capfd: pytest.CaptureFixture[str]) -> None:
    from coder_engine.doctor.hardware import run

    heavy = "{'onnxruntime', 'openvino', 'torch', 'tensorrt', 'nltk', 'openai', 'onnx'}"
    code = "import sys; from coder_engine.doctor.facts import find_facts; find_facts(); "
    assert run(sys.executable, "-c", f"{code}print(sorted({heavy} & set(sys.modules)))") == (0, "[]\n")


def test_this_machine_has_a_report() -> None:
    assert as_text(find_facts(), None)
