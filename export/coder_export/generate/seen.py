"""Stage 1 on a user's own unlabelled images, in torch: which five classes come first on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coder_engine.cli.inputs import Inputs
from coder_engine.errors import CoderError, ImageError, TextsError
from coder_engine.head import CANDIDATES
from coder_engine.images import read_rgb
from coder_engine.machine.cpus import usable_cpus
from coder_engine.stream import decode_ahead
from coder_export.collapse import GeneralRows, stage_one
from coder_export.engine_graph import EngineGraph
from coder_export.model import ClipModel
from coder_export.report import Report

_BATCH = 32


def check_folder(folder: Path) -> None:
    """Refuse what has no images, as soon as its first one would be found.

    Raises:
        TextsError: ``folder`` is none, or has no image.
    """
    if not folder.is_dir():
        raise TextsError(f"--pairs seen:{folder}: no such folder; give one with images of the kind you will classify")
    try:
        if any(isinstance(item, str) for item in Inputs([str(folder)], recursive=True)):
            return
    except CoderError as err:
        raise TextsError(f"--pairs seen:{folder}: {err}") from err
    raise TextsError(f"--pairs seen:{folder}: no folder in it can be read; make one readable for this user")


def candidates(folder: Path, clip: ClipModel, rows: GeneralRows, report: Report) -> NDArray[np.int64]:
    """The first five classes [N, k] of every readable image in ``folder`` and below.

    Raises:
        TextsError: ``folder`` is none, or has no readable image.
    """
    check_folder(folder)
    paths = _paths(folder, report)
    graph = EngineGraph(clip).eval()
    bank = torch.from_numpy(rows.bank)
    found, faults = [], 0
    with report.progress("images", len(paths)) as advance, torch.inference_mode():
        for batch, bad in _batches(paths, clip):
            faults += bad
            if batch:
                coder = graph(torch.from_numpy(np.stack(batch)), bank)[1].numpy()
                found.append(_first(stage_one(coder, rows)))
            advance(len(batch) + bad)
    if faults:
        report.say(f"  {faults:,} of {len(paths):,} images cannot be read and were left out")
    if not found:
        raise TextsError(f"--pairs seen:{folder}: no readable image in it")
    return np.concatenate(found)


def _paths(folder: Path, report: Report) -> list[str]:
    items = list(Inputs([str(folder)], recursive=True))
    for item in items:
        if not isinstance(item, str) and item.error is not None:
            report.say(f"  {item.error.message}")
    return [item for item in items if isinstance(item, str)]


def _batches(paths: list[str], clip: ClipModel) -> Iterator[tuple[list[NDArray[np.uint8]], int]]:
    """Pixels of up to ``_BATCH`` images, and how many of them could not be read."""

    def decode(path: str) -> NDArray[np.uint8] | None:
        try:
            return clip.preprocess(read_rgb(path))
        except ImageError:
            return None

    batch: list[NDArray[np.uint8]] = []
    bad = 0
    for _, pixels in decode_ahead(paths, decode, workers=usable_cpus(), ahead=2 * _BATCH):
        if pixels is None:
            bad += 1
        else:
            batch.append(pixels)
        if len(batch) + bad == _BATCH:
            yield batch, bad
            batch, bad = [], 0
    yield batch, bad


def _first(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-logits, axis=1, kind="stable")[:, :CANDIDATES]
