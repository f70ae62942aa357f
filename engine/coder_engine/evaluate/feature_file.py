"""Feature files: what somebody computed elsewhere, as .npz, without images and without an engine.

{val,test}_features [B, D], {val,test}_labels [B]     the splits; plain features and labels are the test split
support{M}_features [C * M, D], support{M}_labels     the support set of M shots, for any number of M
class_features [C, D]                                 a text feature a class, for the zero-shot term
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import DataError
from coder_engine.evaluate.labelled import Labelled, check_classes, check_width, labelled, unit_rows
from coder_engine.evaluate.support import check_support

_SUPPORT = re.compile(r"support(\d+)_features")
_LAYOUT = "{val,test}_features and _labels, support{M}_features and _labels, or features and labels"
_TEXTS = (
    "text features by the engine's model, float arrays [*, D]; texts in words go to coder-export --general-texts, "
    "which keeps their features in the weight file"
)


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """A feature file, open and checked; every array is of the same width and the same C classes.

    Attributes:
        test: the images to measure on.
        val: the images to choose parameters on; None where the file has none.
        supports: support sets by shots.
        class_features: float32 [C, D], unit length; None where the file has none.
        classes: C.
    """

    test: Labelled
    val: Labelled | None = None
    supports: Mapping[int, Labelled] = field(default_factory=dict)
    class_features: NDArray[np.float32] | None = None
    classes: int


def load_features(path: Path) -> FeatureFile:
    """Open a feature file.

    Raises:
        DataError: it is missing, no .npz, holds pickled objects, lacks an array, or its arrays do not fit together.
    """
    arrays = read_npz(path)
    plain = "features" in arrays
    test = _split(path, arrays, "" if plain else "test_")
    val = _split(path, arrays, "val_") if "val_features" in arrays else None
    shots = sorted(int(match.group(1)) for name in arrays if (match := _SUPPORT.fullmatch(name)))
    supports = {m: _split(path, arrays, f"support{m}_") for m in shots}
    texts = arrays.get("class_features")
    class_features = None if texts is None else unit_rows(texts, where=f"{path}: class_features")
    everything = [test, *([] if val is None else [val]), *supports.values()]
    classes = max(int(one.labels.max()) for one in everything) + 1 if texts is None else len(texts)
    found = FeatureFile(test=test, val=val, supports=supports, class_features=class_features, classes=classes)
    _check_together(path, found)
    return found


def load_val(path: Path) -> Labelled:
    """The images of a feature file that may choose parameters: its val split, else its plain features.

    Raises:
        DataError: as in :func:`load_features`, or it has neither; a test split chooses nothing.
    """
    arrays = read_npz(path)
    if "val_features" in arrays:
        return _split(path, arrays, "val_")
    _refuse_test_alone(path, arrays, "nothing is chosen on a test split: give --val a file with val_features, or one")
    return _split(path, arrays, "")


def load_pool(path: Path) -> Labelled:
    """The images of a feature file that support is drawn from: its plain features.

    Raises:
        DataError: as in :func:`load_features`, or it has splits alone; a test split is no support.
    """
    arrays = read_npz(path)
    use = "a test split is no support: its support{M}_ arrays are read where it is DATA itself, with --shots and "
    _refuse_test_alone(path, arrays, f"{use}without --support; else give --support a file")
    return _split(path, arrays, "")


def load_texts(path: Path, *, count: int | None = None, seed: int = 0) -> NDArray[np.float32]:
    """The general texts W of a file of text features, float32 [T, D]: every float array [*, D] in it, in its order.

    Args:
        path: an .npz.
        count: take only so many of them, drawn at random with ``seed``.

    Raises:
        DataError: as in :func:`load_features`, or there are fewer than ``count`` texts.
    """
    arrays = {name: array for name, array in read_npz(path, wanted=_TEXTS).items() if array.dtype.kind == "f"}
    if not arrays or len({array.shape[1:] for array in arrays.values()}) > 1:
        got = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "no float array"
        raise DataError(f"{path}: wanted text features as float arrays [*, D] of one width, got {got}")
    texts = np.concatenate([unit_rows(array, where=f"{path}: {name}") for name, array in arrays.items()])
    return texts if count is None else draw_texts(texts, count, seed=seed, where=str(path))


def draw_texts(texts: NDArray[np.float32], count: int, *, seed: int, where: str) -> NDArray[np.float32]:
    """``count`` of the texts [T, D], drawn at random with ``seed``, in their order.

    Raises:
        DataError: there are fewer; ``where`` is what to call them.
    """
    if not 1 <= count <= len(texts):
        raise DataError(f"{where} has {len(texts):,} texts, cannot take {count:,}; ask for at most that many")
    return texts[np.sort(np.random.default_rng(seed).permutation(len(texts))[:count])]


def read_npz(path: Path, *, wanted: str = f"features ({_LAYOUT})") -> dict[str, NDArray[Any]]:
    """All arrays of an .npz; nothing in it is ever unpickled. ``wanted`` is what it should hold, in words.

    Raises:
        DataError: it is missing or cannot be read, is no .npz, truncated, or holds an array of objects.
    """
    try:
        with path.open("rb") as stream:
            whole = zipfile.is_zipfile(stream)
    except FileNotFoundError as err:
        raise DataError(f"{path}: no such file") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); wanted an .npz file") from err
    if not whole:
        raise DataError(f"{path}: no whole .npz file; save one with numpy.savez, of {wanted}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as err:  # zipfile, zlib, NumPy and Python's own tokenizer each have theirs for a damaged file
        if "allow_pickle" in str(err):
            raise DataError(
                f"{path}: holds pickled objects, which could run code and are never loaded; "
                "save plain numeric arrays with numpy.savez"
            ) from err
        raise DataError(f"{path}: no whole .npz file ({err}); save it again with numpy.savez") from err
    if foreign := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{path}: holds {foreign[0]!r}, which is no array; save plain arrays with numpy.savez")
    return arrays


def _refuse_test_alone(path: Path, arrays: Mapping[str, NDArray[Any]], use: str) -> None:
    if "features" not in arrays and any(name.startswith("test_") for name in arrays):
        raise DataError(f"{path}: has test_ arrays and no plain features, and {use} of plain features and labels")


def _split(path: Path, arrays: Mapping[str, NDArray[Any]], prefix: str) -> Labelled:
    for name in (f"{prefix}features", f"{prefix}labels"):
        if name not in arrays:
            raise DataError(f"{path}: no array {name!r}, got {', '.join(arrays) or 'none'}; wanted {_LAYOUT}")
    where = f"{path}: {prefix.rstrip('_') or 'plain'}"
    return labelled(arrays[f"{prefix}features"], arrays[f"{prefix}labels"], where=where)


def _check_together(path: Path, found: FeatureFile) -> None:
    width = found.test.features.shape[1]
    named = {"test": found.test, "val": found.val, **{f"support{m}": one for m, one in found.supports.items()}}
    for name, one in named.items():
        if one is not None:
            check_width(one.features, width, where=f"{path}: {name}", other="the test split")
            check_classes(one, found.classes, where=f"{path}: {name}")
    if found.class_features is not None:
        check_width(found.class_features, width, where=f"{path}: class_features", other="the test split")
    for shots, support in found.supports.items():
        check_support(support, found.classes, where=f"{path}: support{shots}", shots=shots)
