"""Is there an NVIDIA GPU, and does its driver answer? Asked of the driver itself, without any CUDA package."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

from coder_engine.machine.available import Unavailable

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CAPABILITY = (75, 76)
"""CUdevice_attribute: COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The first GPU this process may use.

    Attributes:
        name: as the driver calls it, like "NVIDIA GeForce RTX 4090".
        capability: its compute capability, like "8.9".
    """

    name: str
    capability: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability})"


def require_gpu() -> str:
    """The newest CUDA that the driver runs, as ``13.0``.

    Raises:
        Unavailable: no driver, no GPU that this process may use, or a driver that does not start.
    """
    version = ctypes.c_int()
    _started().cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def first_gpu() -> Gpu:
    """The GPU that a process uses unless told otherwise; ``CUDA_VISIBLE_DEVICES`` chooses it.

    Raises:
        Unavailable: as :func:`require_gpu`, or the driver does not tell of its GPU.
    """
    driver = _started()
    device, name, numbers = ctypes.c_int(), ctypes.create_string_buffer(256), (ctypes.c_int(), ctypes.c_int())
    codes = [
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetName(name, len(name), device),
        *(
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            for number, attribute in zip(numbers, _CAPABILITY, strict=True)
        ),
    ]
    if failed := next(filter(None, codes), 0):
        raise _broken(driver, failed)
    return Gpu(name=name.value.decode(errors="replace"), capability=".".join(str(number.value) for number in numbers))


def _started() -> Any:
    """The driver's library, with at least one GPU to use."""
    driver = _load()
    if code := driver.cuInit(0):
        raise _broken(driver, code)
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        raise Unavailable(
            "no NVIDIA GPU",
            "the NVIDIA driver sees no GPU: look at nvidia-smi -L and at CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    return driver


def _load() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as err:
        raise Unavailable(
            "no NVIDIA driver",
            f"no NVIDIA driver on this machine ({err}): install it, or start the container with --gpus all, "
            "or use --device cpu",
        ) from err


def _broken(driver: Any, code: int) -> Unavailable:
    name = _error_name(driver, code)
    return Unavailable(
        f"NVIDIA driver: {name}",
        f"the NVIDIA driver does not start ({name}): nvidia-smi tells more; a container needs --gpus all, and "
        "after an update of the driver the machine must be started anew. Or use --device cpu",
    )


def _error_name(driver: Any, code: int) -> str:
    name = ctypes.c_char_p()
    if driver.cuGetErrorName(code, ctypes.byref(name)) or not name.value:
        return f"error {code}"
    return name.value.decode()
