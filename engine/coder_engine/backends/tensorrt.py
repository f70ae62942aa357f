"""TensorRT and TensorRT-RTX on an NVIDIA GPU: a plan, run by CUDA graphs.

A plan says nothing of itself: what it was built by and for is in the weight file, and is compared with this machine
before the library sees the plan. ``engine_host_code_allowed`` stays off: a plan may hold code for the host.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends.base import Backend
from coder_engine.backends.buckets import chunks
from coder_engine.backends.cuda_graphs import TRIES, graphs_in_words
from coder_engine.backends.cuda_memory import Cuda, alone, on_first_gpu
from coder_engine.backends.cuda_ranker import CudaRanker, Work
from coder_engine.backends.cuda_tail import Download
from coder_engine.backends.pool import Pool
from coder_engine.backends.tensorrt_plan import OpenPlan
from coder_engine.backends.tensorrt_worker import Worker, borrowed
from coder_engine.errors import BackendError, EngineError
from coder_engine.head import Ranking
from coder_engine.machine.available import Unavailable
from coder_engine.machine.cuda_driver import first_gpu, require_gpu
from coder_engine.plans.library import Log, exclusive, load_plan, open_library, title_of
from coder_engine.plans.record import SUFFIX, PlanRecord, check_gpu, library_of, rebuild_hint, record_of
from coder_engine.weights import Weights

WORKERS = 4
"""Threads that run at once; each has memory of its own on the GPU, and others wait."""


class TensorRt(Backend):
    """A .plan engine on the first visible NVIDIA GPU, in the precision it was built in."""

    name = "tensorrt"
    title = "TensorRT"
    device = "cuda"
    precisions = ("int8", "fp16", "bf16", "fp32")
    suffixes = (SUFFIX,)

    @classmethod
    def require(cls) -> str:
        require_gpu()
        Cuda()
        trt = open_library()
        return title_of(trt.__name__, trt.__version__)

    def _open(self, threads: int, precision: str) -> None:
        if self._meta is None:
            raise EngineError(f"{self._path}: a plan is opened with its weight file, which says what it was built for")
        record = record_of(self._path, self._meta)
        self.stored = record.precision
        trt = library_of(self._path, record)
        try:
            gpu = first_gpu()
        except Unavailable as err:  # its cure is the CPU, which runs no plan
            raise Unavailable(err.short, f"{err} with {self._path.with_suffix('.onnx').name}") from err
        check_gpu(self._path, record, gpu)
        self._check_precision(record, precision)
        plan = self._deserialized(trt, Log(trt), Cuda())
        workers = Pool(lambda: Worker(plan), WORKERS, harmless=(EngineError,))  # of one image's feature
        self._running: tuple[OpenPlan, Pool[Worker]] | None = (plan, workers)
        graphs = graphs_in_words(self._first_run())
        self.description = f"{title_of(trt.__name__, trt.__version__)}, {gpu.name}, {record.precision}, {graphs}"

    def _check_precision(self, record: PlanRecord, wanted: str) -> None:
        if wanted not in ("auto", record.precision):
            raise BackendError(
                f"{self._path}: built in {record.precision}, asked for {wanted}; a plan has one precision: "
                f"coder-export --format plan --precision {wanted} makes another"
            )

    def _deserialized(self, trt: ModuleType, log: Log, cuda: Cuda) -> OpenPlan:
        with exclusive(), alone, on_first_gpu(cuda):
            engine = load_plan(trt, log, self._path.read_bytes())
        if engine is None:
            raise self._not_loaded(title_of(trt.__name__, trt.__version__), log.take())
        tower = "" if self._meta is None else self._meta.tower
        self._check_interface(*interface(trt, engine), tower)
        largest = largest_batch(engine)
        if largest is None:
            raise EngineError(f"{self._path}: wanted two profiles, B = 1 and more; {rebuild_hint(self._path)}")
        return OpenPlan(trt=trt, cuda=cuda, log=log, engine=engine, size=self.size, width=self.width, max_batch=largest)

    def _not_loaded(self, library: str, said: str) -> Exception:
        if "does not support this compute capability" in said:  # no rebuilding helps
            return Unavailable(
                "it does not run on this GPU",
                f"{library} does not run on this GPU ({said}); coder-export --format cuda makes an engine that does",
            )
        return EngineError(f"{self._path}: {library} does not load it ({said}); {rebuild_hint(self._path)}")

    def _first_run(self) -> str | None:
        """Run one black image, and so have its graph made; gives why there is none."""
        fault, black = None, np.zeros((1, *self.size, 3), np.uint8)
        with borrowed(*self._open_plan(), images=1) as worker:
            for _ in range(TRIES):
                if (fault := worker.run(black, Download()).replays.fault) is None:
                    break
        return fault

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        plan, workers = self._open_plan()
        with borrowed(plan, workers, images=len(pixels)) as worker:
            parts = [worker.encode(part) for part in chunks(pixels, plan.max_batch)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def ranker(self, weights: Weights) -> CudaRanker:
        return CudaRanker(self._using_worker, weights)

    def _using_worker(self, pixels: NDArray[np.uint8], work: Work) -> list[Ranking | None]:
        plan, workers = self._open_plan()
        with borrowed(plan, workers, images=len(pixels)) as worker:
            return [work(worker, part) for part in chunks(pixels, plan.max_batch)]

    def _open_plan(self) -> tuple[OpenPlan, Pool[Worker]]:
        running = self._running
        if running is None:
            raise self._was_closed()
        return running

    def _close(self) -> None:
        with alone:  # as freeing breaks captures, too
            self._running = None  # a run in another thread holds both until it ends


def interface(trt: ModuleType, engine: Any) -> tuple[dict[str, list[int | str | None]], set[str]]:
    """Shapes of a plan's inputs and names of its outputs; a name tells of a type that is not ours."""
    types = {"pixels": trt.uint8, "bank": trt.float32, "features": trt.float32, "coder": trt.float32}
    inputs: dict[str, list[int | str | None]] = {}
    outputs: set[str] = set()
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = engine.get_tensor_dtype(name)
        told = name if dtype == types.get(name) else f"{name} as {dtype}"
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            inputs[told] = [None if axis < 0 else int(axis) for axis in engine.get_tensor_shape(name)]
        else:
            outputs.add(told)
    return inputs, outputs


def largest_batch(engine: Any) -> int | None:
    """B of the second profile; None where the profiles are not those that coder-export makes."""
    if engine.num_optimization_profiles != 2:
        return None
    _, _, largest = engine.get_tensor_profile_shape("pixels", 1)
    return int(largest[0])
