"""The Engine: an engine file and its weight file, ready to classify."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.backends import PassedOver, open_backend
from coder_engine.batch import as_images, check_options
from coder_engine.cpus import check_threads
from coder_engine.errors import EngineError, ImageError, WeightsError
from coder_engine.explain import Explanation, explain
from coder_engine.head import CANDIDATES, Head, Ranking
from coder_engine.images import MAX_PIXELS, read_rgb
from coder_engine.prediction import Prediction, failed, prediction_of
from coder_engine.preprocess import Preprocess
from coder_engine.stream import batches, decode_ahead
from coder_engine.weights import Weights, check_belongs, load_weights

CHUNK = 32
"""Images decoded and run at once by ``predict``: bounds memory for long lists."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class _LabelSet:
    """One weight file in use: swapped as a whole, so that a running call never sees half of another."""

    weights: Weights
    head: Head
    preprocess: Preprocess


class Engine:
    """Classify images with CLIP and two-stage CODER, without PyTorch.

    Images may be paths, encoded bytes, PIL images or uint8 arrays [H, W, 3]; a batch is a sequence of them, or one
    uint8 array [B, H, W, 3]. An image that cannot be read gives a Prediction with ``error``; it never ends a batch.

    Args:
        path: the engine file (.onnx).
        weights: its weight file; by default the .safetensors of the same stem beside it.
        backend: "auto" for the best that works here, or "openvino" or "onnxruntime".
        device: "auto", "cpu" or "cuda".
        precision: "auto" for the fastest the device computes natively, "fp32" or "bf16". It is the encoder's; all that
            follows is fp32.
        threads: CPU threads; by default the CPUs this process may really use.
        margin: rerank only images whose two best stage-1 probabilities differ by less than this. By default what the
            weight file says, which is to rerank every image unless somebody chose a margin.
        rerank: False stops after stage 1.
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
        max_pixels: int = MAX_PIXELS,
        fast_decode: bool = False,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise EngineError(f"{self.path}: no such engine file; coder-export makes one")
        if margin is not None and not 0 <= margin <= 1:
            raise ValueError(f"margin must be a difference of probabilities, 0 to 1, got {margin}; None reranks always")
        self._threads = check_threads(threads)
        self._margin = margin
        self._rerank = rerank
        self._max_pixels = max_pixels
        self._fast_decode = fast_decode
        loaded = load_weights(weights if weights is not None else self.path.with_suffix(".safetensors"))
        with ThreadPoolExecutor(1) as pool:  # hashing overlaps with the session's own start
            checked = pool.submit(check_belongs, self.path, loaded)
            try:
                self._backend = open_backend(
                    self.path, threads=self._threads, backend=backend, device=device, precision=precision
                )
            finally:
                checked.result()  # where both fail, the wrong file explains that it cannot be loaded
        self._active = self._label_set(loaded)

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
        rows = self._active.weights.pair_rows
        duels = "no one-to-one texts" if rows is None else f"{len(rows):,} pairs"
        meta = self._active.weights.meta
        parts = [
            self._backend.description,
            f"{meta.model} ({meta.pretrained})",
            f"{len(meta.labels):,} classes, {duels}",
        ]
        if meta.temperature != 1:
            parts.append(f"scores calibrated, temperature {meta.temperature:.3g}")
        if meta.unknown_below is not None:
            parts.append(f"unknown below {meta.unknown_below:.3g} unless told otherwise")
        if self.passed_over:
            parts.append(f"passed over: {', '.join(map(str, self.passed_over))}")
        return "; ".join(parts)

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
        images = iter(as_images(batch))
        found: list[Prediction] = []
        while chunk := list(islice(images, CHUNK)):
            decoded = [self._decode(image) for image in chunk]
            found += self._classify(chunk, decoded, top, unknown_below)
        return found

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
            images: any iterable of images; it is read as results are taken, at most a few batches ahead.
            batch_size: images run at once.
            workers: decoding threads, by default as many as ``threads``.

        Returns:
            One Prediction an image, in order. Close the iterator to stop early.

        Raises:
            ValueError: an argument is out of range.
        """
        check_options(top, unknown_below)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(images, batch_size, workers or self._threads, top, unknown_below)

    def _stream(
        self, images: Iterable[Any], batch_size: int, workers: int, top: int, unknown_below: float | None
    ) -> Iterator[Prediction]:
        decoded = decode_ahead(images, self._decode, workers=workers, ahead=2 * batch_size)
        try:
            for chunk in batches(decoded, batch_size):
                yield from self._classify(
                    [image for image, _ in chunk], [pixels for _, pixels in chunk], top, unknown_below
                )
        finally:
            decoded.close()

    def embed(self, batch: Any) -> NDArray[np.float32]:
        """Image features: float32 [B, D], unit length.

        Raises:
            ImageError: an image cannot be read.
        """
        images = iter(as_images(batch))
        parts = [np.empty((0, self._backend.width), np.float32)]
        while chunk := list(islice(images, CHUNK)):
            parts.append(self._backend.encode(np.stack([self._pixels(image) for image in chunk])))
        return np.concatenate(parts)

    def predict_features(
        self, features: NDArray[np.float32], *, top: int = CANDIDATES, unknown_below: float | None = None
    ) -> list[Prediction]:
        """Classify images by features that ``embed`` gave: all of ``predict`` but decoding and the encoder.

        Args:
            features: float32 [B, D], unit length.
            top, unknown_below: as in ``predict``.

        Raises:
            ValueError: the features have another dtype or shape, or an argument is out of range.
            EngineError: a feature is NaN or infinite.
        """
        check_options(top, unknown_below)
        active = self._active
        width = active.weights.width
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != width:
            raise ValueError(
                f"features must be float32 [B, {width}], got {features.dtype} {list(features.shape)}; embed gives them"
            )
        ranking = self._rank(active, np.ascontiguousarray(features), top)
        labels = active.weights.meta.labels
        threshold = _threshold(active, unknown_below)
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

    def explain(self, image: Any) -> Explanation:
        """What stage 1 said of one image, and which duels decided its rerank.

        Raises:
            ImageError: the image cannot be read.
        """
        active = self._active
        features = self._backend.encode(self._pixels(image)[None])
        return explain(self._rank(active, features, CANDIDATES), 0, active.weights.meta.labels)

    def use_labels(self, path: str | PathLike[str]) -> None:
        """Switch to another weight file of the same model, without touching the engine file.

        Raises:
            WeightsError: it was made for another model; the engine then keeps its labels.
        """
        self._active = self._label_set(load_weights(path))

    def check(self) -> None:
        """Read the pair rows whole and compare their digest, which opening does not.

        Raises:
            WeightsError: they were edited or damaged.
        """
        self._active.weights.check_pairs()

    def _label_set(self, weights: Weights) -> _LabelSet:
        if weights.meta.tower != self._backend.tower or weights.width != self._backend.width:
            raise WeightsError(
                f"{weights.path} (from {weights.meta.model}, {weights.meta.pretrained}) and {self.path} come from "
                "different image towers; export the labels with the model of the engine"
            )
        try:
            preprocess = Preprocess.from_json(weights.meta.preprocess)
        except ValueError as err:
            raise WeightsError(f"{weights.path}: {err}") from err
        return _LabelSet(weights=weights, head=Head(weights, threads=self._threads), preprocess=preprocess)

    def _classify(
        self,
        images: Sequence[Any],
        decoded: Sequence[Pixels | ImageError],
        top: int,
        unknown_below: float | None,
    ) -> list[Prediction]:
        active = self._active
        labels, threshold = active.weights.meta.labels, _threshold(active, unknown_below)
        good = [pixels for pixels in decoded if not isinstance(pixels, ImageError)]
        ranking = self._rank(active, self._backend.encode(np.stack(good)), top) if good else None
        rows = iter(range(len(good)))
        found = []
        for image, pixels in zip(images, decoded, strict=True):
            path = str(image) if isinstance(image, (str, PathLike)) else None
            if isinstance(pixels, ImageError):
                found.append(failed(path, pixels))
            elif ranking is not None:
                found.append(prediction_of(path, ranking, next(rows), labels, top, threshold))
        return found

    def _rank(self, active: _LabelSet, features: NDArray[np.float32], top: int) -> Ranking:
        margin = self._margin if self._margin is not None else active.weights.meta.margin
        return active.head.rank(features, top=top, margin=margin, rerank=self._rerank)

    def _pixels(self, image: Any) -> Pixels:
        if isinstance(image, np.ndarray) and image.shape == (*self._backend.size, 3) and image.dtype == np.uint8:
            return image
        preprocess = self.preprocess
        least = (2 * preprocess.size[0], 2 * preprocess.size[1]) if self._fast_decode else None
        return preprocess(read_rgb(image, max_pixels=self._max_pixels, least=least))

    def _decode(self, image: Any) -> Pixels | ImageError:
        try:
            return self._pixels(image)
        except ImageError as err:
            return err


def _threshold(active: _LabelSet, asked: float | None) -> float | None:
    return active.weights.meta.unknown_below if asked is None else asked
