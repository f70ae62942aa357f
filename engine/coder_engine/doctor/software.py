"""Packages, shared libraries and data, found without importing any but those that nothing runs without."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Collection
from ctypes.util import find_library
from pathlib import Path

from coder_engine.doctor.hardware import read

ONNX_RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-migraphx",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
)
"""Distributions that all install the one module ``onnxruntime``."""

NEEDED = ("numpy", "pillow", "safetensors")
_MODULES = {"pillow": "PIL"}
"""Modules of ``NEEDED`` that have another name."""
BUILD_SIDE = ("torch", "torchvision", "open_clip_torch", "onnx", "onnxscript", "scikit-image")
TEXT_SIDE = ("openai", "nltk")
EXTRAS = ("simplejpeg", "matplotlib", "scikit-learn")
PACKAGES = (
    *ONNX_RUNTIMES,
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
    *NEEDED,
    *BUILD_SIDE,
    *TEXT_SIDE,
    *EXTRAS,
)

CUDA_LIBRARIES = ("cublas", "cublasLt", "cudart", "curand")
"""What ONNX Runtime's CUDA provider cannot be loaded without."""


def cuda_files(folders: list[Path]) -> dict[str, tuple[str, ...]]:
    """File names of CUDA's libraries in ``folders``, or else where the system's loader finds them."""
    found = {}
    for name in CUDA_LIBRARIES:
        files = {file.name for folder in folders for file in folder.glob(f"lib{name}.so.*")}
        other = None if files else _system_library(name)
        found[name] = tuple(sorted(files or ({other} if other else set())))
    return found


def onnx_runtime(folder: Path | None, recorded: bool) -> tuple[str | None, str | None]:
    """The CUDA that the module in ``folder`` was built for, and what it lacks though pip has it ``recorded``."""
    if folder is None:
        return None, "its files are gone" if recorded else None
    built = re.search(
        r"^cuda_version *= *['\"](\d[\d.]*)", read(folder / "capi/build_and_package_info.py"), re.MULTILINE
    )
    parts = {"__init__.py": "__init__.py", "its library": "capi/onnxruntime_pybind11_state*"}
    lacks = [name for name, pattern in parts.items() if not any(folder.glob(pattern))]
    return built[1] if built else None, f"it lacks {' and '.join(lacks)}" if recorded and lacks else None


def import_faults(packages: Collection[str]) -> dict[str, str]:
    """Why those of ``NEEDED`` that are among ``packages`` cannot be imported: all that runs engines imports them."""
    found = {}
    for name in NEEDED:
        try:
            importlib.import_module(_MODULES.get(name, name))
        except Exception as err:  # one for another NumPy fails in more ways than by ImportError
            found[name] = " ".join(str(err).split())[:300] or type(err).__name__
    return {name: why for name, why in found.items() if name in packages}


def suffixes() -> tuple[str, ...]:
    """The engine files that this coder-engine has a backend for; empty where its backends cannot be imported."""
    try:
        from coder_engine.backends import BACKENDS
    except ImportError:
        return ()
    return tuple(sorted({suffix for kind in BACKENDS for suffix in kind.suffixes}))


def kernels() -> tuple[tuple[str, ...], str | None]:
    """Instruction sets our kernels can run here, best first, or why they cannot be loaded."""
    try:
        from coder_engine import _kernels
    except ImportError as err:
        return (), str(err)
    return tuple(_kernels.isas()), None


def cuda_head() -> str:
    """Whether our head for NVIDIA GPUs, which is built where nvcc is, loads here."""
    if importlib.util.find_spec("coder_engine._cuda") is None:
        return "not built"
    try:
        from coder_engine import _cuda  # noqa: F401
    except ImportError as err:
        return f"cannot be loaded: {err}"
    return "built"


def version(name: str) -> str | None:
    """Version of an installed distribution; "unknown" where its record is damaged."""
    try:
        return importlib.metadata.version(name) or "unknown"
    except importlib.metadata.PackageNotFoundError:
        return None
    except Exception:  # a damaged record fails in as many ways as it can be damaged
        return "unknown"


def module_folder(name: str) -> Path | None:
    """Where a package lies, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return next((Path(folder) for folder in (spec and spec.submodule_search_locations) or ()), None)


def library_folders() -> list[Path]:
    """Where pip's nvidia packages and LD_LIBRARY_PATH keep libraries."""
    nvidia_packages = module_folder("nvidia")
    named = [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    return ([*nvidia_packages.glob("*/lib")] if nvidia_packages else []) + named


def _system_library(name: str) -> str | None:
    try:
        return find_library(name)
    except Exception:  # it runs whatever ldconfig, gcc and ld the machine has
        return None


def wordnet() -> str | None:
    """The folder or archive with WordNet's files; looked for where ``coder-texts`` and NLTK look."""
    named = os.environ.get("CODER_WORDNET")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "coder-engine/nltk_data"
    roots = [Path(folder) for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    roots += [cache, _home() / "nltk_data", *(Path(sys.prefix) / sub for sub in ("nltk_data", "share/nltk_data"))]
    roots += [Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data"), Path("/usr/lib/nltk_data")]
    places = (
        [Path(named)] if named else [root / "corpora" / name for root in roots for name in ("wordnet", "wordnet.zip")]
    )
    places += [] if named else [Path("/usr/share/wordnet")]
    return next((str(place) for place in places if _is_wordnet(place)), None)


def _is_wordnet(place: Path) -> bool:
    try:
        return (place / "data.noun").is_file() or (place.suffix == ".zip" and place.is_file())
    except OSError:
        return False


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
