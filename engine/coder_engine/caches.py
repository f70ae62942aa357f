"""Where runtimes keep what they would otherwise compute again at every start."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(runtime: str) -> Path | None:
    """The folder of one runtime, for this user alone; None where no such folder can be made or written.

    What is in it may be deleted at any time: whoever keeps something there can do without, and knows its own files.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "coder-engine" / runtime
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    return folder if root.is_absolute() and os.access(folder, os.W_OK | os.X_OK) else None
