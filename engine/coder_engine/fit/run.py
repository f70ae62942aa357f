"""From folders of labelled images to an adapter: find, pick the shots, embed by the engine itself, search."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.engine import Engine
from coder_engine.errors import DataError, ImageError, WeightsError
from coder_engine.fewshot.adapter import ZERO_SHOT_SCALE
from coder_engine.fewshot.affinity import Norm
from coder_engine.fewshot.folds import Validation
from coder_engine.fewshot.search import Grid, Search, search_adapter
from coder_engine.fewshot.spectrum import Form
from coder_engine.fit.embed import SupportImages, embed_support
from coder_engine.labelled_images import find_images
from coder_engine.machine.cpus import check_threads
from coder_engine.stream import Advance
from coder_engine.weights import Weights

VIEWS = 8

Say = Callable[[str], None]


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
    found = _distinct(_embedded(engine, paths, ids, config, advance), say)
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
        seen=None if validation is not None else found.seen,
        zero_shot=None if validation is not None else _zero_shot(engine, found.seen),
        norm=config.norm,
        form=config.form,
        grid=Grid(exponents=(), ridges=()) if config.fixed else None,
        classes=len(engine.labels),
    )
    name = os.fsencode(config.support.name).decode("utf-8", "replace")  # which JSON can hold
    source = {"support": name, "images": len(found.labels), "views": config.views}
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
) -> SupportImages:
    listed = find_images(val, engine.labels, by_order=config.by_order)
    for line in listed.notes():
        say(f"{val}: {line}")
    found = _embedded(
        engine, listed.paths, np.array(listed.labels, np.int32), replace(config, views=1, seed=0), advance
    )
    new = [row for row, digest in enumerate(found.digests) if digest not in support]
    if not new:
        raise DataError(f"{val}: every image is one of the support images; give others")
    if len(new) < len(found.digests):
        shared = count_of(len(found.digests) - len(new), "image")
        say(f"{val}: {shared} of the support too (equal by sha256), left out of the validation")
    return found.take(new)


def _distinct(found: SupportImages, say: Say) -> SupportImages:
    """Each image of a class once: held out while its copy stays, it would be known by heart."""
    first: dict[tuple[bytes, int], int] = {}
    for row, item in enumerate(zip(found.digests, found.labels.tolist(), strict=True)):
        first.setdefault(item, row)
    rows = list(first.values())
    if len(rows) < len(found.digests):
        copies = count_of(len(found.digests) - len(rows), "support image")
        say(f"left out: {copies} that the same class has already (equal by sha256)")
    return found.take(rows)


def _embedded(
    engine: Engine, paths: Sequence[str], ids: NDArray[np.int32], config: FitConfig, advance: Advance
) -> SupportImages:
    workers = check_threads(config.threads)
    return embed_support(engine, paths, ids, views=config.views, seed=config.seed, workers=workers, advance=advance)


def _zero_shot(engine: Engine, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """o of Eq. 8 scaled so that Eq. 20's factor of 100 makes of it what the engine adds: logit scale * o."""
    return engine.stage_one(features) * np.float32(engine.logit_scale / ZERO_SHOT_SCALE)
