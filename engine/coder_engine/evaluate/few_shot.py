"""Few-shot methods on the same features and the same support sets (the paper's Figure 4), test labels kept out of it.

Parameters are chosen on validation images where there are any, else on held-out folds of the support, else they stay at
their published values. Test labels come in once, when the answers are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.evaluate.answers import ROUNDS, bootstrap, interval
from coder_engine.evaluate.blocks import by_blocks
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.methods import FEW_SHOT as TITLES
from coder_engine.evaluate.support import check_support
from coder_engine.evaluate.tip_x import class_means, search_tip_x
from coder_engine.fewshot import Form, Grid, Spectrum, Validation, search_adapter
from coder_engine.fewshot.affinity import NORMS, Norm
from coder_engine.fewshot.folds import Part, folds_of, validation_part

Array = NDArray[np.float32]
ZeroShot = Callable[[Array], Array]
"""Features [B, D] -> zero-shot cosines [B, C]."""

OF_TEXTS = ("tip-x", "coder-adapter", "spectral")
_FORMS = {
    "tip-adapter": Form(exponent=0.0, centre=False, ridge=0.0),
    "coder-adapter": Form(exponent=1.0, centre=False, ridge=0.0),
    "spectral": Form(),
}
_GIVE_TEXTS = "give --texts TEXTS.npz, or an engine exported with --keep-texts or --general-texts"
_GRID = Grid()
_FIXED = Grid(exponents=(), ridges=())  # the published methods have no other form to go to


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """One method at one number of shots.

    Attributes:
        method: its name in tables, and ``norm`` the Norm of Eq. 19; "" where it has none.
        shots: support images a class.
        by_seed: top-1 accuracy with each support set, 0 to 1.
        interval: 95 % bootstrap interval of their mean, over test images.
        chosen: the parameters for each support set, and what they were chosen on.
    """

    method: str
    norm: str
    shots: int
    by_seed: tuple[float, ...]
    interval: tuple[float, float]
    chosen: tuple[Mapping[str, Any], ...]

    @property
    def accuracy(self) -> float:
        """The mean over support sets."""
        return float(np.mean(self.by_seed))

    def short(self) -> str:
        """For a table cell: percent, with the standard deviation over support sets where there are several."""
        spread = f" ±{100 * np.std(self.by_seed, ddof=1):.1f}" if len(self.by_seed) > 1 else ""
        return f"{100 * self.accuracy:.1f}{spread}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "norm": self.norm,
            "shots": self.shots,
            "top1": self.accuracy,
            "by_seed": list(self.by_seed),
            "interval": list(self.interval),
            "chosen": [dict(one) for one in self.chosen],
        }


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the methods are measured on.

    Attributes:
        test: images to measure on.
        val: images to choose parameters on; None to use held-out support.
        supports: by shots, one support set a seed.
        texts: W, float32 [T, D]; None leaves out the methods that need it.
        zero_shot: the zero-shot term of Eq. 20; None leaves it out.
        classes: C.
    """

    test: Labelled
    val: Labelled | None
    supports: Mapping[int, Sequence[Labelled]]
    texts: Array | None
    zero_shot: ZeroShot | None
    classes: int

    @cached_property
    def test_cosines(self) -> Array | None:
        """The zero-shot term of the test images [B, C], the same for every method."""
        return None if self.zero_shot is None else self.zero_shot(self.test.features)

    @cached_property
    def val_cosines(self) -> Array | None:
        """The zero-shot term of the validation images [B, C]."""
        return None if self.zero_shot is None or self.val is None else self.zero_shot(self.val.features)

    @cached_property
    def spectra(self) -> Mapping[bool, Spectrum]:
        """Of the texts, without and with centring: the same for every support set."""
        if self.texts is None:
            raise DataError(f"general texts are needed; {_GIVE_TEXTS}")
        return {centre: Spectrum(self.texts, centre=centre) for centre in (False, True)}


def few_shot(
    methods: Sequence[str],
    task: Task,
    *,
    norms: Sequence[Norm] = NORMS,
    rounds: int = ROUNDS,
    seed: int = 0,
    advance: Callable[[str], object] = lambda _: None,
) -> list[FewShot]:
    """Every method, norm and number of shots.

    Args:
        methods: keys of ``TITLES``.
        task: the data.
        norms: of Eq. 19, for the methods that have one.
        rounds, seed: of the bootstrap.
        advance: told what is about to run.

    Raises:
        DataError: a method needs texts and there are none, or a support set does not fit the classes.
    """
    found = []
    for name in methods:
        if name in OF_TEXTS and task.texts is None:
            raise DataError(f"{TITLES[name]} needs general texts; {_GIVE_TEXTS}")
        for norm in norms if name in _FORMS else ("",):
            for shots, supports in task.supports.items():
                advance(f"{TITLES[name]}, {norm + ', ' if norm else ''}{count_of(shots, 'shot')}")
                found.append(_one(name, norm, shots, supports, task, rounds, seed))
    return found


def answers_with(name: str, norm: str, support: Labelled, task: Task) -> tuple[NDArray[np.int64], Mapping[str, Any]]:
    """The answers of one method with one support set, class ids [B], and its parameters. No test label is read."""
    check_support(support, task.classes, where="support")
    test = task.test.features
    if name == "nearest-mean":
        logits = test @ class_means(support.features, support.labels, task.classes).T
        chosen: Mapping[str, Any] = {"chosen_on": "nothing to choose"}
    elif name == "tip-x":
        logits, chosen = _tip_x(support, task)
    else:
        logits, chosen = _adapter(name, norm, support, task)
    return logits.argmax(axis=1), chosen


def _one(name: str, norm: str, shots: int, supports: Sequence[Labelled], task: Task, rounds: int, seed: int) -> FewShot:
    runs = [answers_with(name, norm, support, task) for support in supports]
    right = np.stack([answers == task.test.labels for answers, _ in runs]).astype(np.float64)
    top, _ = bootstrap(right.mean(axis=0, keepdims=True), task.test.labels, task.classes, rounds=rounds, seed=seed)
    return FewShot(
        method=TITLES[name],
        norm=norm,
        shots=shots,
        by_seed=tuple(right.mean(axis=1).tolist()),
        interval=interval(top[0]),
        chosen=tuple(chosen for _, chosen in runs),
    )


def _adapter(name: str, norm: str, support: Labelled, task: Task) -> tuple[Array, Mapping[str, Any]]:
    form = _FORMS[name]
    identity = np.eye(support.features.shape[1], dtype=np.float32)  # G^0, whatever the texts
    texts = task.spectra[form.centre] if name in OF_TEXTS else identity
    val = task.val
    validation = (
        None if val is None else Validation(features=val.features, labels=val.labels, zero_shot=task.val_cosines)
    )
    search = search_adapter(
        support.features,
        support.labels,
        texts,
        validation=validation,
        zero_shot=None if val is not None or task.zero_shot is None else task.zero_shot(support.features),
        norm=cast(Norm, norm),
        form=form,
        grid=_GRID if name == "spectral" else _FIXED,
        classes=task.classes,
    )
    adapter = search.adapter
    chosen = {
        "chosen_on": search.record["chosen_on"],
        "alpha": adapter.alpha,
        "beta": adapter.beta,
        "exponent": adapter.form.exponent,
        "ridge": adapter.form.ridge,
    }
    return by_blocks(adapter.logits, task.test.features, task.test_cosines), chosen


def _tip_x(support: Labelled, task: Task) -> tuple[Array, Mapping[str, Any]]:
    texts = task.texts
    if texts is None:
        raise DataError("TIP-X needs general texts; give --texts TEXTS.npz")
    parts = _parts(support, task)
    found = search_tip_x(support.features, support.labels, parts, texts, classes=task.classes)
    chosen_on = "validation" if task.val is not None else "folds" if parts else "defaults"
    chosen = {"chosen_on": chosen_on, "alpha": found.alpha, "beta": found.beta, "gamma": found.gamma}
    return by_blocks(found.logits, task.test.features, task.test_cosines), chosen


def _parts(support: Labelled, task: Task) -> list[Part]:
    """What parameters are chosen on, as for the adapters: validation images, else folds; none of single images."""
    ids = support.labels.astype(np.int32)
    if task.val is not None:
        val = Validation(features=task.val.features, labels=task.val.labels, zero_shot=task.val_cosines)
        return [validation_part(support.features, ids, val, task.classes)]
    cosines = None if task.zero_shot is None else task.zero_shot(support.features)
    return list(folds_of(support.features, ids, cosines))
