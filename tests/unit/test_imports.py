"""Every module of both packages can be the first that is imported: no circle among them shows by who comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import coder_engine

SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [module for module in sys.modules if module.split(".")[0] in ("coder_engine", "coder_export")]:
        if not known.endswith(("._kernels", "._cuda")):  # compiled modules are loaded once a process
            del sys.modules[known]
    importlib.import_module(name)
"""


def modules(package: Path) -> list[str]:
    found = sorted(package.rglob("*.py"))
    parts = [path.relative_to(package.parent).with_suffix("").parts for path in found]
    return [".".join(name for name in each if name != "__init__") for each in parts]


def test_any_module_may_come_first() -> None:
    names = modules(Path(coder_engine.__file__).parent)
    assert "coder_engine.plans.library" in names
    pytest.importorskip("matplotlib", reason="the [eval] extra is not installed")
    subprocess.run([sys.executable, "-c", SCRIPT, *names], check=True, timeout=300)
