"""One coder-texts at a time in a folder, whichever its expert; a killed one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.lock import locked


def test_a_second_one_in_the_same_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(TextsError, match="another coder-texts is writing to it; wait for it, or choose another"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass


def test_another_process_holds_the_folder_until_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from coder_export.generate.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(TextsError, match="another coder-texts is writing to it"), locked(tmp_path):
                pass
        finally:
            other.kill()
    with locked(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(TextsError, match=r"its file system has no locks \(No locks available\); choose an --out on a"),
        locked(tmp_path),
    ):
        pass


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with (
        pytest.raises(TextsError, match=r"cannot be opened for writing \(No such file or directory\); choose another"),
        locked(tmp_path / "absent"),
    ):
        pass
