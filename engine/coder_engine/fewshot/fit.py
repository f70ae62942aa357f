"""From folders of labelled images to an adapter: find, pick the shots, embed by the engine itself, search."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.cpus import check_threads
from coder_engine.engine import Engine
from coder_engine.errors import DataError, ImageError, WeightsError
from coder_engine.evaluate.images import find_images
from coder_engine.fewshot.adapter import ZERO_SHOT_SCALE, Norm
from coder_engine.fewshot.search import Grid, Search, Validation, search_adapter
from coder_engine.fewshot.spectrum import Form
from coder_engine.fewshot.views import views_of
from coder_engine.images import read_rgb
from coder_engine.stream import batches, decode_ahead
from coder_engine.weights import Weights

VIEWS = 8
_PIXELS_A_BATCH = 32

Say = Callable[[str], None]
Advance = Callable[[int], Callable[[], object]]
"""Called with how many images come, gives what is called after each of them."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What to fit on, and how.

    Attributes:
        support: class folders, or a csv of path,label; see ``find_images``.
        val: the same for validation images; None searches on held-out folds of the support.
        by_order: see ``find_images``.
        shots: take this many images a class, drawn with ``seed``; None takes all.
        views: an image's feature is the mean over this many views, see ``views_of``.
        norm, form: see ``CoderAdapter``.
        fixed: keep the form's exponent and ridge, do not search them.
        threads: that decode images; None takes as many as there are usable CPUs.
    """

    support: Path
    val: Path | None = None
    by_order: bool = False
    shots: int | None = None
    views: int = VIEWS
    norm: Norm = "minmax"
    form: Form = field(default_factory=Form)
    fixed: bool = False
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("shots", self.shots), ("views", self.views), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The search's result, and the images that could not be read."""

    search: Search
    failed: tuple[ImageError, ...]


@dataclass(frozen=True)
class _Images:
    features: NDArray[np.float32]
    labels: NDArray[np.int32]
    digests: tuple[bytes, ...]
    failed: tuple[ImageError, ...]


def general_texts(weights: Weights) -> NDArray[np.float32]:
    """W of a weight file, float32 [T, D]: its classes' texts and its generic ones, whichever it has.

    Raises:
        WeightsError: it has neither.
    """
    kept = [texts for texts in (weights.texts, weights.generic_texts) if texts is not None]
    if not kept:
        raise WeightsError(
            f"{weights.path}: has no general texts, which the adapter measures images by; export it with "
            "coder-export --keep-texts or --general-texts generic, or give coder-fit --general-texts FILE.npz"
        )
    return np.concatenate(kept)


def fit_engine(
    engine: Engine,
    texts: NDArray[np.float32],
    config: FitConfig,
    *,
    say: Say,
    advance: Advance = lambda total: lambda: None,
) -> Fitted:
    """Fit an adapter to an engine's labels; it is not saved. Images that cannot be read are told and left out.

    Args:
        texts: W^T, floats [T, D], unit length.
        say: gets what a user should know, a line each.
        advance: called before the support, and again before the validation images.

    Raises:
        DataError: no image, or no label, fits.
    """
    paths, ids = _shots(config, engine.labels, say)
    found = _embed(engine, paths, ids, config, advance)
    _tell_shots(found.labels, engine.labels, config.shots, say)
    validation, failed = None, found.failed
    if config.val is not None:
        held = _validation(engine, config.val, set(found.digests), config, say, advance)
        failed += held.failed
        validation = Validation(features=held.features, labels=held.labels, zero_shot=_zero_shot(engine, held.features))
    search = search_adapter(
        found.features,
        found.labels,
        texts,
        validation=validation,
        zero_shot=None if validation is not None else _zero_shot(engine, found.features),
        norm=config.norm,
        form=config.form,
        grid=Grid(exponents=(), ridges=()) if config.fixed else None,
        classes=len(engine.labels),
    )
    source = {"support": config.support.name, "images": len(found.labels), "views": config.views}
    return Fitted(search=replace(search, adapter=replace(search.adapter, source=source)), failed=failed)


def _shots(config: FitConfig, labels: Sequence[str], say: Say) -> tuple[list[str], NDArray[np.int32]]:
    listed = find_images(config.support, labels, by_order=config.by_order)
    for line in listed.notes():
        say(line)
    ids = np.array(listed.labels, np.int32)
    rows = np.arange(len(ids))
    if config.shots is not None:
        order = np.random.default_rng(config.seed).permutation(len(ids))
        picked = [order[ids[order] == label][: config.shots] for label in np.unique(ids)]
        rows = np.sort(np.concatenate(picked))
    return [listed.paths[row] for row in rows], ids[rows]


def _tell_shots(ids: NDArray[np.int32], labels: Sequence[str], shots: int | None, say: Say) -> None:
    counts = np.bincount(ids, minlength=len(labels))
    present = counts[counts > 0]
    if len(present) < len(labels):
        say(
            "classes without an image keep the scores of their texts, which the adapter raises for all others: they "
            "are named less often than before"
        )
    if shots is not None and present.max() < shots:
        say(
            f"no class has the {shots:,} images that --shots asks for: all of them are taken, at most "
            f"{present.max():,} a class"
        )
    if present.min() < present.max():
        few = labels[int(np.flatnonzero(counts == present.min())[0])]
        say(f"classes have from {present.min()} ({few!r}) to {present.max()} images; those with more weigh more")
    if present.max() == 1:
        say("one image a class: nothing can be held out, so without --val the default parameters are kept")


def _validation(
    engine: Engine, val: Path, support: set[bytes], config: FitConfig, say: Say, advance: Advance
) -> _Images:
    listed = find_images(val, engine.labels, by_order=config.by_order)
    for line in listed.notes():
        say(f"{val}: {line}")
    found = _embed(engine, listed.paths, np.array(listed.labels, np.int32), replace(config, views=1, seed=0), advance)
    new = np.array([digest not in support for digest in found.digests])
    if not new.any():
        raise DataError(f"{val}: every image is one of the support images; give others")
    if not new.all():
        say(f"{val}: {(~new).sum()} images are support images too (equal by sha256), left out of the validation")
    return _Images(found.features[new], found.labels[new], (), found.failed)


def _embed(
    engine: Engine, paths: Sequence[str], ids: NDArray[np.int32], config: FitConfig, advance: Advance
) -> _Images:
    """Features of the images that can be read: means over their views, cut to unit length again."""
    views, workers = config.views, check_threads(config.threads)

    def read(item: tuple[int, str]) -> tuple[bytes, NDArray[np.uint8]] | ImageError:
        number, path = item
        try:
            content = Path(path).read_bytes()
            image = read_rgb(content)
            pixels = views_of(image, engine.preprocess, views, seed=config.seed + number)
            return hashlib.sha256(content).digest(), pixels
        except ImageError as err:
            return ImageError(err.kind, f"{path}: {err}")
        except OSError as err:
            return ImageError("unreadable", f"{path}: {err.strerror}; check the path and its permissions")

    rows: list[int] = []
    digests: list[bytes] = []
    failed: list[ImageError] = []
    parts: list[NDArray[np.float32]] = []
    size = max(1, _PIXELS_A_BATCH // views)
    count = advance(len(paths))
    with closing(decode_ahead(enumerate(paths), read, workers=workers, ahead=2 * size)) as stream:
        for chunk in batches(stream, size):
            good = []
            for (number, _), got in chunk:
                count()
                if isinstance(got, ImageError):
                    failed.append(got)
                    continue
                rows.append(number)
                digests.append(got[0])
                good.append(got[1])
            if good:
                found = engine.embed(np.concatenate(good)).reshape(len(good), views, -1).mean(axis=1)
                parts.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    if not rows:
        raise DataError(f"none of {count_of(len(paths), 'image')} could be read; the first: {failed[0]}")
    return _Images(np.concatenate(parts), ids[rows], tuple(digests), tuple(failed))


def _zero_shot(engine: Engine, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """o of Eq. 8 scaled so that Eq. 20's factor of 100 makes of it what the engine adds: logit scale * o."""
    return engine.stage_one(features) * np.float32(engine.logit_scale / ZERO_SHOT_SCALE)


def summary(fitted: Fitted) -> list[str]:
    """What was fitted and chosen, and on what; lines for a user."""
    adapter, record = fitted.search.adapter, fitted.search.record
    form = adapter.form
    lines = [
        f"few-shot adapter: {adapter.shots_text}, {len(adapter.labels):,} images, {adapter.texts:,} texts; "
        f"exponent {form.exponent:g}, ridge {form.ridge:g}, {'' if form.centre else 'not '}centred, {adapter.norm}; "
        f"alpha {adapter.alpha:g}, beta {adapter.beta:g}, T {adapter.temperature:g}"
    ]
    if record["chosen_on"] == "defaults":
        return [*lines, "nothing to choose alpha and beta on: the defaults, unmeasured; --val FOLDER measures them"]
    on = "validation images" if record["chosen_on"] == "validation" else f"support images in {record['folds']} folds"
    without = record["zero_shot_accuracy"]
    lines.append(
        f"chosen on {record['images']:,} {on}: {record['accuracy']:.1%} right, {without:.1%} without the adapter "
        "(no test figure: the parameters were chosen for these images)"
    )
    return [*lines, _verdict(record["better"], record["worse"])]


def _verdict(better: int, worse: int) -> str:
    """Whether the adapter is worth having, by the images that it and the texts alone answer differently."""
    counts = f"{better:,} of them are right only with it, {worse:,} only without"
    if better <= worse:
        return f"no gain from the adapter was seen: {counts}; coder-infer --no-adapter goes without it"
    if better - worse <= 2 * math.sqrt(better + worse):  # two standard errors of the difference
        return f"the adapter's gain may be chance: {counts}; measure it on other images"
    return f"the adapter's gain is clear: {counts}"
