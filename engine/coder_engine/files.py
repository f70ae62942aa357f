"""Files that are either whole or not there: write beside, then rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A scratch path in the folder of ``path`` that takes its place when the block ends well, and vanishes otherwise.

    A link goes on leading to the file, and the new file has the permissions of the old.

    Raises:
        OSError: the folder cannot be written, or the disk is full; ``path`` is then as it was.
    """
    path = Path(os.path.realpath(path))
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    scratch.touch(exist_ok=False)
    mode = stat.S_IMODE((path if path.is_file() else scratch).stat().st_mode)  # a new one's as any gets it
    try:
        yield scratch
        _sync(scratch)
        scratch.chmod(mode)  # safetensors puts a private file of its own in the place of the one it is given
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def put(file: Path, path: Path) -> Path:
    """Move a whole file to ``path``, where a link goes on leading to the file; returns ``path``.

    Raises:
        OSError: the folder cannot be written, or the disk that the link leads to is full.
    """
    try:
        file.replace(os.path.realpath(path))
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        with replacing(path) as scratch:  # the link leads to another disk
            shutil.copyfile(file, scratch)
    return path


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cannot_be_read(err: OSError) -> str:
    """What is said of a file after its name."""
    return f"cannot be read ({err.strerror}); check its path, and the permissions of the file and its folders"


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
