"""CUDA graphs: all that a batch needs, from its pixels to its answers, recorded once and then launched as one."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from coder_engine.backends.cuda_memory import Cuda, Stream
from coder_engine.errors import BackendError
from coder_engine.machine.available import first_line
from coder_engine.machine.collector import uncollected

GRAPHS = 4
"""Kept a set of tensors: of the features alone, and of the ways to rank by one label set."""

TRIES = 3
"""To record a run, each after a plain one: what another library does with the GPU meanwhile may spoil it."""

_ON_DEVICE = {
    "cudaGraphNodeTypeKernel",
    "cudaGraphNodeTypeMemset",
    "cudaGraphNodeTypeMemAlloc",
    "cudaGraphNodeTypeMemFree",
    "cudaGraphNodeTypeEmpty",
    "cudaMemcpyDeviceToDevice",
}
_OURS = Counter(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=1)


class Graph:
    """A sequence of work on the GPU, recorded once, then launched as one.

    Args:
        enqueue: asks the stream for the work, all of which must be there from earlier runs: nothing may be allocated.
        strict: refuse it where the host has a part in it, but for one copy each way, which are ours: what a library
            copies from host memory of its own may be something else by the time of a launch.

    Raises:
        BackendError: it cannot be recorded.
    """

    def __init__(self, cuda: Cuda, stream: Stream, enqueue: Callable[[], object], *, strict: bool = False) -> None:
        self._cuda, self._stream = cuda, stream
        with uncollected():  # an engine among the garbage would be freed here, which no capture survives
            recorded = self._recorded(enqueue)
        try:
            if strict:
                _check(cuda, recorded)
            self._runs = cuda("cudaGraphInstantiate", recorded, 0)
        finally:
            cuda.release("cudaGraphDestroy", recorded)

    def _recorded(self, enqueue: Callable[[], object]) -> Any:
        cuda, stream = self._cuda, self._stream.handle
        # Of this thread only: others may allocate meanwhile.
        mode = cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda("cudaStreamBeginCapture", stream, mode)
        try:
            enqueue()
        except BaseException:
            error, part = cuda.api.cudaStreamEndCapture(stream)
            if not int(error):
                cuda.release("cudaGraphDestroy", part)
            raise
        return cuda("cudaStreamEndCapture", stream)

    def launch(self) -> None:
        """Ask the stream for all of it."""
        self._cuda("cudaGraphLaunch", self._runs, self._stream.handle)

    def close(self) -> None:
        self._cuda.release("cudaGraphExecDestroy", self._runs)


def _check(cuda: Cuda, recorded: Any) -> None:
    _, count = cuda("cudaGraphGetNodes", recorded, 0)
    nodes, _ = cuda("cudaGraphGetNodes", recorded, count)
    more = Counter(_kind(cuda, node) for node in nodes) - _OURS
    if foreign := sorted(set(more) - _ON_DEVICE):
        raise BackendError(f"it holds work of the host's that a graph does not repeat: {', '.join(foreign)}")


def _kind(cuda: Cuda, node: Any) -> str:
    """CUDA's name for what a node does; for a copy, from where to where."""
    name: str = cuda("cudaGraphNodeGetType", node).name
    if name == "cudaGraphNodeTypeMemcpy":
        name = cuda("cudaGraphMemcpyNodeGetParams", node).kind.name
    return name


class Replays:
    """The graphs of one set of tensors on one stream, one for each tail by its key; for one thread at a time.

    Args:
        strict: as of :class:`Graph`.

    Attributes:
        fault: why a run could not be recorded last; None where it could, or before the first one.
    """

    def __init__(self, cuda: Cuda, stream: Stream, *, strict: bool = False) -> None:
        self._cuda, self._stream, self._strict = cuda, stream, strict
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()  # the longest unused first
        self._impossible: deque[Hashable] = deque(maxlen=4 * GRAPHS)  # so few, as label sets come and go
        self.fault: str | None = None
        self._failed = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether there is nothing left to record: the graph is there, or is known to be impossible."""
        return key in self._graphs or key in self._impossible

    def launch(self, key: Hashable) -> bool:
        """Ask the stream for the graph; False where there is none."""
        graph = self._graphs.get(key)
        if graph is None:
            return False
        self._graphs.move_to_end(key)
        graph.launch()
        return True

    def record(self, key: Hashable, enqueue: Callable[[], object]) -> None:
        """Record what has run plainly before. Where that cannot be, runs stay plain, which is slower and as right.

        Args:
            enqueue: as of :class:`Graph`.
        """
        try:
            self._graphs[key] = Graph(self._cuda, self._stream, enqueue, strict=self._strict)
            self.fault, self._failed = None, 0
        except Exception as err:  # the bindings raise ValueErrors of their own, of what is newer than they are
            self.fault, self._failed = first_line(err), self._failed + 1
            if self._failed >= TRIES:
                self._impossible.append(key)
        self._drop(GRAPHS)

    def give_up(self, key: Hashable, why: str) -> None:
        """Never try to record it."""
        self.fault = why
        self._impossible.append(key)

    def close(self) -> None:
        self._drop(0)

    def _drop(self, kept: int) -> None:
        while len(self._graphs) > kept:
            self._graphs.popitem(last=False)[1].close()


def graphs_in_words(fault: str | None) -> str:
    """For a backend's description."""
    return "CUDA graphs" if fault is None else f"no CUDA graphs ({fault})"
