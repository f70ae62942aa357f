"""What an ONNX Runtime session is bound to on a GPU: sets of tensors for each batch size, with graphs over them."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from weakref import WeakSet

import numpy as np

from coder_engine.backends.cuda_graphs import Replays
from coder_engine.backends.cuda_memory import Cuda, DeviceMemory, Mirrored, Stream, alone, beside_captures
from coder_engine.backends.pool import Pool
from coder_engine.counts import count_of
from coder_engine.errors import BackendError, EngineError
from coder_engine.machine.available import first_line, no_memory_for

SETS = 2
"""Of tensors for each batch size: one is filled while the other is run."""

CLOSED = "the engine was closed meanwhile; open it again"
_NO_MEMORY = ("out of memory", "failed to allocate memory", "cuda failure 2:", "alloc_failed")


@dataclass(kw_only=True, eq=False)
class Bound:
    """One batch size's binding, its tensors on both sides, of which the first ``images`` count, and its graphs.

    Attributes:
        plain_runs: how often the runtime has run it.
    """

    binding: Any
    pixels: Mirrored
    features: Mirrored
    replays: Replays
    owned: ExitStack
    images: int = 0
    plain_runs: int = 0

    def __len__(self) -> int:
        return self.images

    def close(self) -> None:
        self.binding = None
        self.owned.close()


class SessionMemory:
    """A session and all that is freed with it: bindings and their memory, then itself, the bank, the stream it ran on.

    Tensors in use are freed when they are given back.

    Args:
        session: on ``stream``, for good.
        size: (H, W) of the pixels.
        width: D of the features.
        device: ``cuda``, or ``cpu`` to see the same calls on a machine without a GPU.

    Attributes:
        session: None once it is closed.
        size: as given.

    Raises:
        BackendError: the GPU has no memory for the bank.
    """

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        cuda: Cuda,
        stream: Stream,
        *,
        size: tuple[int, int],
        width: int,
        device: str = "cuda",
    ) -> None:
        self.session, self.cuda, self.stream = session, cuda, stream
        self.size, self._width, self._device = size, width, device
        self._options = ort.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # we wait for the stream
        self._pools: dict[int, Pool[Bound]] = {}
        self._bound: WeakSet[Bound] = WeakSet()  # all of them, those that are lent as well
        self._owned = ExitStack()
        self._owned.callback(stream.close)
        try:
            self._bank = self._zeros()
        except BaseException:
            self.close()
            raise

    def pool_of(self, bucket: int) -> Pool[Bound]:
        """The sets of tensors for a batch size."""
        found = self._pools.get(bucket)
        if found is None:
            # Of one image's feature an EngineError tells, and what ran is as good as before.
            made = Pool(lambda: self._bind(bucket), SETS, harmless=(EngineError,))
            found = self._pools.setdefault(bucket, made)
        return found

    def enqueue(self, part: Bound, *, recording: bool = False) -> None:
        """Have the runtime ask the stream for a part's features.

        Raises:
            BackendError: it failed; while recording, which is tried only, without a cure.
        """
        try:
            self.session.run_with_iobinding(part.binding, self._options)
        except Exception as err:  # the runtime raises plain RuntimeErrors and classes of its own
            said = f"ONNX Runtime: {first_line(err)}" if recording else failure(err, part.images)
            raise BackendError(said) from err

    def close(self) -> None:
        with beside_captures(self.cuda):
            session, self.session = self.session, None  # nothing is bound from here on
            pools, self._pools = list(self._pools.values()), {}
            for pool in pools:
                pool.close()
            for part in list(self._bound):
                part.binding = None  # which holds the session, that would outlive its stream
            del session
            self._owned.close()
            self.cuda.release("cudaDeviceGraphMemTrim", 0)  # what graphs allocate, cuBLAS's workspaces, is kept else

    def _zeros(self) -> DeviceMemory:
        """The bank: one row of zeros, see ``Backend._no_bank``."""
        with alone:
            bank = self._owned.enter_context(closing(DeviceMemory(self.cuda, 4 * self._width)))
        bank.zero(self.stream)
        return bank

    def _bind(self, bucket: int) -> Bound:
        with alone, ExitStack() as owned:
            session = self.session  # a signal handler may close this meanwhile
            if session is None:
                raise BackendError(CLOSED)
            pixels = owned.enter_context(closing(Mirrored(self.cuda, (bucket, *self.size, 3), np.uint8)))
            features = owned.enter_context(closing(Mirrored(self.cuda, (bucket, self._width), np.float32)))
            pixels.host[:] = 0
            binding = self._bound_to(session, pixels, features)
            replays = owned.enter_context(closing(Replays(self.cuda, self.stream, strict=True)))
            kept = owned.pop_all()
        part = Bound(binding=binding, pixels=pixels, features=features, replays=replays, owned=kept)
        self._bound.add(part)
        return part

    def _bound_to(self, session: Any, pixels: Mirrored, features: Mirrored) -> Any:
        try:
            binding, place = session.io_binding(), (self._device, 0)
            binding.bind_input("pixels", *place, np.uint8, pixels.host.shape, pixels.address)
            binding.bind_input("bank", *place, np.float32, (1, self._width), self._bank.address)
            binding.bind_output("features", *place, np.float32, features.host.shape, features.address)
        except Exception as err:  # see enqueue
            raise BackendError(CLOSED if self.session is None else failure(err, len(pixels.host))) from err
        return binding


def out_of_memory(err: Exception) -> bool:
    """Whether the runtime's error means that the device has not enough memory."""
    said = str(err).lower()
    return isinstance(err, MemoryError) or any(sign in said for sign in _NO_MEMORY)


def failure(err: Exception, count: int) -> str:
    """In words, what the runtime's error on so many images means."""
    if out_of_memory(err):
        return no_memory_for(count, err)
    return f"ONNX Runtime failed on {count_of(count, 'image')} ({first_line(err)}); try a smaller batch"
