"""The weight file: what an engine needs beside its graph, frozen at export.

One safetensors file; ``coder_engine.weightfile.table`` lists its tensors.

Metadata: ``format``, ``format_version``, ``coder`` (JSON, see ``coder_engine.weightfile.metadata``) and ``digest``
(over the metadata and every tensor but the mapped ones, whose own are in the metadata so that opening never reads
them; ``coder_engine.weightfile.digests`` says of what).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from coder_engine.errors import EngineError, WeightsError
from coder_engine.files import cannot_be_read, replacing, sha256_of
from coder_engine.weightfile import general_texts, pair_texts
from coder_engine.weightfile.digests import digest_of, header_digest, sort_metadata
from coder_engine.weightfile.general_texts import GeneralTexts
from coder_engine.weightfile.mapped import PairFile, open_mapped, release
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weightfile.table import DTYPES, MAPPED, shape_problem

FORMAT = "coder-engine weights"
FORMAT_VERSION = 3

_NEEDED = ("bank", "name_offsets", "name_weight")
_GROUPS = (general_texts.TENSORS, pair_texts.TENSORS)
"""All of a group or none."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """An open weight file. Large tensors are mapped, not read; ``pair_file`` is where to read single pair rows.

    ``digest`` is the file's own, empty where there is none.
    """

    path: Path
    meta: Metadata
    digest: str = ""
    bank: NDArray[np.float32]
    name_offsets: NDArray[np.int32]
    name_weight: NDArray[np.float32]
    pair_rows: NDArray[np.float16] | None = None
    pair_file: PairFile | None = None
    pair_starts: NDArray[np.int64] | None = None
    pair_others: NDArray[np.int32] | None = None
    texts: NDArray[np.float32] | None = None
    text_starts: NDArray[np.int64] | None = None
    text_kinds: NDArray[np.uint8] | None = None
    text_sentences: NDArray[np.uint8] | None = None
    text_sentence_starts: NDArray[np.int64] | None = None
    pair_texts: NDArray[np.float16] | None = None
    pair_text_starts: NDArray[np.int64] | None = None
    pair_sentences: NDArray[np.uint8] | None = None
    pair_sentence_starts: NDArray[np.int64] | None = None
    generic_texts: NDArray[np.float32] | None = None
    adapter_keys: NDArray[np.float32] | None = None
    adapter_labels: NDArray[np.int32] | None = None
    adapter_mean: NDArray[np.float32] | None = None
    adapter_factor: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if problem := shape_problem(self):
            raise WeightsError(f"{self.path}: {problem}; export it again with coder-export")

    @property
    def width(self) -> int:
        """D."""
        return int(self.bank.shape[1])

    @property
    def general_texts(self) -> GeneralTexts | None:
        """The general texts with kinds and sentences; None where they were not kept."""
        if self.texts is None:
            return None
        return GeneralTexts(**{name: getattr(self, name) for name in general_texts.TENSORS})

    def check(self) -> None:
        """Read all that is mapped and compare its digests; :func:`load_weights` does not: it can be more than 512 MB.

        Raises:
            WeightsError: it is not what was exported.
        """
        for name, digest in self.meta.digests.items():
            array = getattr(self, name)
            if array is None:  # taken out in memory
                continue
            found = digest_of([array])
            release(array)
            if found != digest:
                raise WeightsError(
                    f"{self.path}: tensor {name!r} was edited or damaged after export; "
                    "export it again with coder-export"
                )


def load_weights(path: str | PathLike[str]) -> Weights:
    """Open and check a weight file.

    Raises:
        WeightsError: it is missing, not ours, truncated, edited, or of a newer format.
    """
    path = Path(path)
    _check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            _check_format(path, header)
            names = [name for name in file.keys() if name in DTYPES]  # noqa: SIM118 (safe_open is no mapping)
            arrays = {name: file.get_tensor(name) for name in names if name not in MAPPED}
    # NumPy has no dtype for some that a header can name: TypeError for BF16, AttributeError for F8.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as err:
        raise WeightsError(f"{path}: not a whole weight file ({err}); export it again with coder-export") from err
    _check_digest(path, header, arrays)
    try:
        meta = Metadata.from_json(header["coder"])
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        raise WeightsError(f"{path}: its metadata is malformed ({err!r}); export it again with coder-export") from err
    _check_whole(path, names, meta)
    mapped = open_mapped(path, [name for name in MAPPED if name in names], digest=header["digest"])
    tensors: dict[str, Any] = {**arrays, **mapped}
    return Weights(path=path, meta=meta, digest=header["digest"], **tensors)


def save_weights(path: Path, meta: Metadata, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a weight file atomically; ``tensors`` as ``coder_engine.weightfile.table`` lists them.

    Raises:
        WeightsError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    ready: dict[str, Any] = {name: np.ascontiguousarray(array, DTYPES[name]) for name, array in tensors.items()}
    meta = replace(meta, digests={name: digest_of([ready[name]]) for name in MAPPED if name in ready})
    Weights(path=path, meta=meta, **ready)
    empty = [name for name in MAPPED if name in ready and not ready[name].size]  # which nothing can map
    if empty:
        got = list(ready[empty[0]].shape)
        raise WeightsError(
            f"{path}: {empty[0]} must be {MAPPED[empty[0]][2]}, got {got}; leave it out where it is empty"
        )
    header = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "coder": meta.to_json()}
    header["digest"] = header_digest(header, ready)
    try:
        with replacing(path) as scratch:
            save_file(ready, scratch, metadata=header)
            sort_metadata(scratch)
    except (OSError, SafetensorError) as err:
        raise WeightsError(f"{path}: cannot be written ({err}); free space or choose another --out") from err


def update_weights(
    path: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    since: Weights | None = None,
    tensors: Mapping[str, NDArray[Any] | None] | None = None,
    **changes: Any,
) -> Weights:
    """Write a weight file anew with some tensors or metadata changed, atomically; returns it as it is now.

    Args:
        path: a weight file; engines that have it open keep what they loaded.
        out: write the changed file there, and leave ``path`` as it is.
        since: what the changes were computed from: refuse if the file is another by now.
        tensors: tensors of ``coder_engine.weightfile.table`` to add or replace; None takes one out.
        changes: fields of ``Metadata`` and their new values.

    Raises:
        WeightsError: the file cannot be opened or written, or does not fit together after the change.
    """
    found = load_weights(path)
    if since is not None and found.digest != since.digest:
        raise WeightsError(f"{path}: was changed meanwhile by another program; nothing is written, do it once more")
    found.check()
    kept = {name: getattr(found, name) for name in DTYPES if getattr(found, name) is not None}
    merged = {name: array for name, array in {**kept, **(tensors or {})}.items() if array is not None}
    target = Path(path if out is None else out)
    save_weights(target, replace(found.meta, **changes), merged)
    return load_weights(target)


def check_belongs(path: Path, weights: Weights) -> None:
    """Refuse an engine file, or an .onnx file's external data, that the weight file was not made for.

    Raises:
        EngineError: a hash is not among those the weight file records, and the message names both files; or a file
            cannot be read.
    """
    known = weights.meta.engine_files
    data = [path.with_name(name) for name in known if name.endswith(".data") and path.suffix == ".onnx"]
    for file in [path, *data]:
        try:
            digest = sha256_of(file) if file.is_file() else "missing"
        except OSError as err:
            raise EngineError(f"{file}: {cannot_be_read(err)}") from err
        if digest not in known.values():
            made_for = ", ".join(f"{name} {sha[:12]}" for name, sha in known.items()) or "no engine"
            raise EngineError(
                f"{file} (sha256 {digest[:12]}) and {weights.path} (made for {made_for}) do not belong together: "
                "one was edited, damaged, or is of another export; pass the files of one coder-export"
            )


def _check_readable(path: Path) -> None:
    """safetensors has the same words for a file that is not there and for one that may not be read."""
    try:
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such weight file; coder-export writes it beside the engine: copy both, or name it with "
                "--weights"
            )
        with path.open("rb"):
            pass
    except OSError as err:
        raise WeightsError(f"{path}: {cannot_be_read(err)}") from err


def _check_format(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: a safetensors file, but not a weight file of coder-export; pass the one beside the engine"
        )
    version = header.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise WeightsError(
            f"{path}: format {version or 'unknown'}, this coder-engine reads format {FORMAT_VERSION}; "
            "export it again with coder-export, or if it is newer, upgrade with pip install -U coder-engine"
        )


def _check_whole(path: Path, names: Sequence[str], meta: Metadata) -> None:
    """Refuse a file that lost tensors: without its pair rows, which the digest leaves out, it would never rerank."""
    groups = [group for group in _GROUPS if set(group) & {*names, *meta.digests}]
    missing = [
        name for name in (*_NEEDED, *meta.digests, *(name for group in groups for name in group)) if name not in names
    ]
    if missing:
        raise WeightsError(f"{path}: tensor {missing[0]!r} is missing; export it again with coder-export")
    unknown = [name for name in names if name in MAPPED and name not in meta.digests]
    if unknown:
        raise WeightsError(f"{path}: tensor {unknown[0]!r} has no digest; export it again with coder-export")


def _check_digest(path: Path, header: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> None:
    if header_digest(header, arrays) != header.get("digest"):
        raise WeightsError(
            f"{path}: edited or damaged after export (its digest differs); export it again with coder-export"
        )
