"""What a user would run instead, on the same images in the same run: each peer as one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coder_engine import Engine
from coder_engine.backends.base import stored_precision
from coder_engine.backends.openvino import import_openvino
from coder_engine.errors import ModelError
from coder_engine.images import read_rgb
from coder_engine.weightfile.general_texts import NAME_KINDS
from coder_engine.weights import Weights, load_weights
from coder_export.bench.heads import loop_head, numpy_head
from coder_export.measure import Call


@dataclass(frozen=True, kw_only=True)
class Images:
    """The B images of one batch: files, what the engine makes of them, uint8 [B, H, W, 3], and float32 [B, D]."""

    paths: list[str]
    pixels: NDArray[np.uint8]
    features: NDArray[np.float32]


class Peers:
    """The peers of one engine; torch's model is opened once.

    Args:
        engine: whose images, size and labels the peers share.
        path: its .onnx file, which the raw runtimes run.
        weights: its weight file.
        device: where torch's image towers run, "cpu" or "cuda".
    """

    def __init__(self, engine: Engine, path: Path, weights: Path, *, threads: int, device: str = "cpu") -> None:
        self._engine, self._path, self._threads, self._device = engine, path, threads, device
        self._weights: Weights = load_weights(weights)
        self._clip: Any = None

    def calls(self, names: tuple[str, ...], paths: list[str]) -> tuple[dict[str, Call], dict[str, str]]:
        """The peers asked for as calls on the images ``paths``, and for those that cannot run here the reason."""
        pixels = np.stack([self._engine.preprocess(read_rgb(path)) for path in paths])
        images = Images(paths=paths, pixels=pixels, features=self._engine.embed(pixels))
        calls: dict[str, Call] = {}
        skipped: dict[str, str] = {}
        for name in names:
            try:
                call = getattr(self, f"_{name}")(images)
                call()  # torch.compile, for one, finds only now that there is no compiler
                calls[f"peer: {self._title(name)}"] = call
            except Exception as err:  # other people's code, with errors of their own
                skipped[self._title(name)] = " ".join(str(err).split())[:200] or type(err).__name__
        return calls, skipped

    def _title(self, name: str) -> str:
        """What a peer is; the raw runtimes run the engine's own file, whatever it is in."""
        title, stored = PEERS[name], stored_precision(self._path)
        if stored == "fp32" or name not in RAW:
            return title
        return title.replace(" fp32,", f" on the {stored} file,").replace(" bf16,", f" on the {stored} file, bf16,")

    def _open_clip(self, images: Images) -> Call:
        return self._eager(images, lambda model: model)

    def _open_clip_bf16(self, images: Images) -> Call:
        import torch

        return self._eager(images, lambda model: model.to(torch.bfloat16))

    def _open_clip_fp16(self, images: Images) -> Call:
        import torch

        if self._device == "cpu":
            raise ModelError("torch has no fast fp16 on the CPU; it is a peer on a GPU (--device cuda)")
        return self._eager(images, lambda model: model.to(torch.float16))

    def _torch_bf16(self, images: Images) -> Call:
        """Pure bf16 weights: with autocast torch was 22 times slower at B = 8."""
        import copy

        import torch

        torch.set_num_threads(self._threads)
        visual = copy.deepcopy(self._model().visual).eval().to(self._device, torch.bfloat16)
        noise = torch.rand(len(images.paths), 3, *images.pixels.shape[1:3]).to(self._device, torch.bfloat16)

        def call() -> object:
            with torch.inference_mode():
                return visual(noise).float().cpu()

        return call

    def _compiled(self, images: Images) -> Call:
        import torch

        return self._eager(images, torch.compile)

    def _eager(self, images: Images, prepare: Callable[[Any], Any]) -> Call:
        """Plain CLIP by open_clip, from the files to the first five of C names."""
        import copy

        import open_clip
        import torch

        clip = self._model()
        torch.set_num_threads(self._threads)
        visual = prepare(copy.deepcopy(clip.visual).eval().to(self._device))
        dtype = next(visual.parameters()).dtype
        options = open_clip.get_model_preprocess_cfg(clip.model)
        transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**options), is_train=False)
        names = self._weights.bank[len(self._weights.meta.labels) :][self._weights.name_offsets[:-1]]
        bank = torch.from_numpy(np.array(names)).to(self._device)

        def call() -> object:
            with torch.inference_mode():
                batch = torch.stack([transform(Image.open(path)) for path in images.paths])
                features = torch.nn.functional.normalize(visual(batch.to(self._device, dtype)).float(), dim=-1)
                return (features @ bank.T).topk(min(5, len(bank))).indices.tolist()

        return call

    def _model(self) -> Any:
        if self._clip is None:
            from coder_export.model import open_model

            meta = self._weights.meta
            try:
                self._clip = open_model(meta.model, meta.pretrained)
            except ModelError:  # its weights are out of reach here, and the time does not depend on them
                self._clip = open_model(meta.model, "random")
        return self._clip

    def _onnxruntime(self, images: Images) -> Call:
        from coder_engine.backends.onnxruntime import open_session

        session = open_session(self._path, threads=self._threads)
        feeds = {"pixels": images.pixels, "bank": np.zeros((1, self._weights.width), np.float32)}
        return lambda: session.run(["features"], feeds)

    def _openvino_bf16(self, images: Images) -> Call:
        return self._openvino(images, "bf16")

    def _openvino_fp32(self, images: Images) -> Call:
        return self._openvino(images, "f32")

    def _openvino(self, images: Images, precision: str) -> Call:
        core = import_openvino().Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(str(self._path), "CPU", options)
        got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if got != precision:
            raise ModelError(f"OpenVINO computes in {got} on this CPU, wanted {precision}")
        request = compiled.create_infer_request()
        feeds = {"pixels": images.pixels, "bank": np.zeros((1, self._weights.width), np.float32)}
        return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)

    def _numpy(self, images: Images) -> Call:
        return lambda: [numpy_head(self._weights, x) for x in images.features]

    def _loop(self, images: Images) -> Call:
        """A class's other texts stand for its one-to-one texts, which a weight file need not keep; on the CPU."""
        import torch

        kept = self._weights.general_texts
        if kept is None:
            raise ModelError("the weight file has no texts; export it with --keep-texts")
        torch.set_num_threads(self._threads)
        classes, named = len(self._weights.meta.labels), kept.text_kinds < len(NAME_KINDS)
        owner = np.repeat(np.arange(classes), np.diff(kept.text_starts))
        rows = torch.from_numpy(np.array(kept.texts[np.lexsort((named, owner))]))
        names = np.bincount(owner[named], minlength=classes)
        others = np.diff(kept.text_starts) - names
        counts = list(zip(others.tolist(), names.tolist(), strict=True))
        starts = kept.text_starts[:-1].tolist()
        by_class = [rows[start : start + max(some, 1)] for start, (some, _) in zip(starts, counts, strict=True)]
        pairs = None if self._weights.pair_rows is None else lambda a, b: by_class[a]
        features = torch.from_numpy(images.features)

        def call() -> list[list[int]]:
            unit = torch.nn.functional.normalize(rows, dim=1)  # as the authors' code does, anew for every batch
            return [loop_head(unit, counts, pairs, x) for x in features]

        return call


PEERS = {
    "open_clip": "open_clip eager fp32, plain CLIP from the files",
    "open_clip_bf16": "open_clip eager bf16, plain CLIP from the files",
    "open_clip_fp16": "open_clip eager fp16, plain CLIP from the files",
    "compiled": "torch.compile fp32, plain CLIP from the files",
    "torch_bf16": "torch eager bf16, encoder alone",
    "onnxruntime": "ONNX Runtime fp32, encoder alone",
    "openvino_bf16": "OpenVINO bf16, encoder alone",
    "openvino_fp32": "OpenVINO fp32, encoder alone",
    "numpy": "NumPy, collapsed head alone",
    "loop": "the authors' loops over all texts, head alone",
}
"""By name, what each one is."""
RAW = ("onnxruntime", "openvino_bf16", "openvino_fp32")
"""Those that run the engine's file."""
