"""The report for people and the object for programs."""

from __future__ import annotations

import json
import shlex

import pytest

from coder_engine.doctor.facts import Facts
from coder_engine.doctor.report import as_json, as_text
from coder_engine.doctor.todo import todos
from helpers_doctor import GOOD, HEALTHY, SERVER, but, having, without

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


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("facts", EVERYTHING)
def test_text_is_wrapped_at_the_terminal_s_width_and_commands_stay_whole(facts: Facts, columns: int) -> None:
    commands = {command for todo in todos(facts, GOOD) for command in todo.commands}
    lines = as_text(facts, GOOD, columns=columns).splitlines()
    wide = [line for line in lines if len(line) > columns and line.strip() not in commands]
    assert not [line for line in wide if len(line.split()) > 2]  # but for words too long for any line
    assert commands <= {line.strip() for line in lines}


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
