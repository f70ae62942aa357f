"""The weight file: what an engine needs beside its graph, frozen at export.

One safetensors file. Tensors, little-endian:

    bank          float32 [C + R, D]  rows q_j of Eq. 8 collapsed, then the name rows
    name_offsets  int32   [C + 1]     class j's name rows are bank[C + off[j] : C + off[j + 1]]
    name_weight   float32 [C]         w_j = 1 / (m_j + 1)
    pair_rows     float16 [P, D]      g_ab of Eq. 11-14 collapsed, a < b; left out where there are none
    pair_starts   int64   [C + 1]     with pair_others, the sparse index; left out where every pair has its row
    pair_others   int32   [P]         the higher class of each row, ascending for each lower class
    texts         float32 [T, D]      the general texts' features (Eq. 5); only where asked for
    generic_texts float32 [G, D]      features of texts of no class, for the few-shot adapter; only where asked for

and where a few-shot adapter was fitted (see ``coder_engine.fewshot.CoderAdapter``):

    adapter_keys   float32 [NM, D]    the support images, by class
    adapter_labels int32   [NM]       their class ids, ascending
    adapter_mean   float32 [D]        mu
    adapter_factor float32 [D, D]     H, for the l2 norm only

Metadata: ``format``, ``format_version``, ``coder`` (JSON, see ``coder_engine.metadata``) and ``digest`` (sha256 over
the metadata and every tensor but ``pair_rows``, which has its own in the metadata so that opening never reads it).
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from coder_engine.errors import EngineError, WeightsError
from coder_engine.files import replacing, sha256_of
from coder_engine.metadata import Metadata

FORMAT = "coder-engine weights"
FORMAT_VERSION = 1

_MAPPED = "pair_rows"
_DTYPES = {
    "bank": np.float32,
    "name_offsets": np.int32,
    "name_weight": np.float32,
    "pair_rows": np.float16,
    "pair_starts": np.int64,
    "pair_others": np.int32,
    "texts": np.float32,
    "generic_texts": np.float32,
    "adapter_keys": np.float32,
    "adapter_labels": np.int32,
    "adapter_mean": np.float32,
    "adapter_factor": np.float32,
}
_NEEDED = ("bank", "name_offsets", "name_weight")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """An open weight file. ``pair_rows`` is mapped, not read: ten of its rows are touched an image."""

    path: Path
    meta: Metadata
    bank: NDArray[np.float32]
    name_offsets: NDArray[np.int32]
    name_weight: NDArray[np.float32]
    pair_rows: NDArray[np.float16] | None = None
    pair_starts: NDArray[np.int64] | None = None
    pair_others: NDArray[np.int32] | None = None
    texts: NDArray[np.float32] | None = None
    generic_texts: NDArray[np.float32] | None = None
    adapter_keys: NDArray[np.float32] | None = None
    adapter_labels: NDArray[np.int32] | None = None
    adapter_mean: NDArray[np.float32] | None = None
    adapter_factor: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if problem := _shape_problem(self):
            raise WeightsError(f"{self.path}: {problem}; export it again with coder-export")

    @property
    def width(self) -> int:
        """D."""
        return int(self.bank.shape[1])

    def release_pages(self) -> None:
        """Give the mapped pair rows back to the page cache; the next use maps them again from there.

        The operating system maps much around each row touched (up to half a megabyte was seen), so rows of many classes
        would soon make all 512 MB of a thousand classes count as this process's memory.
        """
        mapping = None if self.pair_rows is None else self.pair_rows.base
        if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)

    def check_pairs(self) -> None:
        """Read all pair rows and compare their digest; :func:`load_weights` does not, since they can be 512 MB.

        Raises:
            WeightsError: they are not what was exported.
        """
        if self.pair_rows is not None and _digest([self.pair_rows]) != self.meta.pair_digest:
            raise WeightsError(
                f"{self.path}: the pair rows were edited or damaged after export; export it again with coder-export"
            )


def load_weights(path: str | PathLike[str]) -> Weights:
    """Open and check a weight file.

    Raises:
        WeightsError: it is missing, not ours, truncated, edited, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file; coder-export writes it beside the engine")
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            _check_format(path, header)
            names = [name for name in file.keys() if name in _DTYPES]  # noqa: SIM118 (safe_open is no mapping)
            arrays = {name: file.get_tensor(name) for name in names if name != _MAPPED}
    # NumPy has no dtype for some that a header can name: TypeError for BF16, AttributeError for F8.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as err:
        raise WeightsError(f"{path}: not a whole weight file ({err}); export it again with coder-export") from err
    _check_digest(path, header, arrays)
    try:
        meta = Metadata.from_json(header["coder"])
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        raise WeightsError(f"{path}: its metadata is malformed ({err!r}); export it again with coder-export") from err
    # The digest leaves the pair rows out: without this, a file that lost them would open and never rerank.
    needed = (*_NEEDED, _MAPPED) if meta.pair_digest else _NEEDED
    missing = [name for name in needed if name not in names]
    if missing:
        raise WeightsError(f"{path}: tensor {missing[0]!r} is missing; export it again with coder-export")
    return Weights(path=path, meta=meta, pair_rows=_map_pairs(path) if _MAPPED in names else None, **arrays)


def save_weights(path: Path, meta: Metadata, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a weight file atomically; ``tensors`` as in the module's table.

    Raises:
        WeightsError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    ready = {name: np.ascontiguousarray(array, _DTYPES[name]) for name, array in tensors.items()}
    if _MAPPED in ready:
        meta = replace(meta, pair_digest=_digest([ready[_MAPPED]]))
    Weights(path=path, meta=meta, **ready)
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "coder": meta.to_json()}
    header["digest"] = _header_digest(header, ready)
    try:
        with replacing(path) as scratch:
            save_file(ready, scratch, metadata=header)
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: cannot be written ({err}); free space or choose another --out") from err


def update_weights(
    path: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    tensors: Mapping[str, NDArray[Any] | None] | None = None,
    **changes: Any,
) -> Weights:
    """Write a weight file anew with some tensors or metadata changed, atomically; returns it as it is now.

    Args:
        path: a weight file; engines that have it open keep what they loaded.
        out: write the changed file there, and leave ``path`` as it is.
        tensors: tensors of the module's table to add or replace; None takes one out.
        changes: fields of ``Metadata`` and their new values.

    Raises:
        WeightsError: the file cannot be opened or written, or does not fit together after the change.
    """
    found = load_weights(path)
    found.check_pairs()
    kept = {name: getattr(found, name) for name in _DTYPES if getattr(found, name) is not None}
    merged = {name: array for name, array in {**kept, **(tensors or {})}.items() if array is not None}
    target = Path(path if out is None else out)
    save_weights(target, replace(found.meta, **changes), merged)
    return load_weights(target)


def check_belongs(path: Path, weights: Weights) -> None:
    """Refuse an engine file, or its external data, that the weight file was not made for.

    Raises:
        EngineError: a hash is not among those the weight file records; the message names both files.
    """
    known = weights.meta.engine_files
    data = [path.with_name(name) for name in known if name.endswith(".data")]
    for file in [path, *data]:
        digest = sha256_of(file) if file.is_file() else "missing"
        if digest not in known.values():
            made_for = ", ".join(f"{name} {sha[:12]}" for name, sha in known.items()) or "no engine"
            raise EngineError(
                f"{file} (sha256 {digest[:12]}) and {weights.path} (made for {made_for}) do not belong together: "
                "one was edited, damaged, or is of another export; pass the files of one coder-export"
            )


def _check_format(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: a safetensors file, but not a weight file of coder-export; pass the one beside the engine"
        )
    version = header.get("format_version", "")
    if not version.isdigit() or int(version) > FORMAT_VERSION:
        raise WeightsError(
            f"{path}: format {version or 'unknown'}, this coder-engine reads up to {FORMAT_VERSION}; "
            "upgrade with pip install -U coder-engine, or export it again"
        )


def _check_digest(path: Path, header: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> None:
    if _header_digest(header, arrays) != header.get("digest"):
        raise WeightsError(
            f"{path}: edited or damaged after export (its digest differs); export it again with coder-export"
        )


def _header_digest(header: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    text = "\0".join(header.get(key, "") for key in ("format", "format_version", "coder")).encode()
    return _digest([np.frombuffer(text, np.uint8), *(arrays[name] for name in sorted(arrays) if name != _MAPPED)])


def _digest(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _map_pairs(path: Path) -> NDArray[np.float16]:
    """Map the pair rows. The library has checked the header by now; it only does not tell the offset."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entry = json.loads(stream.read(length))[_MAPPED]
    offset = 8 + length + entry["data_offsets"][0]
    if entry["dtype"] != "F16" or len(entry["shape"]) != 2 or 0 in entry["shape"]:
        raise WeightsError(
            f"{path}: pair_rows must be float16 [P, D], got {entry['dtype']} {entry['shape']}; "
            "export it again with coder-export"
        )
    return np.memmap(path, np.dtype("<f2"), mode="r", offset=offset, shape=tuple(entry["shape"]))


def _shape_problem(weights: Weights) -> str | None:
    """What contradicts the table of this module, or None. The index's inside is checked by the kernels."""
    for name, dtype in _DTYPES.items():
        array = getattr(weights, name)
        if array is not None and array.dtype != dtype:
            return f"{name} must be {np.dtype(dtype)}, got {array.dtype}"
    classes = len(weights.meta.labels)
    wanted: dict[str, tuple[Any, ...]] = {"name_offsets": (classes + 1,), "name_weight": (classes,)}
    if weights.bank.ndim != 2 or weights.name_offsets.ndim != 1 or not len(weights.name_offsets):
        got = f"{weights.bank.shape} and {weights.name_offsets.shape}"
        return f"bank and name_offsets must be [C + R, D] and [C + 1], got {got}"
    width = weights.bank.shape[1]
    wanted["bank"] = (classes + int(weights.name_offsets[-1]), width)
    if weights.pair_rows is not None:
        sparse = weights.pair_starts is not None
        pairs = len(weights.pair_rows) if sparse else classes * (classes - 1) // 2
        wanted["pair_rows"] = (pairs, width)
        wanted.update({"pair_starts": (classes + 1,), "pair_others": (pairs,)} if sparse else {})
    if weights.meta.sentences or weights.texts is not None:
        wanted["texts"] = (len(weights.meta.sentences), width)
    if weights.meta.generic or weights.generic_texts is not None:
        wanted["generic_texts"] = (weights.meta.generic.get("count"), width)
    wanted.update(_adapter_shapes(weights, width))
    for name, shape in wanted.items():
        array = getattr(weights, name)
        if array is None or array.shape != shape:
            got = "none" if array is None else str(list(array.shape))
            return f"{name} must be {list(shape)} for {classes} classes, got {got}"
    return None


def _adapter_shapes(weights: Weights, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the adapter's tensors; none of them is wanted where there is no adapter."""
    tensors = (weights.adapter_keys, weights.adapter_labels, weights.adapter_mean, weights.adapter_factor)
    if not weights.meta.adapter and all(tensor is None for tensor in tensors):
        return {}
    count = 0 if weights.adapter_labels is None else weights.adapter_labels.size
    shapes: dict[str, tuple[int, ...]] = {
        "adapter_keys": (count, width),
        "adapter_labels": (count,),
        "adapter_mean": (width,),
    }
    if weights.meta.adapter.get("norm") == "l2" or weights.adapter_factor is not None:
        shapes["adapter_factor"] = (width, width)
    return shapes
