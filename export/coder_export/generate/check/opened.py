"""The text set that coder-texts check and show are given."""

from __future__ import annotations

from coder_engine.errors import TextsError
from coder_export.shipped import open_textset
from coder_export.textset import TextSet


def open_given(name_or_folder: str) -> TextSet:
    """A text set by folder or shipped name; messages do not speak of --texts, which nobody typed here.

    Raises:
        TextsError: no such text set, or it cannot be read.
    """
    try:
        return open_textset(name_or_folder)
    except TextsError as err:
        raise TextsError(str(err).removeprefix("--texts ")) from err
