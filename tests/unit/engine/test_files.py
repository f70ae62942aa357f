"""A file that is replaced is either the old one or the whole new one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_engine.files import put, replacing, sha256_of


@pytest.fixture
def umask() -> Iterator[None]:
    """Put the process's umask back after a test that sets it."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def fail_half_way(path: Path, error: BaseException) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(b"half")
        raise error


def test_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as scratch:
        scratch.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as scratch:
        scratch.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_old_file_and_no_scratch(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error, match="half way"):
        fail_half_way(path, error("half way"))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / "a.bin", RuntimeError("half way"))
    assert list(tmp_path.iterdir()) == []


def test_the_scratch_file_lies_in_the_same_folder_and_shows_its_purpose(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.bin") as scratch:
        assert scratch.parent == tmp_path
        assert scratch.name.startswith(".a.bin.")
        assert scratch.suffix == ".part"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
@pytest.mark.usefixtures("umask")
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    with replacing(tmp_path / "a.bin") as scratch:
        scratch.write_bytes(b"new")
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode
    with replacing(tmp_path / "b.bin") as scratch:  # by a library that makes a private file and renames it
        (tmp_path / "private").touch(mode=0o600)
        (tmp_path / "private").replace(scratch)
    assert stat.S_IMODE((tmp_path / "b.bin").stat().st_mode) == mode
    assert os.umask(mask) == mask


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"), replacing(tmp_path / "missing" / "a.bin"):
        pass


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.bin"), replacing(path):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_a_scratch_file_that_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(FileNotFoundError, match=r"\.part"), replacing(path) as scratch:
        scratch.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_path_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with replacing(Path("a.bin")) as scratch:
        scratch.write_bytes(b"new")
    assert Path("a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_sha256_of_any_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * (size // 256 + 1))
    os.truncate(path, size)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")  # the first example of FIPS 180-2
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_link_goes_on_leading_to_the_file(tmp_path: Path) -> None:
    real, link = tmp_path / "there" / "a.bin", tmp_path / "link.bin"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    with replacing(link) as scratch:
        scratch.write_bytes(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_permissions_of_what_is_replaced_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.touch(mode=0o600)
    with replacing(path) as scratch:
        scratch.write_bytes(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_file_is_moved_to_where_a_link_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_disk: bool
) -> None:
    built, link, there = tmp_path / "built", tmp_path / "a.bin", tmp_path / "there" / "b.bin"
    there.parent.mkdir()
    there.write_bytes(b"old")
    link.symlink_to(there)
    built.write_bytes(b"new")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if other_disk and self == built:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert put(built, link) == link
    assert link.is_symlink()
    assert there.read_bytes() == b"new"
    assert list(there.parent.iterdir()) == [there]


def test_a_file_that_cannot_be_moved_is_no_matter_of_disks(tmp_path: Path) -> None:
    (tmp_path / "built").write_bytes(b"new")
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "built", tmp_path / "nowhere" / "a.bin")
    assert (tmp_path / "built").read_bytes() == b"new"
