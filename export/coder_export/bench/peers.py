"""What a user would run instead, on the same images in the same run: each peer as one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coder_engine import Engine
from coder_engine.errors import CoderError, ModelError
from coder_engine.weights import Weights, load_weights
from coder_export.bench.measure import Call


class Peers:
    """The peers of one engine; models are opened once.

    Args:
        engine: whose images, size and labels the peers share.
        path: its .onnx file, which the raw runtimes run.
        weights: its weight file.
        paths: the B images.
    """

    def __init__(self, engine: Engine, path: Path, weights: Path, paths: list[str], threads: int) -> None:
        self._paths, self._path, self._threads = paths, path, threads
        self._weights: Weights = load_weights(weights)
        self._pixels = np.stack([engine.preprocess(_rgb(image)) for image in paths])
        self._features = engine.embed(self._pixels)
        self._clip: Any = None

    def calls(self, names: tuple[str, ...]) -> tuple[dict[str, Call], dict[str, str]]:
        """The peers asked for as calls, and for those that cannot run here the reason."""
        calls: dict[str, Call] = {}
        skipped: dict[str, str] = {}
        for name in names:
            try:
                calls[f"peer: {PEERS[name]}"] = getattr(self, f"_{name}")()
            except (CoderError, ImportError) as err:
                skipped[PEERS[name]] = str(err)
        return calls, skipped

    def _open_clip(self) -> Call:
        return self._eager(lambda model: model)

    def _open_clip_bf16(self) -> Call:
        import torch

        return self._eager(lambda model: model.to(torch.bfloat16))

    def _compiled(self) -> Call:
        import torch

        return self._eager(torch.compile)

    def _eager(self, prepare: Callable[[Any], Any]) -> Call:
        """Plain CLIP by open_clip, from the files to the first five of C names."""
        import copy

        import open_clip
        import torch

        clip = self._model()
        torch.set_num_threads(self._threads)
        visual = prepare(copy.deepcopy(clip.visual).eval())
        dtype = next(clip.visual.parameters()).dtype if visual is clip.visual else next(visual.parameters()).dtype
        options = open_clip.get_model_preprocess_cfg(clip.model)
        transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**options), is_train=False)
        names = self._weights.bank[len(self._weights.meta.labels) :][self._weights.name_offsets[:-1]]
        bank = torch.from_numpy(np.array(names))

        def call() -> object:
            with torch.inference_mode():
                batch = torch.stack([transform(Image.open(path)) for path in self._paths])
                features = torch.nn.functional.normalize(visual(batch.to(dtype)).float(), dim=-1)
                return (features @ bank.T).topk(min(5, len(bank)))

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

    def _onnxruntime(self) -> Call:
        from coder_engine.backends.onnxruntime import open_session

        session = open_session(self._path, threads=self._threads)
        feeds = {"pixels": self._pixels, "bank": np.zeros((1, self._weights.width), np.float32)}
        return lambda: session.run(["features"], feeds)

    def _openvino(self) -> Call:
        import openvino

        core = openvino.Core()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self._threads}
        compiled = core.compile_model(str(self._path), "CPU", options)
        request = compiled.create_infer_request()
        feeds = {"pixels": self._pixels, "bank": np.zeros((1, self._weights.width), np.float32)}
        return lambda: request.infer(feeds)

    def _loop(self) -> Call:
        """Stage 1 as the paper's code has it: image by image and class by class over all texts."""
        texts, sentences = self._weights.texts, self._weights.meta.sentences
        if texts is None or not sentences:
            raise ModelError("the weight file has no texts; export it with --keep-texts")
        by_class: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for label_id in range(len(self._weights.meta.labels)):
            own = [(row, kind) for row, (i, kind, _) in enumerate(sentences) if i == label_id]
            named = [row for row, kind in own if kind in ("name", "synonym")]
            other = [row for row, kind in own if kind not in ("name", "synonym")]
            by_class.append((np.array(texts[named]), np.array(texts[other])))

        def call() -> object:
            return [[np.mean([*(q @ x), (n @ x).max()]) for n, q in by_class] for x in self._features]

        return call


PEERS = {
    "open_clip": "open_clip eager fp32, plain CLIP from the files",
    "open_clip_bf16": "open_clip eager bf16, plain CLIP from the files",
    "compiled": "torch.compile fp32, plain CLIP from the files",
    "onnxruntime": "ONNX Runtime, encoder alone",
    "openvino": "OpenVINO, encoder alone",
    "loop": "a loop over images, classes and texts, stage 1 alone",
}
"""By name, what each one is."""


def _rgb(path: str) -> Any:
    from coder_engine.images import read_rgb

    return read_rgb(path)
