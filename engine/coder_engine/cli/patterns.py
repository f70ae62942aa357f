"""Patterns as shells have them, with ``**`` for any depth of folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator


def matches(pattern: str) -> Iterator[str]:
    """What ``glob.iglob(pattern, recursive=True)`` gives, in no order, but never through links to folders below ``**``.

    These may lead in circles. A path can come twice where ``**`` does.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - paths stay the strings the user wrote
        return
    at = parts.index("**")
    before, after = "/".join(parts[:at]), parts[at + 1 :] or ["*"]
    if at and not before:  # from the root
        before = "/"
    for top in glob.iglob(before) if before else [""]:  # noqa: PTH207
        for folder in _below(top):
            yield from matches(os.path.join(glob.escape(folder), *after))  # noqa: PTH118


def _below(top: str) -> Iterator[str]:
    """``top`` and all folders in it but the hidden ones; "" is the current folder, which then is in no path."""
    for folder, names, _ in os.walk(top or "."):
        names[:] = [name for name in names if not name.startswith(".")]  # walk goes into those left
        yield folder if top else folder[2:]
