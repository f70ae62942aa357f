"""All facts of a machine together."""

from __future__ import annotations

from pathlib import Path

from coder_engine.doctor.facts import find_facts


def test_a_bare_root(tmp_path: Path) -> None:
    facts = find_facts(tmp_path)
    assert (facts.features, facts.memory, facts.pci_gpu) == ((), None, False)
    assert facts.packages["numpy"]
    assert ".onnx" in facts.suffixes
