"""What a weight file is recognised by, and that equal ones have equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.machine.cpus import usable_cpus
from coder_engine.weightfile.table import MAPPED

BLOCK = 1 << 20
"""Bytes hashed in one go, in threads beside each other: most of what a label swap takes is hashing."""


def header_digest(header: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Over the metadata and every tensor that opening reads."""
    text = "\0".join(header.get(key, "") for key in ("format", "format_version", "coder")).encode()
    return digest_of([np.frombuffer(text, np.uint8), *(arrays[name] for name in sorted(arrays) if name not in MAPPED)])


def digest_of(arrays: list[NDArray[Any]]) -> str:
    """sha256 over the type and shape of each array and the sha256 of each ``BLOCK`` of its bytes."""
    flat = [array.reshape(-1).view(np.uint8) for array in arrays]
    leaves = _leaves([data[start : start + BLOCK] for data in flat for start in range(0, data.size, BLOCK)])
    digest = hashlib.sha256()
    for array, data in zip(arrays, flat, strict=True):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for _ in range(0, data.size, BLOCK):
            digest.update(next(leaves))
    return digest.hexdigest()


def _leaves(blocks: list[NDArray[np.uint8]]) -> Iterator[bytes]:
    """The sha256 of each; threads only where they gain more than they cost."""
    if sum(block.size for block in blocks) <= BLOCK:
        return map(_leaf, blocks)
    with ThreadPoolExecutor(min(usable_cpus(), len(blocks)), "coder-engine digests") as pool:
        return pool.map(_leaf, blocks)


def _leaf(block: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(block.data).digest()


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
