"""Places that something is to be written to: what is there already, and whose it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from coder_engine.errors import CoderError
from coder_engine.files import sha256_of
from coder_engine.images import SUFFIXES
from coder_engine.weights import FORMAT

_NO_TEXT = {".onnx", ".plan", ".safetensors", ".npz", *SUFFIXES}


def is_read(place: Path, reads: Iterable[str | Path | None]) -> bool:
    """Whether ``place`` is one of the files that are read, by whatever name."""
    return any(_is_same(place, Path(read)) for read in reads if read is not None)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.exists() and other.exists() and one.samefile(other)
    except OSError:  # a name that is too long, a folder that is locked: whoever opens it tells
        return False


def is_weight_file(path: Path) -> bool:
    """Whether a file is a weight file of coder-export."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def other_engine(weights: Path, engine: Path) -> Path | None:
    """An engine that a weight file lies beside, or what it links to does, and which is not ``engine``."""
    for place in (weights, weights.resolve()) if weights.exists() else ():
        stem = place.name.removesuffix(".safetensors")
        for owner in (place.with_name(stem + suffix) for suffix in (".onnx", ".plan")):
            if owner.exists() and engine.exists() and _unlike(owner, engine):
                return owner
    return None


def _unlike(one: Path, other: Path) -> bool:
    """A plan and its .onnx are one engine; of two of a kind, those of equal content."""
    if one.suffix != other.suffix:
        return one.with_suffix("") != other.with_suffix("")
    return sha256_of(one) != sha256_of(other)


def check_text_place(option: str, place: str | Path | None, reads: Iterable[str | Path | None]) -> None:
    """Refuse to write text where a model, an image or what is read would be lost.

    Raises:
        CoderError: the place is one of these.
    """
    if place is None:
        return
    if Path(place).suffix.lower() in _NO_TEXT:
        raise CoderError(f"{option} {place}: text is written, which is no {Path(place).suffix}; choose another name")
    if is_read(Path(place), reads):
        raise CoderError(f"{option} {place}: would replace what is read; choose another place")


def check_weights_place(option: str, place: Path, engine: Path, reads: Iterable[str | Path | None]) -> None:
    """Refuse to write a weight file where something else would be lost.

    Raises:
        CoderError: the place is one of the files that are read, holds no weight file, or that of another engine.
    """
    if is_read(place, [engine, *reads]):
        raise CoderError(f"{option} {place}: would replace what is read; choose another place")
    if place.exists() and place.stat().st_size and not is_weight_file(place):
        raise CoderError(f"{option} {place}: is there, and no whole weight file; move it away, or choose another place")
    if (owner := other_engine(place, engine)) is not None:
        raise CoderError(f"{option} {place}: is the weight file of {owner}, not of {engine}; choose another place")
