"""What users may rely on: the names, the wheel's contents, and a run side that is free of the build side."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import util
from importlib.metadata import version
from pathlib import Path

import pytest

import coder_engine

ROOT = Path(__file__).resolve().parent.parent
RUN_SIDE = ("numpy", "numpy.libs", "PIL", "pillow.libs", "safetensors")
BUILD_SIDE = ("torch", "open_clip", "onnx", "openai", "onnxruntime", "coder_export")


def test_public_names() -> None:
    assert coder_engine.__all__ == [
        "BackendError",
        "Candidate",
        "CoderError",
        "DataError",
        "Engine",
        "EngineError",
        "Explanation",
        "Fault",
        "ImageError",
        "ModelError",
        "Prediction",
        "TextsError",
        "WeightsError",
    ]
    assert all(hasattr(coder_engine, name) for name in coder_engine.__all__)


def test_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, coder_engine; assert set(coder_engine.__all__) < set(dir(coder_engine)); "
        "assert 'numpy' not in sys.modules; coder_engine.Engine; assert 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'coder_engine' has no attribute 'Motor'"):
        coder_engine.Motor  # noqa: B018


def test_version_is_said_once_and_in_the_changelog() -> None:
    assert version("coder-engine") == coder_engine.__version__
    assert f"## {coder_engine.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture
def bare_site(tmp_path: Path) -> Path:
    """A site folder with the run side's three packages and coder_engine, and nothing else."""
    packages = Path(util.find_spec("numpy").origin).parents[1]  # type: ignore[union-attr, arg-type]
    for name in RUN_SIDE:
        if (packages / name).exists():
            (tmp_path / name).symlink_to(packages / name)
    own = tmp_path / "coder_engine"
    own.mkdir()
    for file in Path(coder_engine.__file__).parent.iterdir():
        if file.name != "__pycache__" and not file.name.startswith("_kernels."):
            (own / file.name).symlink_to(file)
    from coder_engine import _kernels

    compiled = Path(_kernels.__file__)
    (own / compiled.name).symlink_to(compiled)
    return tmp_path


def test_run_side_imports_in_a_bare_environment(bare_site: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(bare_site)!r}); "
        "import coder_engine, coder_engine.cli.eval, coder_engine.cli.infer; "
        f"print(coder_engine.__file__); print(*sorted(set(sys.modules) & set({BUILD_SIDE!r})))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(bare_site / "coder_engine" / "__init__.py"), ""]


def test_without_a_runtime_the_cure_is_named(bare_site: Path, tiny: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(bare_site)!r}); from coder_engine.cli.infer import main; "
        f"sys.exit(main(['x.png', '--engine', {str(tiny)!r}]))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'coder-engine[cpu]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_wheel_contents(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core")
    pytest.importorskip("pybind11")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run([*command, f"--config-settings=build-dir={tmp_path / 'build'}"], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    packages = {name.split("/")[0] for name in names}
    assert packages == {"coder_engine", "coder_export", f"coder_engine-{coder_engine.__version__}.dist-info"}
    kinds = {Path(name).suffix for name in names if ".dist-info/" not in name}
    assert kinds == {".html", ".py", ".pyi", ".typed", ".so", ".json", ".jsonl", ".txt", ".safetensors"}
    assert {"coder_export/textsets/cifar10/pairs.jsonl", "coder_export/tiny/coder-tiny.safetensors"} <= set(names)


def test_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    if tracked == [""]:
        pytest.skip("not a git checkout")
    home = re.compile("/" + r"(home|root|tmp|Users)/\w")
    for name in filter(None, tracked):
        if Path(name).suffix in (".py", ".md", ".cpp", ".h", ".toml", ".txt", "") and name != Path(__file__).name:
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not home.search(text), f"{name} names a path of one machine: {home.search(text)}"
