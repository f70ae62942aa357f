"""One coder-texts at a time in a folder: two would each write all files from what it had read."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from coder_engine.errors import TextsError

_FILE = ".lock"
"""Not the folder itself, which NFS cannot lock; and it stays: one removed under another's eyes would be two locks."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against other processes until the block ends, or the process does.

    Raises:
        TextsError: another process holds it, it cannot be written, or its file system has no locks.
    """
    path = folder / _FILE
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as err:
        raise TextsError(f"{path}: cannot be opened for writing ({err.strerror}); choose another --out") from err
    try:
        _lock(file, folder)
        yield
    finally:
        os.close(file)


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        raise TextsError(
            f"{folder}: another coder-texts is writing to it; wait for it, or choose another --out"
        ) from err
    except OSError as err:
        raise TextsError(
            f"{folder}: its file system has no locks ({err.strerror}); choose an --out on a local disk"
        ) from err
