"""Command-line arguments -> image paths: files, folders, patterns and lists on standard input."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from coder_engine.cli.path_list import Pause, paths_of
from coder_engine.cli.patterns import matches
from coder_engine.errors import CoderError
from coder_engine.images import SUFFIXES
from coder_engine.prediction import Fault, Prediction

Kind = Literal["file", "folder", "pattern", "list"]

Item = str | Prediction
"""A path to predict, or a row that has failed already."""


class Inputs:
    """The images that the arguments of a command stand for: argument by argument, each in order of its bytes.

    A folder gives the files with a known image suffix, so does a pattern unless it spells a suffix. A file
    named outright is taken whatever its suffix. Hidden files are left out. Only names are held, of one folder
    at a time.

    Args:
        arguments: paths, patterns, or "-" for a list of paths on ``stdin``.
        recursive: go into sub-folders; never through links to folders, which may lead in circles.
        stdin: the file descriptor where "-" reads.
        null: the list on ``stdin`` is separated by NUL characters, not by lines.

    Attributes:
        skipped: what was left out, by suffix ("" for none) or by one of the words of :meth:`left_out`.
        total: how many images there are, once that is known; None before, and for endless sources.

    Raises:
        CoderError: an argument leads nowhere.
    """

    def __init__(
        self, arguments: Sequence[str], *, recursive: bool = False, stdin: int = 0, null: bool = False
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.total: int | None = None
        self._recursive = recursive
        self._stdin = stdin
        self._null = null
        self._arguments = [(argument, _kind(argument)) for argument in arguments]

    def __iter__(self) -> Iterator[Item]:
        """Paths as they are found; a sub-folder that cannot be read is a row with an error.

        Raises:
            CoderError: there was no image at all.
        """
        return (item for item in self.with_pauses() if not isinstance(item, Pause))

    def with_pauses(self) -> Iterator[Item | Pause]:
        """The same, and a Pause wherever standard input has nothing more for the moment.

        Raises:
            CoderError: there was no image at all.
        """
        found, countable = 0, True
        for n, (argument, kind) in enumerate(self._arguments, 1):
            items = self._expand(argument, kind)
            if isinstance(items, list):
                if countable and n == len(self._arguments):
                    self.total = found + len(items)
            else:
                countable = False
            for item in items:
                found += not isinstance(item, Pause)
                yield item
        if not found:
            raise CoderError(self._nothing())

    @property
    def listed(self) -> bool:
        """Whether every path is there for the looking; False where they come from standard input."""
        return all(kind != "list" for _, kind in self._arguments)

    def left_out(self) -> str:
        """What was skipped, in words; empty if nothing was."""
        words = {
            "": "without a suffix",
            "hidden": "hidden",
            "special": "special files",
            "linked": "links to folders",
            "folder": "sub-folders (--recursive goes into them)",
        }
        return ", ".join(f"{count:,} {words.get(key, key)}" for key, count in self.skipped.most_common())

    def _nothing(self) -> str:
        if not self.listed:
            return "no path came on standard input; wanted one a line (--null: separated by NUL)"
        names = ", ".join(argument for argument, _ in self._arguments)
        looked = " ".join(sorted(SUFFIXES))
        skipped = f"; skipped {self.left_out()}" if self.skipped else ""
        return f"no images in {names}: looked for {looked}{skipped}"

    def _expand(self, argument: str, kind: Kind) -> Iterable[Item | Pause]:
        if kind == "file":
            return [argument]
        if kind == "list":
            return paths_of(self._stdin, self._null)
        if kind == "pattern":
            return self._matches(argument)
        return self._walk(argument) if self._recursive else [item for item, _ in self._scan(argument)]

    def _matches(self, pattern: str) -> list[Item]:
        suffix = os.path.splitext(pattern)[1]  # noqa: PTH122 - paths stay the strings the user wrote
        any_suffix = bool(suffix) and not glob.has_magic(suffix)
        found = sorted(set(matches(pattern)), key=os.fsencode)
        return [path for path in found if (any_suffix or self._wanted(path)) and not self._is_special(path)]

    def _is_special(self, path: str) -> bool:
        """A pipe or a device, which may wait for ever; named outright it is read. What is gone fails as an image."""
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except OSError:
            return False
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return False
        self.skipped["special"] += 1
        return True

    def _wanted(self, path: str) -> bool:
        suffix = _suffix(path)
        if suffix in SUFFIXES:
            return True
        if not os.path.isdir(path):  # noqa: PTH112
            self.skipped[suffix] += 1
        return False

    def _walk(self, top: str) -> Iterator[Item]:
        stack = [iter(self._scan(top))]
        while stack:
            item, is_folder = next(stack[-1], (None, False))
            if item is None:
                stack.pop()
            elif is_folder:
                stack.append(iter(self._scan(str(item))))
            else:
                yield item

    def _scan(self, folder: str) -> list[tuple[Item, bool]]:
        """(path, whether it is a folder) of what is wanted in one folder, without asking about each file."""
        try:
            with os.scandir(folder) as entries:
                pairs = [(entry.path, self._kept(entry)) for entry in entries]
        except OSError as err:
            message = f"{folder}: the folder cannot be read ({err.strerror}); make it readable for this user"
            return [(_failed(folder, message), False)]
        # with its slash a folder sorts where its files belong
        pairs.sort(key=lambda pair: os.fsencode(pair[0]) + b"/" * bool(pair[1]))
        return [(path, is_folder) for path, is_folder in pairs if is_folder is not None]

    def _kept(self, entry: os.DirEntry[str]) -> bool | None:
        """As :meth:`_keep`; what cannot be looked at counts by its suffix, and fails as an image where it has one's."""
        try:
            return self._keep(entry)
        except OSError:
            suffix = _suffix(entry.name)
            if suffix in SUFFIXES:
                return False
            self.skipped[suffix] += 1
            return None

    def _keep(self, entry: os.DirEntry[str]) -> bool | None:
        """True for a folder to enter, False for an image, None for what is skipped, which is counted."""
        is_folder = entry.is_dir(follow_symlinks=False)
        suffix = _suffix(entry.name)
        if entry.name.startswith("."):
            self.skipped["hidden"] += 1
        elif is_folder and self._recursive:
            return True
        elif is_folder:
            self.skipped["folder"] += 1
        elif entry.is_symlink() and entry.is_dir():
            self.skipped["linked"] += 1
        elif not (entry.is_file() or entry.is_symlink()):
            self.skipped["special"] += 1
        elif suffix in SUFFIXES:
            return False
        else:
            self.skipped[suffix] += 1
        return None


def _kind(argument: str) -> Kind:
    """What an argument is. An image file that is gone is a row that fails; anything else ends the command."""
    if argument == "-":
        return "list"
    try:
        mode = os.stat(argument).st_mode  # noqa: PTH116
    except (OSError, ValueError) as err:
        if glob.has_magic(argument):
            return _pattern(argument)
        if _suffix(argument) in SUFFIXES and "://" not in argument:
            return "file"
        why = getattr(err, "strerror", None) or str(err)
        mend = "download it first, this never uses the network" if "://" in argument else "check the path"
        raise CoderError(f"{argument}: {why}; {mend}") from err
    if not stat.S_ISDIR(mode):
        return "file"
    try:
        os.scandir(argument).close()
    except OSError as err:
        mend = "make it readable for this user"
        raise CoderError(f"{argument}: the folder cannot be read ({err.strerror}); {mend}") from err
    return "folder"


def _pattern(argument: str) -> Kind:
    if next(matches(argument), None) is None:
        raise CoderError(f"{argument}: no file matches this pattern; check it, ** goes into sub-folders")
    return "pattern"


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def _failed(path: str, message: str) -> Prediction:
    fault = Fault(kind="unreadable", message=message)
    return Prediction(label=None, score=None, top=(), reranked=False, path=path, error=fault)
