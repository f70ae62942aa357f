"""Where runtimes keep what they would otherwise compute again at every start."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_BUDGET = 4 << 30
"""Bytes a runtime may keep: compiled models, each about as large as its engine file, of a dozen ViT-B/16."""


def cache_folder(runtime: str) -> Path | None:
    """The folder of one runtime, for this user alone; None where no such folder can be made or written.

    What is in it may be deleted at any time: whoever keeps something there can do without, and knows its own files.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if not root.is_absolute():
            return None
        folder = root / "coder-engine" / runtime
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def prune(folder: Path, *, budget: int = _BUDGET) -> None:
    """Delete the files that were not used for longest, until what is left takes at most ``budget`` bytes.

    A process that has a deleted file mapped keeps what it mapped; one that comes to look for it makes it anew. What
    cannot be looked at or deleted is left.
    """
    found = []
    with contextlib.suppress(OSError):  # another process was quicker
        for path in folder.iterdir():
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= budget:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            left -= size
