"""All facts of a machine together; finding them imports no runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coder_engine.doctor.facts import find_facts
from coder_engine.doctor.report import as_text


def test_a_bare_root(tmp_path: Path) -> None:
    facts = find_facts(tmp_path)
    assert (facts.features, facts.memory, facts.pci_gpu) == ((), None, False)
    assert facts.packages["numpy"]
    assert ".onnx" in facts.suffixes


def test_looking_imports_no_runtime(capfd: pytest.CaptureFixture[str]) -> None:
    from coder_engine.doctor.hardware import run

    heavy = "{'onnxruntime', 'openvino', 'torch', 'tensorrt', 'nltk', 'openai', 'onnx'}"
    code = "import sys; from coder_engine.doctor.facts import find_facts; find_facts(); "
    assert run(sys.executable, "-c", f"{code}print(sorted({heavy} & set(sys.modules)))") == (0, "[]\n")


def test_this_machine_has_a_report() -> None:
    assert as_text(find_facts(), None)
