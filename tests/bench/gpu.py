"""An engine on an NVIDIA GPU, beside whatever else runs the same encoder there, all in one run.

    python tests/bench/gpu.py --folder bench

From uint8 pixels in host memory to answers in host memory, with random weights and in fp16 all of them: two-stage CODER
over 1,000 classes with all 499,500 pairs; plain CLIP over 1,000 names by torch, eager and compiled; and ONNX Runtime on
the encoder alone, as its own documentation has it. What it needs is made in the folder first, 2.8 GB in some three
minutes. Calls are taken in turn, figures are medians. ``--format plan`` measures a plan instead.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from head import C, synthetic_tensors, unit
from numpy.typing import NDArray
from table import show

from coder_engine import Engine
from coder_engine.backends.cuda_ranker import CudaRanker
from coder_engine.engine import CHUNK
from coder_engine.machine.cuda_driver import first_gpu
from coder_engine.weights import load_weights, save_weights
from coder_export.bench.machine import machine, machine_line
from coder_export.config import ExportConfig
from coder_export.measure import Call, Times, interleaved
from coder_export.model import ClipModel, open_model
from coder_export.pipeline import export
from coder_export.report import Report

OURS, BARE = "coder-engine, two-stage CODER", "its encoder and the pixels' copy alone"
CLIP = "coder-engine, plain CLIP"
SWAPS = 7


@dataclass(frozen=True, kw_only=True)
class Files:
    """An engine for GPUs with its weight files of plain CLIP and of two-stage CODER, and the same encoder as fp16 .onnx
    in standard operators."""

    engine: Path
    plain: Path
    coder: Path
    standard: Path


def make(folder: Path, model: str, kind: str, max_batch: int) -> Files:
    """The files of a model; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class number {i}\n" for i in range(C)))
    name = model.lower().replace("/", "-")
    options: dict[str, Any] = {"model": model, "pretrained": "random", "labels": labels, "texts": "none"}
    ours = ExportConfig(**options, out=folder / f"{name}-{kind}", precision="fp16", format=kind, max_batch=max_batch)
    standard = ExportConfig(**options, out=folder / name, precision="fp16")
    for config in (ours, standard):
        if not config.weights_path.is_file():
            export(config, Report())
    coder = folder / f"{name}-{kind}-coder.safetensors"
    if not coder.is_file():
        plain = load_weights(ours.weights_path)
        save_weights(coder, plain.meta, synthetic_tensors(plain.width))
    engine = ours.plan_path if kind == "plan" else ours.engine_path
    return Files(engine=engine, plain=ours.weights_path, coder=coder, standard=standard.engine_path)


class TorchClip:
    """Plain CLIP by torch in fp16, from uint8 pixels to the first five of C names."""

    def __init__(self, clip: ClipModel, names: NDArray[np.float32]) -> None:
        self._visual = copy.deepcopy(clip.visual).eval().cuda().half()
        self._mean = (255 * torch.tensor(clip.mean)).view(3, 1, 1).cuda().half()
        self._std = (255 * torch.tensor(clip.std)).view(3, 1, 1).cuda().half()
        self._bank = torch.from_numpy(names).cuda().half()

    def answer(self, pixels: torch.Tensor) -> torch.Tensor:
        images = (pixels.permute(0, 3, 1, 2).half() - self._mean) / self._std
        features = torch.nn.functional.normalize(self._visual(images), dim=-1)
        return (features @ self._bank.T).topk(5).indices

    def call(self, pixels: NDArray[np.uint8], *, compiled: bool) -> Call:
        """In its best form: pinned memory, and compiled for one batch size, in a CUDA graph."""
        staging = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        device = torch.empty(pixels.shape, dtype=torch.uint8, device="cuda")
        answer: Callable[[torch.Tensor], torch.Tensor] = self.answer
        if compiled:
            torch.compiler.reset()
            answer = torch.compile(self.answer, mode="reduce-overhead", dynamic=False)

        def call() -> object:
            staging.copy_(torch.from_numpy(pixels))
            device.copy_(staging, non_blocking=True)
            with torch.inference_mode():
                return answer(device).tolist()

        for _ in range(3):  # compiled at the first, recorded at the second
            call()
        return call


class Nothing:
    """The tail of a run that is not asked for anything."""

    key = "nothing"

    def enqueue(self, features: Any, bucket: int, stream: Any) -> None:
        pass


def bare(engine: Engine, pixels: NDArray[np.uint8]) -> Call:
    """The encoder without its features: pixels to the GPU, and wait."""
    ranker = engine._active.ranker
    assert isinstance(ranker, CudaRanker)
    nothing = Nothing()

    def encode(part: NDArray[np.uint8]) -> object:
        return ranker._using(part, lambda runner, some: runner.run(some, nothing))

    return lambda: engine._parts.each(pixels, encode)


def raw_session(path: Path, pixels: NDArray[np.uint8], width: int) -> Call:
    """ONNX Runtime as its documentation has it: a session with the CUDA provider, given and giving NumPy arrays."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CUDAExecutionProvider"])
    feeds = {"pixels": pixels, "bank": np.zeros((1, width), np.float32)}
    return lambda: session.run(["features"], feeds)


@contextmanager
def opened(files: Files) -> Iterator[tuple[Engine, Engine]]:
    """The engine over two-stage CODER, and over plain CLIP on the same encoder."""
    with Engine(files.engine, weights=files.coder, device="cuda") as engine:
        plain = Engine(files.engine, weights=files.plain, device="cuda", rerank=False)
        print(repr(engine))
        yield engine, plain
        plain.close()


def measure(files: Files, model: str, batches: list[int], seconds: float) -> None:
    clip = open_model(model, "random")
    with opened(files) as (engine, plain):
        width = engine._backend.width
        peer = TorchClip(clip, unit(np.random.default_rng(5), C, width))
        for batch in batches:
            rng = np.random.default_rng(batch)
            pixels = rng.integers(0, 256, (batch, *clip.preprocess.size, 3), np.uint8)
            for one in (engine, plain):
                one.warm_up([min(batch, CHUNK)])
            calls: dict[str, Call] = {
                OURS: lambda pixels=pixels: engine.predict(pixels),
                CLIP: lambda pixels=pixels: plain.predict(pixels),
                BARE: bare(engine, pixels),
                "ONNX Runtime, standard operators, features alone": raw_session(files.standard, pixels, width),
                "torch eager, plain CLIP": peer.call(pixels, compiled=False),
                "torch.compile, plain CLIP": peer.call(pixels, compiled=True),
            }
            show(f"{model}, B = {batch}", rows(interleaved(calls, seconds=seconds), batch))
        show(f"{model}, other labels: {C:,} classes, all pairs", swaps(engine, files.coder))


def rows(times: dict[str, Times], batch: int) -> list[tuple[str, str]]:
    ours = times[OURS].p50
    found = [
        (name, f"{time.p50:.3f} ms, {1e3 * batch / time.p50:,.0f} images/s, {time.p50 / ours:.2f}x")
        for name, time in times.items()
    ]
    return [*found, ("share of our time that is not the encoder", f"{1 - times[BARE].p50 / ours:.1%}")]


def swaps(engine: Engine, labels: Path) -> list[tuple[str, str]]:
    """Until ``use_labels`` returns and the CPU ranks by the new texts, and until the GPU does."""
    taken: list[list[float]] = [[], []]
    for _ in range(SWAPS):
        start = time.perf_counter()
        engine.use_labels(labels)
        taken[0].append(time.perf_counter() - start)
        engine.warm_up()
        taken[1].append(time.perf_counter() - start)
    returned, ready = (1e3 * float(np.median(some)) for some in taken)
    return [("use_labels", f"{returned:.1f} ms"), ("until the GPU ranks by them", f"{ready:.0f} ms")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Any = parser.add_argument
    add("--folder", type=Path, default=Path("bench"), help="where its files are kept (default: bench)")
    add("--models", default="ViT-B/16,ViT-L/14", help="(default: ViT-B/16,ViT-L/14)")
    add("--batch", default="1,64,256", help="(default: 1,64,256)")
    add("--format", choices=("cuda", "plan"), default="cuda", help="(default: cuda)")
    add("--seconds", type=float, default=20.0, help="to measure a batch size (default: 20)")
    args = parser.parse_args()
    batches = [int(part) for part in args.batch.split(",")]
    print(machine_line(machine()), f"{first_gpu()}, torch {torch.__version__}", sep="; ")
    for model in args.models.split(","):
        measure(make(args.folder, model, args.format, 64), model, batches, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
