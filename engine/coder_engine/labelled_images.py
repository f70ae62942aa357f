"""Labelled images: a tree of class folders, or a csv of path and label, matched to the labels of an engine."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.images import SUFFIXES

_SHOWN = 5
_NEAR = 0.8  # by difflib: "airplanes" is, "car side" is not
_ACCENTS = re.compile("[\u0300-\u036f]")  # only these: the marks of other scripts tell letters apart


@dataclass(frozen=True, kw_only=True)
class LabelledPaths:
    """Images that were found, before any is read.

    Attributes:
        paths: of the images, in order.
        labels: their class ids.
        unmatched: folders or csv labels that no label matches, with how many images each has: they are left out.
        missing: labels that have no image.
        near: the label that an unmatched name is nearest to, for the first names and where one is near.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    unmatched: dict[str, int]
    missing: tuple[str, ...]
    near: dict[str, str]

    def notes(self) -> list[str]:
        """What a user should know, a line each."""
        lines = []
        if self.unmatched:
            verb, whose = ("matches", "its") if len(self.unmatched) == 1 else ("match", "their")
            images = sum(self.unmatched.values())
            left = f"{whose} {count_of(images, 'image')} {'is' if images == 1 else 'are'} left out"
            names = _names(self.unmatched, self.near)
            lines.append(f"{count_of(len(self.unmatched), 'name')} {verb} no label: {names}; {left}")
        if self.missing:
            verb = "has" if len(self.missing) == 1 else "have"
            lines.append(f"{count_of(len(self.missing), 'label')} {verb} no image: {_names(self.missing)}")
        return lines


def find_images(source: Path, labels: Sequence[str], *, by_order: bool = False) -> LabelledPaths:
    """The labelled images of a class-folder tree, or of a csv with the columns path and label.

    Args:
        source: the folder or the csv. Relative paths in a csv start at the csv's folder.
        labels: the C class names, in id order.
        by_order: the folders in sorted order are the labels in order, whatever their names, as torchvision's
            ImageFolder numbers them; but folders whose names are all numbers are sorted as numbers (2 before 10, which
            ImageFolder puts first).

    Raises:
        DataError: there is nothing there or it cannot be read, the names match none of the labels, a name could be
            either of two labels, or ``by_order`` finds another number of folders than there are labels.
    """
    with _readable(source):
        if source.is_dir():
            named = _folders(source)
            ids = _by_order(source, list(named), labels) if by_order else match_labels(list(named), labels)
        elif source.is_file() and by_order:
            raise DataError(f"{source}: --by-order numbers folders, and this is a file; name the labels in it")
        elif source.is_file():
            named = _csv(source)
            ids = match_labels(list(named), labels)
        else:
            raise DataError(f"{source}: no such folder or file; give class folders, a csv of path,label or an .npz")
    rows = [(path, ids[name]) for name, paths in named.items() if name in ids for path in paths]
    near = _near([name for name in named if name not in ids], labels)
    if not rows:
        tried = _names(named, near) or "no folder with images"
        by = " (coder-eval and coder-fit --by-order take folders in sorted order instead)" if source.is_dir() else ""
        raise DataError(f"{source}: no images of these labels; found {tried}; wanted names like {_names(labels)}{by}")
    seen = {label for _, label in rows}
    return LabelledPaths(
        paths=tuple(path for path, _ in rows),
        labels=tuple(label for _, label in rows),
        unmatched={name: len(paths) for name, paths in named.items() if name not in ids},
        missing=tuple(label for i, label in enumerate(labels) if i not in seen),
        near=near,
    )


def match_labels(names: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Name -> class id for the names that are a label, letter by letter or but for case, underscores and accents.

    Raises:
        DataError: labels that differ only so, where a name needs telling them apart.
    """
    exact = {label: i for i, label in enumerate(labels)}
    folded: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        folded.setdefault(fold(label), []).append(i)
    found = {}
    for name in names:
        ids = [exact[name]] if name in exact else folded.get(fold(name), [])
        if len(ids) > 1:
            alike = ", ".join(repr(labels[i]) for i in ids)
            raise DataError(f"{name!r} could be any of {alike}; name it exactly as one of them")
        if ids:
            found[name] = ids[0]
    return found


def fold(name: str) -> str:
    """A name without what spelling varies in: case, accents, underscores, hyphens, slashes and spaces."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", name))
    return re.sub(r"[\s_/'.-]+", "", plain.casefold())


def image_files(folder: Path) -> list[str]:
    """The images anywhere below ``folder``, hidden ones left out, in sorted order; none where it is no folder.

    Raises:
        DataError: a folder cannot be read; its images would be missed in silence.
    """
    found = []
    with _readable(folder):
        for where, names, files in os.walk(folder, onerror=_refuse) if folder.is_dir() else ():
            names[:] = [name for name in names if not name.startswith(".")]  # walk goes into those left
            found += [Path(where, name) for name in files if not name.startswith(".")]
        return [str(path) for path in sorted(found) if path.suffix.lower() in SUFFIXES and path.is_file()]


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """What the system refuses in this block is one DataError."""
    try:
        yield
    except OSError as err:
        raise DataError(f"{err.filename or source}: cannot be read ({err.strerror}); check who may read it") from err


def _refuse(err: OSError) -> None:
    raise err


def _folders(source: Path) -> dict[str, list[str]]:
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {path.name: image_files(path) for path in folders}
    return {name: paths for name, paths in found.items() if paths}


def _by_order(source: Path, names: list[str], labels: Sequence[str]) -> dict[str, int]:
    if len(names) != len(labels):
        raise DataError(f"{source}: --by-order wants a folder a label, {len(labels)}, got {len(names)} with images")
    if all(name.isdecimal() for name in names):
        names = sorted(names, key=int)
    return {name: i for i, name in enumerate(names)}


def _csv(source: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            for path, label in _csv_rows(stream, source):
                found.setdefault(label, []).append(str(source.parent / path))
    except (UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{source}: no csv of path,label in UTF-8 ({err})") from err
    return found


def _csv_rows(stream: Iterator[str], source: Path) -> Iterator[tuple[str, str]]:
    """(path, label) of each row; columns by name where there is a header, else the first two."""
    places = (0, 1)
    for number, row in enumerate(csv.reader(stream), 1):
        names = [cell.strip().lower() for cell in row]
        if number == 1 and {"path", "label"} <= set(names):
            places = (names.index("path"), names.index("label"))
        elif row:
            if len(row) <= max(places):
                raise DataError(f"{source}, line {number}: wanted path,label, got {','.join(row)!r}")
            yield row[places[0]].strip(), row[places[1]].strip()


def _near(names: Iterable[str], labels: Sequence[str]) -> dict[str, str]:
    """The label that each name is nearest to, of the first names, which are shown, and of those that are near one."""
    by_fold = {fold(label): label for label in labels}
    found = {name: get_close_matches(fold(name), by_fold, 1, _NEAR) for name in islice(names, _SHOWN)}
    return {name: by_fold[best[0]] for name, best in found.items() if best}


def _names(names: Collection[str], near: Mapping[str, str] | None = None) -> str:
    meant = {name: f" (did you mean {label!r}?)" for name, label in (near or {}).items()}
    shown = [f"{name!r}{meant.get(name, '')}" for name in islice(names, _SHOWN)]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
