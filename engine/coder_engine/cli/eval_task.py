"""The options of coder-eval -> opened data: images through an engine, or features from files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coder_engine.cli.engine_options import open_engine, weights_path
from coder_engine.cli.progress import counting, terminal
from coder_engine.engine import Engine
from coder_engine.errors import CoderError, DataError
from coder_engine.evaluate.blocks import by_blocks
from coder_engine.evaluate.cache import FeatureCache, features_folder
from coder_engine.evaluate.feature_file import FeatureFile, draw_texts, load_features, load_pool, load_texts, load_val
from coder_engine.evaluate.few_shot import Task, ZeroShot
from coder_engine.evaluate.images_source import ImageSource
from coder_engine.evaluate.labelled import Labelled, check_classes, check_width
from coder_engine.evaluate.support import sample_support
from coder_engine.fewshot.adapter import ZERO_SHOT_SCALE
from coder_engine.fit.run import general_texts
from coder_engine.head import Head
from coder_engine.machine.cpus import check_threads
from coder_engine.stream import Advance
from coder_engine.weights import Weights, load_weights


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Everything that is read, before anything is measured.

    Attributes:
        task: the features, with supports by shots; no supports where no shots were asked for.
        labels: the C class names.
        engine: one line about what made the features; empty where they came from a file.
        weights: the label set; None without an engine.
        class_features: float32 [C, D] of a features file; None where it has none.
        outside: images of no class, whose labels mean nothing; None where none were given.
        notes: what a user should know of the data, and ``failed`` (path, why) of images that could not be read.
        threads: CPU threads.
    """

    task: Task
    labels: tuple[str, ...]
    engine: str = ""
    weights: Weights | None = None
    class_features: NDArray[np.float32] | None = None
    outside: Labelled | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    threads: int = 1


def open_task(args: argparse.Namespace, say: Callable[[str], object]) -> Opened:
    """Read all that the options name.

    Raises:
        CoderError: something cannot be read, or does not fit together.
    """
    try:
        threads = check_threads(args.threads)
    except ValueError as err:
        raise CoderError(str(err)) from err
    with counting(terminal(quiet=args.quiet)) as advance:
        if args.features_only:
            return _features(args, threads, advance)
        return _images(args, threads, say, advance)


def _images(args: argparse.Namespace, threads: int, say: Callable[[str], object], advance: Advance) -> Opened:
    engine, weights = open_engine(args), load_weights(weights_path(args))
    say(engine.description)
    source = _image_source(args, engine, weights, threads, advance)
    texts = _texts(args, weights)
    if texts is not None and args.texts is not None:
        check_width(texts, weights.width, where=str(args.texts), other=str(weights.path))
    test = source.labelled(args.data)
    val = source.labelled(args.val) if args.val is not None else None
    supports = source.supports(args.support, list(args.shots), args.seeds) if args.shots else {}
    return Opened(
        task=Task(
            test=test,
            val=val,
            supports=supports,
            texts=texts,
            zero_shot=None if args.no_zero_shot else _stage_one(weights, threads),
            classes=len(engine.labels),
        ),
        labels=engine.labels,
        engine=engine.description,
        weights=weights,
        outside=source.unlabelled(args.unknown_from) if args.unknown_from is not None else None,
        notes=source.notes,
        failed=source.failed,
        threads=threads,
    )


def _features(args: argparse.Namespace, threads: int, advance: Advance) -> Opened:
    file = load_features(args.data)
    weights, outside, notes, failed = None, None, list[str](), list[tuple[str, str]]()
    if args.unknown_from is not None:
        engine, weights = open_engine(args), load_weights(weights_path(args))
        source = _image_source(args, engine, weights, threads, advance)
        outside, notes, failed = source.unlabelled(args.unknown_from), source.notes, source.failed
    elif args.weights is not None or args.engine is not None:
        weights = load_weights(weights_path(args))
    if weights is not None:
        check_width(file.test.features, weights.width, where=str(args.data), other=str(weights.path))
    val = file.val if args.val is None else load_val(args.val)
    pool = None if args.support is None else load_pool(args.support)
    named = ((args.val, val), (args.support, pool))
    others = [(path, one) for path, one in named if path is not None and one is not None]
    classes = _classes(args, file, weights, others)
    supports, val = _supports_of(args, file, val, pool, classes)
    if args.seeds > 1 and args.support is None and file.supports:
        notes.append(f"{args.data}: has one support set a number of shots; --seeds draws more from --support alone")
    zero_shot = _stage_one(weights, threads) if weights is not None else _cosines(file.class_features)
    texts = _texts(args, weights)
    if texts is not None and args.texts is not None:
        check_width(texts, file.test.features.shape[1], where=str(args.texts), other=str(args.data))
    return Opened(
        task=Task(
            test=file.test,
            val=val,
            supports=supports,
            texts=texts,
            zero_shot=None if args.no_zero_shot else zero_shot,
            classes=classes,
        ),
        labels=weights.meta.labels if weights is not None else tuple(map(str, range(classes))),
        engine="" if weights is None else f"{weights.meta.model} ({weights.meta.pretrained}), features from a file",
        weights=weights,
        class_features=file.class_features,
        outside=outside,
        notes=notes,
        failed=failed,
        threads=threads,
    )


def _classes(
    args: argparse.Namespace, file: FeatureFile, weights: Weights | None, others: list[tuple[Path, Labelled]]
) -> int:
    """C: of the weight file, or of the data's own text features; else all that any of the files has images of.

    Raises:
        DataError: a file is of another width, or has a class that is none of them.
    """
    if weights is not None:
        classes = len(weights.meta.labels)
    elif file.class_features is not None:
        classes = file.classes
    else:
        classes = max([file.classes, *(int(one.labels.max()) + 1 for _, one in others)])
    check_classes(file.test, classes, where=str(args.data))
    for path, one in others:
        check_width(one.features, file.test.features.shape[1], where=str(path), other=str(args.data))
        check_classes(one, classes, where=str(path))
    return classes


def _supports_of(
    args: argparse.Namespace, file: FeatureFile, val: Labelled | None, pool: Labelled | None, classes: int
) -> tuple[dict[int, list[Labelled]], Labelled | None]:
    """Support sets and validation images: the file's own, else drawn from --support, else from the file's val split.

    Args:
        val: the validation images, from which those that become support are taken out.
        pool: the images of --support; None without it.
    """
    if args.support is None and (file.supports or not args.shots):
        if missing := [m for m in args.shots if m not in file.supports]:
            has = ", ".join(map(str, file.supports))
            raise DataError(f"{args.data}: no array support{missing[0]}_features; it has supports of {has} shots")
        return {m: [file.supports[m]] for m in args.shots or file.supports}, val
    names = [str(i) for i in range(classes)]
    pool = file.val if pool is None else pool
    if pool is None:
        raise DataError(f"{args.data}: no support{{M}} arrays and no val split to draw from; give --support FILE.npz")
    drawn = {m: [sample_support(pool.labels, names, m, seed=seed) for seed in range(args.seeds)] for m in args.shots}
    if pool is val:  # what is support cannot choose
        used = {row for sets in drawn.values() for own in sets for row in own}
        rest = np.array([row for row in range(len(pool)) if row not in used], np.int64)
        val = pool.take(rest) if len(rest) else None
    return {m: [pool.take(np.array(own, np.int64)) for own in sets] for m, sets in drawn.items()}, val


def _image_source(
    args: argparse.Namespace, engine: Engine, weights: Weights, threads: int, advance: Advance
) -> ImageSource:
    folder = None if args.no_cache else features_folder(engine, weights)
    cache = FeatureCache(folder)
    if folder is None and not args.no_cache:
        cache.notes.append("features are not kept: no cache folder can be written; XDG_CACHE_HOME names another")
    return ImageSource(engine, cache, by_order=args.by_order, workers=threads, advance=advance)


def _texts(args: argparse.Namespace, weights: Weights | None) -> NDArray[np.float32] | None:
    """The general texts W: of --texts, else all of the weight file, as coder-fit has them; ``--text-count`` of them."""
    if args.texts is not None:
        return load_texts(args.texts, count=args.text_count, seed=args.seed)
    lacks = weights is None or (weights.texts is None and weights.generic_texts is None)
    own = None if weights is None or lacks else general_texts(weights)
    if args.text_count is None:
        return own
    if weights is None or own is None:
        raise DataError(
            f"--text-count {args.text_count}: there are no general texts to draw from; give --texts TEXTS.npz, or an "
            "engine exported with --keep-texts or --general-texts"
        )
    return draw_texts(own, args.text_count, seed=args.seed, where=str(weights.path))


def _stage_one(weights: Weights, threads: int) -> ZeroShot:
    """o of Eq. 8 in the place of the zero-shot cosines, so that Eq. 20's 100 becomes the model's logit scale."""
    head = Head(weights, threads=threads)
    factor = np.float32(weights.meta.logit_scale / ZERO_SHOT_SCALE)
    return partial(by_blocks, lambda features: factor * head.rank(features, rerank=False).logits)


def _cosines(class_features: NDArray[np.float32] | None) -> ZeroShot | None:
    return None if class_features is None else lambda features: features @ class_features.T
