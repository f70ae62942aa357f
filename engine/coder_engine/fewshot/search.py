"""alpha, beta, T, p and r, chosen on validation images or on held-out folds of the support. Never on test images.

One of alpha, beta and T is free: exp(-beta (1 - n/T)) is exp(beta/T - beta) exp(-beta/T (1 - n)), and the first factor
belongs to alpha. So the default grid leaves T at 1; it loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coder_engine.fewshot.adapter import ALPHA, BETA, TEMPERATURE, ZERO_SHOT_SCALE, CoderAdapter
from coder_engine.fewshot.affinity import Norm, affinity, class_sums
from coder_engine.fewshot.arrays import check_features, check_labels
from coder_engine.fewshot.folds import Part, Validation, check_cosines, folds_of, validation_part
from coder_engine.fewshot.spectrum import Form, Spectrum

ENOUGH_IMAGES = 200
"""With fewer images to choose on, p and r keep their defaults: two forms then differ by less than chance."""

BETAS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Coarse on purpose: neighbours on a finer grid differ by less than a validation split can tell. What a finer one
gives, and that this one was taken with test results in sight, is in docs/evidence.md."""

BETAS_L2 = (*BETAS, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0)
"""Where min-max spreads each image's affinities from 0 to 1, l2 leaves cosines as they are, and those of the paper's
form, which is not centred, may all be above 0.98: a beta of 40 hardly tells them apart."""

_CELLS_A_BLOCK = 1 << 22
"""Affinities [B, NM] held at once: 16 MB of them."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values tried. ``exponents`` and ``ridges`` are tried one at a time around the form asked for.

    Without ``betas`` they are those of the norm, ``BETAS`` or ``BETAS_L2``.
    """

    alphas: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    betas: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = (TEMPERATURE,)
    exponents: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    ridges: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)

    def __post_init__(self) -> None:
        for name in ("alphas", "betas", "temperatures"):
            values = getattr(self, name)
            if not (values or name == "betas") or not all(0 < value < np.inf for value in values):
                raise ValueError(f"grid: {name} must be one or more numbers above 0, got {values}")


@dataclass(frozen=True, kw_only=True)
class Search:
    """The adapter with the chosen parameters, and how they were chosen: plain values, for JSON.

    ``record`` has ``chosen_on`` ("validation", "folds" or "defaults"), ``images``, ``folds``, ``accuracy``, ``grid``,
    and ``forms``: each form tried, its best accuracy and that of every candidate, [alphas][betas][temperatures]. Where
    zero-shot cosines were given, also ``zero_shot_accuracy``, and how many images the adapter turned ``better`` (right
    with it alone) and ``worse`` (right without it alone).
    """

    adapter: CoderAdapter
    record: dict[str, Any]


@dataclass(frozen=True)
class _Tried:
    """One form: the right answers of every candidate [alphas, betas, temperatures], of ``images``.

    ``better`` are those that zero-shot cosines alone get wrong.
    """

    form: Form
    right: NDArray[np.int64]
    images: int
    better: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return float(self.right.max() / self.images)


def search_adapter(
    support: ArrayLike,
    labels: ArrayLike,
    texts: ArrayLike | Spectrum,
    *,
    validation: Validation | None = None,
    zero_shot: ArrayLike | None = None,
    seen: ArrayLike | None = None,
    norm: Norm = "minmax",
    form: Form | None = None,
    grid: Grid | None = None,
    classes: int | None = None,
) -> Search:
    """Fit an adapter with the parameters that do best on images it has not seen. Same input, same result.

    Without ``validation`` the j-th image of a class is held out in fold j mod k, k the most images a class has and at
    most 5, copies together; a class with one image is never held out. With one image in every class there is nothing
    to hold out, and the defaults are kept. Of equal candidates the one nearest to the defaults is taken. p and r leave
    the form asked for only where there are at least 200 images to choose on and the gain is above its standard error.

    Args:
        support, labels, texts, norm, classes: as in :meth:`CoderAdapter.fit`.
        validation: see :class:`Validation`.
        zero_shot: cosines [NM, C] of the support images, for the folds; not used with ``validation``.
        seen: the support images as a prediction would see them, floats [NM, D], unit length, for the folds: where
            ``support`` are means over several views, what is held out has one. None takes ``support``.
        form: where the search of p and r starts; the default is the spectral form.
        grid: the values tried.

    Raises:
        ValueError: an argument is not as above.
    """
    form, grid = form or Form(), grid or Grid()
    grid = replace(grid, betas=grid.betas or (BETAS_L2 if norm == "l2" else BETAS))
    rows = check_features(support, "support")
    ids = check_labels(labels, "labels", count=len(rows), classes=classes)
    classes = int(ids.max()) + 1 if classes is None else classes
    spectrum = texts if isinstance(texts, Spectrum) else Spectrum(texts, centre=form.centre)
    first = CoderAdapter.fit(rows, ids, spectrum, norm=norm, classes=classes, **asdict(form))
    parts = _parts(rows, ids, validation, zero_shot, seen, classes)
    if not parts:
        return _with_record(first, {"chosen_on": "defaults", "images": 0, "folds": 0})
    if parts[0].zero_shot is None:  # the order of the classes is then the same for every alpha
        grid = replace(grid, alphas=(ALPHA,))
    found = _try_forms(first, parts, spectrum, grid)
    best = _best(found)
    a, b, t = place = _nearest_to_defaults(best.right, grid)
    adapter = replace(
        CoderAdapter.fit(rows, ids, spectrum, norm=norm, classes=classes, **asdict(best.form)),
        alpha=grid.alphas[a],
        beta=grid.betas[b],
        temperature=grid.temperatures[t],
    )
    record = {**_record(found, best, grid), **_against_zero_shot(best, place, parts)}
    chosen_on, folds = ("folds", len(parts)) if validation is None else ("validation", 0)
    return _with_record(adapter, {"chosen_on": chosen_on, "folds": folds, **record})


def _parts(
    rows: NDArray[Any],
    ids: NDArray[np.int32],
    validation: Validation | None,
    zero_shot: ArrayLike | None,
    seen: ArrayLike | None,
    classes: int,
) -> list[Part]:
    """What the parameters are chosen on; nothing where no class has several images."""
    if validation is not None:
        return [validation_part(rows, ids, validation, classes)]
    cosines = None if zero_shot is None else check_cosines(zero_shot, len(rows), classes)
    held = None if seen is None else check_features(seen, "seen", width=rows.shape[1])
    if held is not None and len(held) != len(rows):
        raise ValueError(f"seen must have a row for each support image, {len(rows)}, got {len(held)}")
    return list(folds_of(rows, ids, cosines, held))


def _try_forms(first: CoderAdapter, parts: Sequence[Part], spectrum: Spectrum, grid: Grid) -> list[_Tried]:
    """The form of ``first``, and where there are enough images to choose on those around it."""
    images = sum(len(part.labels) for part in parts)
    forms = [first.form, *(_around(first.form, grid) if images >= ENOUGH_IMAGES else ())]
    found = []
    for form in forms:
        counts = [_right(_refit(first, part, spectrum, form), part, grid) for part in parts]
        right, better = np.sum(counts, axis=0)
        found.append(_Tried(form, right, images, better))
    return found


def _against_zero_shot(best: _Tried, place: tuple[int, int, int], parts: Sequence[Part]) -> dict[str, Any]:
    """For the record: what the texts alone get right, and how many images only the adapter, or only they, do."""
    if parts[0].zero_shot is None:
        return {}
    alone = sum(int(_zero_shot_right(part).sum()) for part in parts)
    better = int(best.better[place])
    both = int(best.right[place]) - better
    return {"zero_shot_accuracy": round(alone / best.images, 4), "better": better, "worse": alone - both}


def _right(adapter: CoderAdapter, part: Part, grid: Grid) -> NDArray[np.int64]:
    """Right answers of each candidate, and those among them that zero-shot cosines alone get wrong.

    int64 [2, alphas, betas, temperatures]; the affinities are computed once.
    """
    right = np.zeros((2, len(grid.alphas), len(grid.betas), len(grid.temperatures)), np.int64)
    alone = _zero_shot_right(part)
    rows = max(1, _CELLS_A_BLOCK // len(adapter.labels))
    for start in range(0, len(part.labels), rows):
        block = slice(start, start + rows)
        closeness = adapter.closeness(part.features[block])
        wanted = part.labels[block]
        cosines = None if part.zero_shot is None else np.float32(ZERO_SHOT_SCALE) * part.zero_shot[block]
        for (b, beta), (t, temperature) in product(enumerate(grid.betas), enumerate(grid.temperatures)):
            sums = class_sums(affinity(closeness, beta, temperature), adapter.labels, adapter.classes)
            for a, alpha in enumerate(grid.alphas):
                logits = sums if cosines is None else np.float32(alpha) * sums + cosines
                hits = logits.argmax(axis=1) == wanted
                right[:, a, b, t] += hits.sum(), (hits & ~alone[block]).sum()
    return right


def _zero_shot_right(part: Part) -> NDArray[np.bool_]:
    """By image; all False where there are no cosines."""
    none = np.zeros(len(part.labels), np.bool_)
    return none if part.zero_shot is None else np.asarray(part.zero_shot.argmax(axis=1) == part.labels)


def _refit(adapter: CoderAdapter, part: Part, spectrum: Spectrum, form: Form) -> CoderAdapter:
    return CoderAdapter.fit(
        part.support, part.support_labels, spectrum, norm=adapter.norm, classes=adapter.classes, **asdict(form)
    )


def _around(form: Form, grid: Grid) -> list[Form]:
    exponents = [replace(form, exponent=exponent) for exponent in grid.exponents]
    ridges = [replace(form, ridge=ridge) for ridge in grid.ridges]
    return [candidate for candidate in exponents + ridges if candidate != form]


def _best(found: Sequence[_Tried]) -> _Tried:
    """The first form, unless another is better by more than the standard error of its accuracy."""
    first, best = found[0], max(found, key=lambda one: one.accuracy)
    error = np.sqrt(first.accuracy * (1 - first.accuracy) / first.images)
    return best if best.accuracy > first.accuracy + error else first


def _nearest_to_defaults(right: NDArray[np.int64], grid: Grid) -> tuple[int, int, int]:
    """Of the candidates with the most right answers: its places on the grid's axes."""
    axes = ((grid.alphas, ALPHA), (grid.betas, BETA), (grid.temperatures, TEMPERATURE))
    far = [np.abs(np.log(np.asarray(values) / default)) for values, default in axes]
    distance = far[0][:, None, None] + far[1][:, None] + far[2]
    best = np.where(right == right.max(), distance, np.inf)
    a, b, t = map(int, np.unravel_index(best.argmin(), best.shape))
    return a, b, t


def _record(found: Sequence[_Tried], best: _Tried, grid: Grid) -> dict[str, Any]:
    forms = []
    for one in found:
        candidates = (one.right / one.images).round(4).tolist()
        forms.append({**asdict(one.form), "accuracy": round(one.accuracy, 4), "candidates": candidates})
    return {"images": best.images, "accuracy": round(best.accuracy, 4), "grid": asdict(grid), "forms": forms}


def _with_record(adapter: CoderAdapter, record: dict[str, Any]) -> Search:
    return Search(adapter=replace(adapter, search=record), record=record)
