"""A plan in GPU memory, and what every call of its library is checked by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from coder_engine.backends.cuda_memory import Cuda, OutOfDeviceMemory, alone
from coder_engine.errors import BackendError
from coder_engine.plans.library import Log, exclusive

_NO_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "alloc_failed")


@dataclass(frozen=True, kw_only=True)
class OpenPlan:
    """A plan in GPU memory, shared by all workers.

    Attributes:
        engine: the library's ICudaEngine.
        size: (H, W) of the pixels.
        width: D of the features.
        max_batch: the largest B of the second profile.
    """

    trt: ModuleType
    cuda: Cuda
    log: Log
    engine: Any
    size: tuple[int, int]
    width: int
    max_batch: int

    def context(self) -> Any:
        """A context that is given its memory.

        Raises:
            OutOfDeviceMemory, BackendError: the library makes none.
        """
        with exclusive(), alone:
            return self._context()

    def _context(self) -> Any:
        managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        specialize = getattr(self.trt, "DynamicShapesKernelSpecializationStrategy", None)
        if specialize is None:
            return self.checked(self.engine.create_execution_context(managed), "make a context")
        # RTX compiles kernels when it meets a shape; in the background by default, which no graph would ever hold.
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(managed)
        config.dynamic_shapes_kernel_specialization_strategy = specialize.EAGER
        config.set_runtime_cache(self._compiled)
        return self.checked(self.engine.create_execution_context(config), "make a context")

    @cached_property
    def _compiled(self) -> Any:
        """RTX's kernels, for all contexts, as each would compile its own; one thread at a time uses it, see alone."""
        return self.engine.create_runtime_config().create_runtime_cache()

    def checked(self, result: Any, what: str) -> Any:
        """The result of a call that tells by None or False that it failed, and by the log why."""
        if result is None or result is False:
            said = self.log.take()
            if any(sign in said.lower() for sign in _NO_MEMORY):
                raise OutOfDeviceMemory(said)
            raise BackendError(f"{self.trt.__name__} {self.trt.__version__} does not {what} ({said})")
        return result
