"""What a weight file is recognised by, and that equal ones have equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.weightfile.table import MAPPED


def header_digest(header: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Over the metadata and every tensor that opening reads."""
    text = "\0".join(header.get(key, "") for key in ("format", "format_version", "coder")).encode()
    return digest_of([np.frombuffer(text, np.uint8), *(arrays[name] for name in sorted(arrays) if name not in MAPPED)])


def digest_of(arrays: list[NDArray[Any]]) -> str:
    """sha256 over arrays, their types and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sort_metadata(path: Path) -> None:
    """Give equal files equal bytes: safetensors writes the metadata's keys in an order of chance."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # as it is while both write JSON in the fewest bytes
            file.seek(8)
            file.write(text.ljust(size))
