"""Damaged JPEGs: with simplejpeg and without, the same files are read, to the same pixels, and the same refused."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator

import pytest
from PIL import Image, ImageFile

from helpers_images import RNG, encode, kind_of
from helpers_jpeg import assert_same, outcome, plain, special

pytest.importorskip("simplejpeg", reason="simplejpeg is not installed: pip install '.[fast]'")
SEEDS = plain() | special()
PROGRESSIVE = [name for name in SEEDS if "progressive" in name]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about damaged metadata
        yield


@pytest.fixture(params=[False, True], ids=["strict", "LOAD_TRUNCATED_IMAGES"], autouse=True)
def _truncated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", request.param)


def damage(data: bytes, chance: random.Random) -> bytes:
    """One to five bytes changed, flipped, dropped, or put in; or cut off at a random place."""
    new = bytearray(data)
    how = chance.randrange(5)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(2, len(new))
        if how == 0:
            new[at] = chance.randrange(256)
        elif how == 1:
            new[at] ^= 1 << chance.randrange(8)
        elif how == 2:
            del new[at : at + chance.randrange(1, 9)]
        elif how == 3:
            new[at:at] = chance.choice((b"\0", b"\xff", b"\xff\xd9", b"\xff\xd0", b"\xff\xff"))
        else:
            del new[max(16, at) :]
    return bytes(new) + (b"\xff\xd9" if chance.random() < 0.2 else b"")


@pytest.mark.parametrize("name", SEEDS)
def test_random_damage(name: str) -> None:
    chance = random.Random(name)
    for _ in range(25):
        damaged = damage(SEEDS[name], chance)
        assert_same(damaged, max_pixels=10**6)
        assert_same(damaged, max_pixels=10**6, least=(20, 20))


@pytest.mark.parametrize("name", ["420", "420 progressive", "grey", "restart"])
def test_every_cut(name: str) -> None:
    data = SEEDS[name]
    for end in (*range(16, len(data), 37), len(data) - 2, len(data) - 1):
        assert_same(data[:end])


@pytest.mark.parametrize("name", PROGRESSIVE)
def test_scans_left_out(name: str) -> None:
    """The rest is a whole JPEG, which libjpeg smooths without a warning."""
    data = SEEDS[name]
    starts = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] in (0xC4, 0xDA)]
    for start in starts[1:]:
        assert_same(data[:start] + b"\xff\xd9")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [65535, 65536, 65537, 70_000])
def test_cuts_at_the_blocks_in_which_pillow_reads(end: int, progressive: bool) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (256, 256, 3), "uint8"))
    data = encode(noise, "JPEG", quality=95, progressive=progressive)
    assert_same(data)
    assert_same(data[:end])
    assert_same(data[:end] + b"\xff\xd9")


def test_the_process_decides_about_cut_files() -> None:
    cut = SEEDS["420"][:-200]
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        assert not isinstance(outcome(cut), str)
    else:
        assert kind_of(cut) == "truncated"
