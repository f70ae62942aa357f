"""Packages, libraries and WordNet's data of a machine, from fake files."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import numpy
import pytest

from coder_engine.doctor import software
from helpers_doctor import write


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


def test_packages_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.import_faults(software.NEEDED) == {}
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert software.import_faults(["numpy", "pillow"]) == {"pillow": "import of PIL halted; None in sys.modules"}
    assert software.import_faults(["numpy"]) == {}  # what is not installed at all is told as that


def test_kinds_of_engine_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.suffixes() == (".onnx", ".plan")
    monkeypatch.setitem(sys.modules, "coder_engine.backends", None)
    assert software.suffixes() == ()


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
