"""TensorRT's objects on the stand-in for a GPU, as far as we call them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coder_engine.plans import library
from helpers_engine import HEIGHT, WIDTH, D, features_of
from helpers_gpu import FakeCuda, lit, view


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}  # type: ignore[var-annotated]
        if engine.capturable is not None:
            self.is_stream_capturable = lambda stream: engine.capturable

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.get_device_memory_size_for_profile_v2(self.profile)
        self.scratch = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
        return all(low <= axis <= high for low, axis, high in zip(least, shape, most, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address in self.engine.cuda.held

    def execute_async_v3(self, stream: int) -> bool:
        assert set(self.addresses) == {"pixels", "bank", "features", "coder"}
        if self.engine.spoiled > 0 and self.engine.cuda.captures(stream):
            self.engine.spoiled -= 1
            return False
        self.engine.cuda.ask(stream, self._run)
        return True

    def _run(self) -> None:
        count = self.shapes["pixels"][0]
        self.engine.batches.append(count)
        pixels = view(self.addresses["pixels"], self.shapes["pixels"], np.uint8)
        assert not view(self.addresses["bank"], (1, D), np.float32).any()
        lit(pixels)
        view(self.addresses["features"], (count, D), np.float32)[:] = features_of(pixels) * self.engine.length
        view(self.addresses["coder"], (count, 1), np.float32)[:] = 0
        view(self.scratch, (100 * (self.profile + 1),), np.uint8)[:] = 1


class FakeConfig:
    """How TensorRT-RTX is to make a context."""

    dynamic_shapes_kernel_specialization_strategy = strategy = cache = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object) -> bool:
        self.cache = cache
        return True


class FakeEngine:
    """A plan whose features are the pixels as they lie in memory, see ``helpers_engine.graph``."""

    num_io_tensors, num_optimization_profiles = 4, 2

    def __init__(self, cuda: FakeCuda, max_batch: int) -> None:
        self.cuda, self.max_batch = cuda, max_batch
        self.batches: list[int] = []
        self.contexts = 0
        self.configs: list[FakeConfig] = []  # of the contexts, where they came with one
        self.capturable: bool | None = None
        self.spoiled = 0  # captures that fail from now on
        self.length = 1.0
        self.tensors = {
            "pixels": ("in", "uint8", (-1, HEIGHT, WIDTH, 3)),
            "bank": ("in", "float32", (-1, D)),
            "features": ("out", "float32", (-1, D)),
            "coder": ("out", "float32", (-1, -1)),
        }

    def get_tensor_name(self, number: int) -> str:
        return list(self.tensors)[number]

    def get_tensor_mode(self, name: str) -> str:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> str:
        return self.tensors[name][1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][2]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        if name == "bank":
            return [(1, D)] * 3
        return [(b, HEIGHT, WIDTH, 3) for b in ((1, 1, 1), (1, 1, self.max_batch))[profile]]

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return 100 * (profile + 1)

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig()

    def create_execution_context(self, how: str | FakeConfig) -> FakeContext | None:
        if isinstance(how, FakeConfig):
            self.configs.append(how)
            how = str(how.strategy)
        assert how == "managed"
        self.contexts += 1
        return FakeContext(self)


def fake_trt(engine: FakeEngine | None, fault: str = "") -> Any:
    """TensorRT, whose every plan is ``engine``; None is a plan that it does not load, for ``fault``."""

    class Logger:
        ERROR = INTERNAL_ERROR = "error"

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, content: bytes) -> FakeEngine | None:
            if engine is None:
                self.logger.log("error", fault)
            return engine

    return SimpleNamespace(
        __name__="tensorrt",
        __version__="11.0.0.1",
        ILogger=Logger,
        Runtime=Runtime,
        uint8="uint8",
        float32="float32",
        TensorIOMode=SimpleNamespace(INPUT="in"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="managed"),
    )


def put_library(
    monkeypatch: pytest.MonkeyPatch, engine: FakeEngine | None, fault: str = "magic tag does not match"
) -> None:
    """TensorRT is there and loads every plan as ``engine``, or none."""
    monkeypatch.setattr(library, "import_runtime", lambda *_: fake_trt(engine, fault))
