"""Image paths from standard input, as soon as they come."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from coder_engine.errors import CoderError

_PATIENCE = 0.05
"""Seconds without a path on standard input after which what was read is to be answered."""


class Pause:
    """Stands in a list where the next path is not there yet."""


def paths_of(stdin: int, null: bool) -> Iterator[str | Pause]:
    """Paths as soon as they come; empty ones are passed over, and a line may end in CR LF."""
    separator, ending = (b"\0", b"") if null else (b"\n", b"\r")
    rest = b""
    while True:
        if not _ready(stdin):
            yield Pause()
        chunk = _read(stdin)
        if not chunk:
            break
        if not null and b"\0" in chunk:  # which no path holds
            raise CoderError(
                "standard input: wanted a list of paths, one a line, got bytes that are none; if it is an image, "
                "pass it by name; --null takes paths that NUL separates"
            )
        *whole, rest = (rest + chunk).split(separator)
        yield from (os.fsdecode(path) for name in whole if (path := name.removesuffix(ending)))
    if path := rest.removesuffix(ending):
        yield os.fsdecode(path)


def _ready(stdin: int) -> bool:
    """Whether reading would not wait for long: bytes, the end or an error are there."""
    try:
        return bool(select.select([stdin], [], [], _PATIENCE)[0])
    except (OSError, ValueError):  # which reading will tell of
        return True


def _read(stdin: int) -> bytes:
    try:
        return os.read(stdin, 1 << 16)
    except OSError as err:
        raise CoderError(f"standard input cannot be read ({err.strerror}); pipe a list of paths in") from err
