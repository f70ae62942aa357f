"""Is there an NVIDIA GPU, and does its driver answer? Asked of the driver itself, without any CUDA package."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from coder_engine.backends.base import Unavailable

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def require_gpu() -> str:
    """The newest CUDA that the driver runs, as ``13.0``.

    Raises:
        Unavailable: no driver, no GPU that this process may use, or a driver that does not start.
    """
    driver = _load()
    code = driver.cuInit(0)
    if code:
        name = _error_name(driver, code)
        raise Unavailable(
            f"NVIDIA driver: {name}",
            f"the NVIDIA driver does not start ({name}): nvidia-smi tells more; a container needs --gpus all, and "
            "after an update of the driver the machine must be started anew. Or use --device cpu",
        )
    count, version = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        raise Unavailable(
            "no NVIDIA GPU",
            "the NVIDIA driver sees no GPU: look at nvidia-smi -L and at CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    driver.cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _load() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as err:
        raise Unavailable(
            "no NVIDIA driver",
            f"no NVIDIA driver on this machine ({err}): install it, or start the container with --gpus all, "
            "or use --device cpu",
        ) from err


def _error_name(driver: Any, code: int) -> str:
    name = ctypes.c_char_p()
    if driver.cuGetErrorName(code, ctypes.byref(name)) or not name.value:
        return f"error {code}"
    return name.value.decode()
