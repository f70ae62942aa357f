"""Every module of both packages can be the first that is imported: no circle among them shows by who comes first."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [module for module in sys.modules if module.split(".")[0] in ("coder_engine", "coder_export")]:
        if not known.endswith(("._kernels", "._cuda")):  # compiled modules are loaded once a process
            del sys.modules[known]
    importlib.import_module(name)
"""


def modules(package: str) -> list[str]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    parts = [path.relative_to(folder.parent).with_suffix("").parts for path in sorted(folder.rglob("*.py"))]
    return [".".join(name for name in each if name != "__init__") for each in parts]


@pytest.mark.parametrize(
    ("package", "needed"), [("coder_engine", ("matplotlib",)), ("coder_export", ("matplotlib", "open_clip", "openai"))]
)
def test_any_module_may_come_first(package: str, needed: tuple[str, ...]) -> None:
    for module in needed:
        pytest.importorskip(module, reason="an extra is not installed: pip install '.[texts,eval,cpu]'")
    names = modules(package)
    assert len(names) > 50
    subprocess.run([sys.executable, "-c", SCRIPT, *names], check=True)
