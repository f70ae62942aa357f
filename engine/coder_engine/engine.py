"""The Engine: an engine file and its weight file, ready to classify."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.arguments import as_images, as_stream, check_features, check_options, check_whole
from coder_engine.backends import PassedOver, open_backend
from coder_engine.engine_path import check_engine_path
from coder_engine.errors import ImageError, WeightsError
from coder_engine.explain import TEXTS, Explanation, explain
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import CANDIDATES
from coder_engine.label_set import LabelSet
from coder_engine.machine.cpus import check_threads
from coder_engine.parts import Parts
from coder_engine.pixels.formats import MAX_PIXELS
from coder_engine.plans.record import SUFFIX as PLAN
from coder_engine.prediction import Prediction, prediction_of
from coder_engine.preprocess import Preprocess
from coder_engine.reader import Pixels, Reader
from coder_engine.stream import batches, decode_ahead
from coder_engine.weights import Weights, check_belongs, load_weights

CHUNK = 32
"""Images of one run of ``predict`` and ``embed``, while the next ones are decoded: bounds memory for long lists."""


class Engine:
    """Classify images with CLIP and two-stage CODER, without PyTorch.

    Images may be paths, encoded bytes, PIL images or uint8 arrays [H, W, 3]; a batch is a sequence of them, or one
    uint8 array [B, H, W, 3]. An image that cannot be read gives a Prediction with ``error``; it never ends a batch.

    Args:
        path: the engine file (.onnx, .plan).
        weights: its weight file; by default the .safetensors of the same stem beside it.
        backend: "auto" for the best that works here, or "tensorrt", "openvino" or "onnxruntime".
        device: "auto", "cpu" or "cuda".
        precision: "auto" for the fastest the device computes natively, "fp32" or "bf16". It is the encoder's; all that
            follows is fp32. An engine exported in fp16, bf16 or int8, and a plan, take "auto" and their own name only.
        threads: CPU threads; by default the CPUs this process may really use.
        margin: rerank only images whose two best stage-1 probabilities, before any temperature, differ by less than
            this. By default what the weight file says, which is to rerank every image unless somebody chose a margin.
        rerank: False stops after stage 1.
        adapter: where the weight file has a few-shot adapter, rank by it (Eq. 20, over stage 1; no rerank); False goes
            without it.
        max_pixels: images with more are refused from their header, before they are decoded.
        fast_decode: decode JPEG files that are large enough to a half, a quarter or an eighth, at least twice the
            model's size. Quicker, but not the pixels, and so not the features, that the model was measured with.

    Raises:
        EngineError, WeightsError: a file is missing, damaged, or the two do not belong together.
        BackendError: the runtime or the device is missing.
        ValueError: an argument is out of range, or no backend has the device and precision asked for.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        weights: str | PathLike[str] | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        margin: float | None = None,
        rerank: bool = True,
        adapter: bool = True,
        max_pixels: int = MAX_PIXELS,
        fast_decode: bool = False,
    ) -> None:
        self.path = Path(path)
        check_engine_path(self.path)
        if margin is not None and not 0 <= margin <= 1:
            raise ValueError(f"margin must be a difference of probabilities, 0 to 1, got {margin}; None reranks always")
        check_whole("max_pixels", max_pixels)
        # All that it takes to open the same again, see __reduce__; the paths of both files come once these are known.
        self._asked: dict[str, Any] = {
            "backend": backend, "device": device, "precision": precision, "threads": threads, "margin": margin,
            "rerank": rerank, "adapter": adapter, "max_pixels": max_pixels, "fast_decode": fast_decode,
        }  # fmt: skip
        self._threads = check_threads(threads)
        self._margin = margin
        self._rerank = rerank
        self._adapter = adapter
        loaded = load_weights(weights if weights is not None else self.path.with_suffix(".safetensors"))
        with ThreadPoolExecutor(1) as pool:  # hashing overlaps with the session's own start
            checked = pool.submit(check_belongs, self.path, loaded)
            if self.path.suffix == PLAN:  # TensorRT is given no file that was not made here
                checked.result()
            try:
                self._backend = open_backend(
                    self.path,
                    threads=self._threads,
                    backend=backend,
                    device=device,
                    precision=precision,
                    meta=loaded.meta,
                )
            finally:
                checked.result()  # where both fail, the wrong file explains that it cannot be loaded
        self._reader = Reader(size=self._backend.size, max_pixels=max_pixels, fast_decode=fast_decode)
        self._parts = Parts(CHUNK, together=self._backend.overlaps)
        self._active = self._label_set(loaded)
        self._place, self._asked["weights"] = self.path.absolute(), loaded.path.absolute()
        self._active.start([])
        if self._active.ranker is not None:  # its graph is made now, rather than at the first image
            self.warm_up()

    @property
    def labels(self) -> tuple[str, ...]:
        """The C class names, in id order."""
        return self._active.weights.meta.labels

    @property
    def preprocess(self) -> Preprocess:
        """Resize and crop as the model was trained with: RGB image to uint8 [H, W, 3]."""
        return self._active.preprocess

    @property
    def description(self) -> str:
        """One line: backend, device, precision, threads, weights, classes, and the better backends that do not work."""
        parts = [self._backend.description, self._active.description]
        if self.passed_over:
            parts.append(f"passed over: {', '.join(map(str, self.passed_over))}")
        return "; ".join(parts)

    @property
    def device(self) -> str:
        """What ``device`` would have to say to get the hardware it runs on: "cpu" or "cuda"."""
        return self._backend.device

    @property
    def adapter(self) -> CoderAdapter | None:
        """The few-shot adapter that ranks the classes; None where there is none, or it was switched off."""
        active = self._active
        return None if active.adapter is None else active.adapter.adapter

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """The better backends that "auto" could not take: ``title``, ``short`` and, with what mends it, ``reason``."""
        return self._backend.passed_over

    def predict(self, batch: Any, *, top: int = CANDIDATES, unknown_below: float | None = None) -> list[Prediction]:
        """Classify a batch; one Prediction an image, in order.

        Args:
            batch: images, see the class.
            top: classes listed a prediction (the first five are the reranked ones).
            unknown_below: mark predictions whose score is under this probability as unknown. None goes by the weight
                file, which has no such threshold unless one was chosen on images; 0 marks none.

        Raises:
            TypeError, ValueError: the batch is no sequence of images, or an argument is out of range.
        """
        check_options(top, unknown_below)
        images = as_images(batch)
        if (ready := self._reader.ready(images)) is not None:
            parts = self._parts.each(ready, lambda part: self._classify(part, part, top, unknown_below))
            return [found for part in parts for found in part]
        return list(self._stream(images, CHUNK, self._threads, top, unknown_below))

    def predict_stream(
        self,
        images: Iterable[Any],
        *,
        batch_size: int = 8,
        workers: int | None = None,
        top: int = CANDIDATES,
        unknown_below: float | None = None,
    ) -> Iterator[Prediction]:
        """Classify any number of images in bounded memory: decoding runs ahead in threads while the engine computes.

        Args:
            images: any iterable of images; it is read in this thread as results are taken, ahead by a batch and another
                one, or by as many as there are workers. It may give one array or PIL image again and again, filled
                anew, as cameras do.
            batch_size: images run at once. With 1 each image is answered before the next is read, as a camera or a pipe
                that somebody feeds by hand wants it, unless ``images`` is a collection, which has them all; more wait
                for a batch to be full.
            workers: decoding threads, by default as many as ``threads``.

        Returns:
            One Prediction an image, in order. Close the iterator to stop early.

        Raises:
            TypeError, ValueError: an argument is out of range, or ``images`` is a single one.
        """
        check_options(top, unknown_below)
        images = as_stream(images)
        check_whole("batch_size", batch_size)
        if workers is not None:
            check_whole("workers", workers)
        return self._stream(images, batch_size, workers or self._threads, top, unknown_below)

    def _stream(
        self, images: Iterable[Any], batch_size: int, workers: int, top: int, unknown_below: float | None
    ) -> Iterator[Prediction]:
        # Reading a collection waits for nobody; of other sources each single image is answered before the next is read.
        waits = batch_size == 1 and not isinstance(images, Collection)
        ahead = 1 if waits else batch_size + max(batch_size, workers)
        with closing(decode_ahead(self._reader.as_read(images), self._tried, workers=workers, ahead=ahead)) as decoded:
            for chunk in batches(decoded, batch_size):
                given, pixels = zip(*chunk, strict=True)
                yield from self._classify(given, pixels, top, unknown_below)

    def _classify(
        self,
        images: Iterable[Any],
        decoded: Sequence[Pixels | ImageError] | Pixels,
        top: int,
        unknown_below: float | None,
    ) -> list[Prediction]:
        return self._active.classify(self._backend, images, decoded, top=top, unknown_below=unknown_below)

    def embed(self, batch: Any) -> NDArray[np.float32]:
        """Image features: float32 [B, D], unit length.

        Raises:
            ImageError: an image cannot be read.
        """
        images = as_images(batch)
        parts = [np.empty((0, self._backend.width), np.float32)]
        if (ready := self._reader.ready(images)) is not None:
            return np.concatenate(parts + self._parts.each(ready, self._backend.encode))
        given = self._reader.as_read(images)
        with closing(decode_ahead(given, self._read, workers=self._threads, ahead=2 * CHUNK)) as decoded:
            for chunk in batches(decoded, CHUNK):
                parts.append(self._backend.encode(np.stack([pixels for _, pixels in chunk])))
        return np.concatenate(parts)

    @property
    def logit_scale(self) -> float:
        """What o of Eq. 8 is multiplied with before the softmax."""
        return self._active.weights.meta.logit_scale

    def stage_one(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """o of Eq. 8 for features that ``embed`` gave: float32 [B, D] -> float32 [B, C].

        Raises:
            ValueError: the features have another dtype, shape or length.
            EngineError: a feature is NaN or infinite.
        """
        active = self._active
        return active.head.rank(check_features(features, active.weights.width), rerank=False).logits

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Classify black images of the batch sizes to come, so that no answer waits for what a first run prepares.

        Raises:
            ValueError: a batch size is less than 1.
            BackendError: the runtime failed.
        """
        if any(size < 1 for size in batch_sizes):
            raise ValueError(f"batch sizes must be at least 1, got {list(batch_sizes)}")
        active = self._active
        if active.ranker is not None:
            active.ranker.wait()
        for size in batch_sizes:
            black = np.zeros((size, *self._backend.size, 3), np.uint8)
            active.encode_and_rank(self._backend, black, CANDIDATES)
            if size > CHUNK:  # which predict_stream runs whole, and predict in parts
                self._parts.each(black, lambda part: active.encode_and_rank(self._backend, part, CANDIDATES))

    def predict_features(
        self, features: NDArray[np.float32], *, top: int = CANDIDATES, unknown_below: float | None = None
    ) -> list[Prediction]:
        """Classify images by features that ``embed`` gave: all of ``predict`` but decoding and the encoder.

        Args:
            features: float32 [B, D], unit length.
            top, unknown_below: as in ``predict``.

        Raises:
            ValueError: the features have another dtype, shape or length, or an argument is out of range.
            EngineError: a feature is NaN or infinite.
        """
        check_options(top, unknown_below)
        active = self._active
        ranking = active.rank(check_features(features, active.weights.width), top)
        labels, threshold = active.weights.meta.labels, active.unknown_below(unknown_below)
        return [prediction_of(None, ranking, row, labels, top, threshold) for row in range(len(features))]

    def coder(self, batch: Any) -> NDArray[np.float32]:
        """General CODER s = x W (Eq. 6): the cosines with all T general texts, float32 [B, T].

        Raises:
            WeightsError: the weight file was exported without them.
        """
        weights = self._active.weights
        texts = weights.texts
        if texts is None:
            raise WeightsError(f"{weights.path}: has no general texts; export it with coder-export --keep-texts")
        return self.embed(batch) @ texts.T

    def explain(self, image: Any, *, texts: int = TEXTS) -> Explanation:
        """Why one image gets its label: the texts that spoke for it, and the duels that decided its rerank.

        A few-shot adapter has no texts to tell of: with one, this is the answer of the texts, and its note says so.

        Args:
            texts: how many texts to list of a class and of a duel's side; it names them where the weight file was
                exported with --keep-texts.

        Raises:
            ImageError: the image cannot be read.
        """
        active = self._active
        features = self._backend.encode(self._read(image)[None])
        note = ""
        if active.adapter is not None:
            best = active.weights.meta.labels[int(active.rank(features, CANDIDATES).ids[0, 0])]
            note = f"the few-shot adapter ranks here, and says {best}; below is what the texts say"
        return explain(
            active.weights,
            features,
            active.rank_by_texts(features, CANDIDATES),
            margin=active.margin,
            rerank=active.rerank,
            texts=texts,
            note=note,
        )

    def use_labels(self, path: str | PathLike[str]) -> None:
        """Switch to another weight file of the same model, without touching the engine file.

        On a GPU its texts are copied there beside whatever runs; until they are there, the CPU ranks.

        Raises:
            WeightsError: it was made for another model; the engine then keeps its labels.
        """
        found = self._label_set(load_weights(path))
        before = [self._active]
        self._active = found
        self._asked["weights"] = Path(path).absolute()
        found.start(before)

    def check(self) -> None:
        """Read what opening leaves unread, pair rows and texts above all, and compare its digests.

        Raises:
            WeightsError: some of it was edited or damaged.
        """
        self._active.weights.check()

    def close(self) -> None:
        """Let go of what the runtime holds now, rather than when the Engine is collected; ``with`` does it, too.

        Calls of other threads end first, or with a BackendError, as all do that come later and need the encoder.
        """
        self._backend.close()
        self._active.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its paths and options: whoever unpickles it, in another process above all, opens it anew."""
        return partial(type(self), **self._asked), (self._place,)

    def __repr__(self) -> str:
        return f"<Engine {self.path}: {self._backend.description}; {self._active.description}>"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _label_set(self, weights: Weights) -> LabelSet:
        return LabelSet.open(
            weights,
            self._backend,
            threads=self._threads,
            margin=self._margin,
            rerank=self._rerank,
            adapter=self._adapter,
        )

    def _read(self, image: Any) -> Pixels:
        return self._reader.read(image, self.preprocess)

    def _tried(self, image: Any) -> Pixels | ImageError:
        return self._reader.tried(image, self.preprocess)
