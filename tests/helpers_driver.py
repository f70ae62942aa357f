"""Stands for libcuda: the driver of a machine that the tests choose."""

from __future__ import annotations

import ctypes
from typing import Any


def put(place: Any, kind: type[Any], value: Any) -> int:
    ctypes.cast(place, ctypes.POINTER(kind))[0] = value
    return 0


class Driver:
    def __init__(
        self,
        *,
        init: int = 0,
        gpus: int = 1,
        version: int = 13000,
        name: bytes | None = None,
        gpu: bytes = b"NVIDIA L4",
        capability: tuple[int, int] = (8, 9),
        broken: int = 0,
    ) -> None:
        self.init, self.gpus, self.version, self.name = init, gpus, version, name
        self.gpu, self.capability, self.broken = gpu, dict(zip((75, 76), capability, strict=True)), broken

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDeviceGetCount(self, found: Any) -> int:
        return put(found, ctypes.c_int, self.gpus)

    def cuDriverGetVersion(self, found: Any) -> int:
        return put(found, ctypes.c_int, self.version)

    def cuGetErrorName(self, code: int, found: Any) -> int:
        return put(found, ctypes.c_char_p, self.name) if self.name else 1

    def cuDeviceGet(self, found: Any, number: int) -> int:
        return put(found, ctypes.c_int, number)

    def cuDeviceGetName(self, found: Any, length: int, device: Any) -> int:
        found.value = self.gpu
        return self.broken

    def cuDeviceGetAttribute(self, found: Any, attribute: int, device: Any) -> int:
        return put(found, ctypes.c_int, self.capability[attribute])
