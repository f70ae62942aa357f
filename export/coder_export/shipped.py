"""The texts inside the package: found by name, or by the labels that they cover."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from coder_engine.errors import TextsError
from coder_export.matching import match_names
from coder_export.textset import TextSet
from coder_export.textset_file import load_textset


def shipped() -> dict[str, Path]:
    """The text sets inside the package: name -> folder."""
    root = Path(str(files("coder_export.textsets")))
    return {entry.name: entry for entry in sorted(root.iterdir()) if (entry / "labels.txt").is_file()}


def find_shipped(labels: tuple[str, ...]) -> TextSet | None:
    """The shipped text set that covers every one of ``labels``, in whatever spelling; None without one."""
    for folder in shipped().values():
        textset = load_textset(folder)
        if len(labels) <= len(textset.labels) and _covers(textset, labels):
            return textset
    return None


def _covers(textset: TextSet, labels: tuple[str, ...]) -> bool:
    try:
        return not match_names(labels, textset.labels, textset.source.get("aliases")).unknown
    except TextsError:  # two of the labels mean one class there
        return False


def open_textset(name_or_folder: str) -> TextSet:
    """Load any text set by folder, or a shipped one by name.

    Raises:
        TextsError: neither such a folder nor such a name, or its content is malformed.
    """
    folder, known = Path(name_or_folder), shipped()
    if name_or_folder in known and not (folder / "labels.txt").is_file():
        return load_textset(known[name_or_folder])
    if not folder.is_dir():
        raise TextsError(
            f"--texts {name_or_folder}: neither a folder nor a shipped text set; shipped are {', '.join(known)}"
        )
    return load_textset(folder)


def shipped_generic() -> dict[str, Path]:
    """The banks inside the package: name -> folder with ``texts.txt`` and ``source.json``."""
    root = Path(str(files("coder_export.textsets")))
    return {entry.name: entry for entry in sorted(root.iterdir()) if (entry / "texts.txt").is_file()}
