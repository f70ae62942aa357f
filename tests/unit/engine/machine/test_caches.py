"""The folder of compiled models stays within its budget."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coder_engine.machine.caches import cache_folder, prune


def kept(folder: Path, name: str, size: int, *, made: int, used: int) -> None:
    (folder / name).write_bytes(bytes(size))
    os.utime(folder / name, (used, made))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept(tmp_path, "old but in use", 400, made=100, used=900)
    kept(tmp_path, "forgotten", 400, made=200, used=300)
    kept(tmp_path, "new", 400, made=500, used=500)
    prune(tmp_path, budget=1200)
    assert names(tmp_path) == {"old but in use", "forgotten", "new"}
    prune(tmp_path, budget=1199)
    assert names(tmp_path) == {"old but in use", "new"}
    prune(tmp_path, budget=0)
    assert names(tmp_path) == set()


def test_folders_in_it_are_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    kept(tmp_path, "file", 10, made=1, used=1)
    prune(tmp_path, budget=0)
    assert names(tmp_path) == {"folder"}


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    prune(tmp_path / "gone")


def test_a_relative_place_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folder("openvino") is None
    assert list(tmp_path.iterdir()) == []
