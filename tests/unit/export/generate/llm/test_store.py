"""The replies on disk: found again, torn and damaged lines, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm.store import Reply, ReplyStore


def reply(*keys: str, text: str = "{}") -> Reply:
    return Reply(
        keys=keys,
        kind="pair",
        classes=tuple((key, "other") for key in keys),
        model="m",
        prompt="abc",
        text=text,
        finish="stop",
        tokens=(7, 3),
        time="2026-01-01T00:00:00+00:00",
    )


def fill(path: Path, *replies: Reply) -> None:
    with ReplyStore(path) as store:
        for one in replies:
            store.append(one)


def line(**changes: Any) -> str:
    """A stored line with some fields changed, or left out (None)."""
    fields = {
        "keys": ["a"],
        "kind": "attribute",
        "classes": [["cat"]],
        "model": "m",
        "prompt": "abc",
        "text": "{}",
        "finish": "stop",
        "tokens": [1, 2],
        "time": "now",
    }
    return json.dumps({name: value for name, value in {**fields, **changes}.items() if value is not None})


def test_replies_are_found_by_question_in_their_order(path: Path) -> None:
    one, two, three = reply("a", "b", text="one"), reply("b", text="zwei \u2028 犬 🐕\n"), reply("a", text='"three"')
    with ReplyStore(path) as store:
        assert store.replies("a") == []
        for own in (one, two, three):
            store.append(own)
        assert store.replies("a") == [one, three]
        assert store.replies("b") == [one, two]
    with ReplyStore(path) as store:
        assert store.replies("a") == [one, three]
        assert store.replies("b") == [one, two]
        store.append(one)
        assert store.replies("a") == [one, three, one]
        assert store.size == path.stat().st_size


def test_the_file_is_json_lines_that_people_can_read(path: Path) -> None:
    fill(path, reply("a", text="犬"), reply("b"))
    rows = path.read_text("utf-8").splitlines()
    assert len(rows) == 2
    assert "犬" in rows[0]
    assert json.loads(rows[0])["classes"] == [["a", "other"]]


def test_a_torn_last_line_is_as_if_never_written(path: Path) -> None:
    fill(path, reply("a"), reply("b"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in (first + 1, first + 20, len(whole) - 1):
        path.write_bytes(whole[:end])
        with ReplyStore(path) as store:
            assert store.replies("a") == [reply("a")]
            assert store.replies("b") == []
            assert path.read_bytes() == whole[:first]
            store.append(reply("b"))
        assert path.read_bytes() == whole


def test_a_store_that_is_one_torn_line_is_empty(path: Path) -> None:
    path.write_bytes(b"\x00" * 500)
    with ReplyStore(path) as store:
        assert store.size == 0
    assert path.read_bytes() == b""


DAMAGED = {
    "no json": '{"keys": ["a"], ',
    "zeros": "\x00" * 64,
    "empty": "",
    "list": "[1, 2]",
    "number": "5",
    "null": "null",
    "deep": "[" * 100_000,
    "no keys": line(keys=None),
    "no text": line(text=None),
    "no tokens": line(tokens=None),
    "one more field": line(more=1),
    "keys are one string": line(keys="abc"),
    "keys are numbers": line(keys=[1]),
    "keys are lists": line(keys=[["a"]]),
    "keys are a number": line(keys=5),
    "text is a number": line(text=5),
    "text is a list": line(text=["a"]),
    "finish is a number": line(finish=1),
    "classes are a number": line(classes=[5]),
    "tokens are a number": line(tokens=5),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_told_with_its_number_and_left(path: Path, damage: str) -> None:
    path.write_text(f"{line()}\n{damage}\n{line()}\n", "utf-8")
    before = path.read_bytes()
    with pytest.raises(TextsError, match=r"replies\.jsonl:2: not a stored reply; remove the line to have it asked"):
        ReplyStore(path)
    assert path.read_bytes() == before
    path.write_text(f"{line()}\n{line()}\n", "utf-8")
    with ReplyStore(path) as store:  # what was told does help
        assert len(store.replies("a")) == 2


def test_bytes_that_are_no_utf_8(path: Path) -> None:
    path.write_bytes(line().encode() + b'\n{"keys": ["\xff"]}\n')
    with pytest.raises(TextsError, match=":2: not a stored reply"):
        ReplyStore(path)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"cannot be opened for writing \(Is a directory\); choose another --out"):
        ReplyStore(tmp_path)
    with pytest.raises(TextsError, match=r"cannot be opened for writing \(No such file or directory\)"):
        ReplyStore(tmp_path / "absent" / "replies.jsonl")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc, which lists the open files")
def test_a_refused_file_is_closed(path: Path) -> None:
    path.write_text("damaged\n", "utf-8")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(TextsError, match="not a stored reply"):
            ReplyStore(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_disk_that_fills_up_in_the_middle_of_a_line(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    write = os.write
    with ReplyStore(path) as store:
        store.append(reply("a"))
        whole = path.read_bytes()
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:room]))
        with pytest.raises(TextsError, match=r"replies\.jsonl: the disk is full; free space and run the same command"):
            store.append(reply("b"))
        assert path.read_bytes() == whole
        assert store.replies("b") == []
        monkeypatch.setattr(os, "write", write)
        store.append(reply("b"))
        assert store.replies("b") == [reply("b")]
    with ReplyStore(path) as store:
        assert store.replies("a") + store.replies("b") == [reply("a"), reply("b")]


def test_a_disk_that_takes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ReplyStore(path) as store:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(TextsError, match=r"cannot be written \(No space left on device\); mend that and run the"):
            store.append(reply("a"))
        assert store.replies("a") == []
    assert path.read_bytes() == b""
