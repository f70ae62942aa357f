"""The large tensors of a weight file: mapped, so that opening costs nothing; pair rows can also be read one by one.

A map keeps much around each row touched resident (up to half a megabyte was seen): rows of many classes would soon make
all 512 MB of a thousand classes count as the process's memory, and each costs a page fault. And a file that is cut
short while it is mapped ends the process. So ranking reads the ten rows of an image by the file's descriptor.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import WeightsError
from coder_engine.weightfile.table import DTYPES, MAPPED


class PairFile:
    """Where the pair rows are.

    Attributes:
        rows: the map of them: other rows, put in their place in memory, are not in the file.
        place: a descriptor of the file, open for as long as this lives, and where in it the first row begins.
    """

    def __init__(self, stream: IO[bytes], rows: NDArray[np.float16], offset: int) -> None:
        descriptor = os.dup(stream.fileno())
        self.rows = rows
        self.place = (descriptor, offset)
        weakref.finalize(self, os.close, descriptor).atexit = False  # threads may rank until the very end

    def __reduce__(self) -> NoReturn:
        raise TypeError("an open weight file cannot be copied or pickled; open it again with load_weights")


def open_mapped(path: Path, names: Sequence[str], *, digest: str) -> dict[str, Any]:
    """Tensors of a file whose header was checked, and ``pair_file`` where there are pair rows.

    Args:
        digest: of the header that was checked; the path may lead to another file by now.

    Raises:
        WeightsError: a tensor is of another type, or has other axes, than in ``MAPPED``; or the file was replaced, or
            cannot be mapped.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
            if header.get("__metadata__", {}).get("digest") != digest:
                raise WeightsError(f"{path}: was replaced while it was opened; open it again")
            return _mapped(path, stream, {name: header[name] for name in names}, 8 + length)
    except (OSError, ValueError) as err:
        raise WeightsError(
            f"{path}: cannot be mapped ({err}); close other files or free memory, and try again"
        ) from err


def release(array: NDArray[Any] | None) -> None:
    """Give what is resident of a mapped tensor back to the page cache; the next use maps it again from there."""
    mapping = getattr(array, "base", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapped(path: Path, stream: IO[bytes], entries: dict[str, Any], start: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        shape, offset = _checked_shape(path, name, entry), start + entry["data_offsets"][0]
        dtype = np.dtype(DTYPES[name]).newbyteorder("<")
        found[name] = np.memmap(stream, dtype, mode="r", offset=offset, shape=shape)
        if name == "pair_rows":
            found["pair_file"] = PairFile(stream, found[name], offset)
    return found


def _checked_shape(path: Path, name: str, entry: dict[str, Any]) -> tuple[int, ...]:
    kind, axes, wanted = MAPPED[name]
    shape = tuple(entry["shape"])
    if entry["dtype"] != kind or len(shape) != axes or 0 in shape:
        raise WeightsError(
            f"{path}: {name} must be {wanted}, got {entry['dtype']} {entry['shape']}; export it again with coder-export"
        )
    return shape
