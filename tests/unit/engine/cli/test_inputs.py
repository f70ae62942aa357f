from __future__ import annotations

import glob
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coder_engine.cli.inputs import Inputs
from coder_engine.cli.path_list import Pause
from coder_engine.cli.patterns import matches
from coder_engine.errors import CoderError
from coder_engine.prediction import Prediction


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    touch(tmp_path, "d/b.JPG", "d/a.png", "d/notes.txt", "d/more.txt", "d/README", "d/.hidden.png")
    touch(tmp_path, "d/sub/z.webp", "d/sub/deep/y.jpg", "d/sub.jpg", "e/c.png", "e/c10.png", "e/c2.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, **options: bool) -> list[str]:
    return [str(item) for item in Inputs(arguments, **options)]


class Pipe:
    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._open = {self.reader, self._writer}

    def write(self, data: bytes, *, end: bool = False) -> None:
        os.write(self._writer, data)
        if end:
            self.close(self._writer)

    def close(self, end: int) -> None:
        if end in self._open:
            self._open.remove(end)
            os.close(end)

    def close_all(self) -> None:
        self.close(self.reader)
        self.close(self._writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = Pipe()
    yield ends
    ends.close_all()


# patterns


def test_links_to_folders_that_lead_in_circles(tree: Path) -> None:
    for name in ("d/back", "d/sub/back"):
        Path(name).symlink_to(tree / "d")
    assert names("d/**/*.jpg") == ["d/sub.jpg", "d/sub/deep/y.jpg"]
    assert names("d/**") == ["d/a.png", "d/b.JPG", "d/sub.jpg", "d/sub/deep/y.jpg", "d/sub/z.webp"]
    assert names("**/sub/**/*.jpg") == ["d/sub/deep/y.jpg"]
    assert names("**/sub/*.webp") == ["d/sub/z.webp"]
    assert names(f"{tree}/**/y.jpg") == [f"{tree}/d/sub/deep/y.jpg"]


@pytest.mark.parametrize("pattern", ["**/*.png", "d/**/*", "*/**/*.jpg", "**", "d/**/deep/*.jpg", "**/d/**/*.webp"])
def test_without_links_patterns_are_the_standard_library_s(tree: Path, pattern: str) -> None:
    found = set(matches(pattern))
    wanted = glob.glob(pattern, recursive=True)  # noqa: PTH207
    assert set(filter(os.path.isfile, found)) == set(filter(os.path.isfile, wanted))


def test_a_pipe_that_a_pattern_finds_is_left_out(tree: Path) -> None:
    os.mkfifo("d/pipe.jpg")
    inputs = Inputs(["d/*.jpg"])
    assert list(inputs) == ["d/sub.jpg"]
    assert inputs.left_out() == "1 special files"
    assert names("d/pipe.jpg") == ["d/pipe.jpg"]  # as <(...) is


# folders


def test_a_folder_gives_its_images_in_order_of_bytes(tree: Path) -> None:
    assert names("d") == ["d/a.png", "d/b.JPG", "d/sub.jpg"]
    assert names("e/") == ["e/c.png", "e/c10.png", "e/c2.png"]


def test_recursive_goes_deep_in_the_order_of_the_whole_path(tree: Path) -> None:
    found = names("d", recursive=True)
    assert found == ["d/a.png", "d/b.JPG", "d/sub.jpg", "d/sub/deep/y.jpg", "d/sub/z.webp"]
    assert found == sorted(found, key=os.fsencode)


def test_what_is_skipped_is_counted(tree: Path) -> None:
    os.mkfifo("d/pipe.jpg")
    Path("d/link").symlink_to("sub")
    inputs = Inputs(["d"])
    list(inputs)
    assert inputs.skipped == {".txt": 2, "": 1, "hidden": 1, "folder": 1, "special": 1, "linked": 1}
    assert inputs.left_out().startswith("2 .txt, ")
    assert set(inputs.left_out().split(", ")) == {
        "2 .txt",
        "1 without a suffix",
        "1 hidden",
        "1 sub-folders (--recursive goes into them)",
        "1 special files",
        "1 links to folders",
    }


def test_links_to_folders_are_not_followed_and_links_to_files_are(tree: Path) -> None:
    Path("e/loop").symlink_to("../e")
    Path("e/x.png").symlink_to("c.png")
    Path("e/broken.png").symlink_to("gone.png")
    inputs = Inputs(["e"], recursive=True)
    assert list(inputs) == ["e/broken.png", "e/c.png", "e/c10.png", "e/c2.png", "e/x.png"]
    assert inputs.skipped == {"linked": 1}


def test_links_that_lead_in_a_circle_are_rows_or_skipped(tree: Path) -> None:
    Path("e/loop.png").symlink_to("loop.png")
    Path("e/loop").symlink_to("loop")
    inputs = Inputs(["e"])
    assert list(inputs) == ["e/c.png", "e/c10.png", "e/c2.png", "e/loop.png"]
    assert inputs.skipped == {"": 1}


def test_no_file_of_a_folder_is_asked_for_its_state(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(["d"], recursive=True)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("stat")

    monkeypatch.setattr(os, "stat", refuse)
    assert len(list(inputs)) == 5


def test_later_folders_are_listed_when_their_turn_comes(tree: Path) -> None:
    items = iter(Inputs(["d", "e"]))
    next(items)
    touch(tree, "e/late.png")
    assert "e/late.png" in list(items)


def test_file_names_that_are_no_text_pass(tree: Path) -> None:
    Path(os.fsdecode(b"e/\xff.png")).touch()
    assert os.fsdecode(b"e/\xff.png") in names("e")


def test_a_missing_folder_ends_it(tree: Path) -> None:
    with pytest.raises(CoderError, match="nowhere: No such file or directory; check the path"):
        Inputs(["d", "nowhere"])


def test_a_url_is_not_fetched(tree: Path) -> None:
    with pytest.raises(CoderError, match=r"No such file .*; download it first, this never uses the network"):
        Inputs(["https://example.org/cat.jpg"])


def deny(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    scandir = os.scandir

    def guarded(path: str) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


def test_an_unreadable_folder_ends_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, "d")
    with pytest.raises(CoderError, match=r"d: the folder cannot be read \(Permission denied\); make it readable"):
        Inputs(["d"])


def test_an_unreadable_sub_folder_is_a_row_in_its_place(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, "d/sub/deep")
    found = list(Inputs(["d"], recursive=True))
    row = found[3]
    assert isinstance(row, Prediction)
    assert row.path == "d/sub/deep"
    assert row.error is not None
    assert row.error.kind == "unreadable"
    assert row.error.message.startswith("d/sub/deep: the folder cannot be read (Permission denied); make it")
    assert found[4] == "d/sub/z.webp"


# files and patterns


def test_a_named_file_is_taken_whatever_its_suffix(tree: Path) -> None:
    assert names("d/notes.txt", "d/.hidden.png", "d/a.png", "d/a.png") == [
        "d/notes.txt",
        "d/.hidden.png",
        "d/a.png",
        "d/a.png",
    ]


def test_a_missing_image_is_left_to_fail_as_a_row(tree: Path) -> None:
    assert names("gone.jpg", "d/a.png") == ["gone.jpg", "d/a.png"]


def test_patterns(tree: Path) -> None:
    assert names("e/c?*.png") == ["e/c10.png", "e/c2.png"]
    assert names("d/**/*.jpg") == ["d/sub.jpg", "d/sub/deep/y.jpg"]


def test_a_pattern_takes_images_and_counts_the_rest(tree: Path) -> None:
    inputs = Inputs(["d/*"])
    assert list(inputs) == ["d/a.png", "d/b.JPG", "d/sub.jpg"]
    assert inputs.skipped == {".txt": 2, "": 1}


def test_a_pattern_that_spells_a_suffix_takes_it(tree: Path) -> None:
    assert names("d/*.txt") == ["d/more.txt", "d/notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tree: Path) -> None:
    touch(tree, "a[1].png", "a1.png")
    assert names("a[1].png") == ["a[1].png"]


def test_a_pattern_without_a_match_ends_it(tree: Path) -> None:
    with pytest.raises(CoderError, match=r"d/\*\.gif: no file matches this pattern; check it"):
        Inputs(["d/a.png", "d/*.gif"])


def test_nothing_found_says_what_was_looked_for(tree: Path) -> None:
    touch(tree, "texts/a.txt", "texts/b.txt")
    with pytest.raises(CoderError, match=r"no images in texts: looked for \.apng .*\.jpg .*; skipped 2 \.txt"):
        names("texts")


# lists on standard input


@pytest.mark.parametrize(
    ("data", "null", "expected"),
    [
        (b"a.jpg\nb c.png\n", False, ["a.jpg", "b c.png"]),
        (b"a.jpg\r\n\r\n\n b.png", False, ["a.jpg", " b.png"]),
        (b"a.jpg\0b\nc.png\0", True, ["a.jpg", "b\nc.png"]),
        (b"a.jpg\0\0b.png", True, ["a.jpg", "b.png"]),
        (b"\xff.jpg\n", False, [os.fsdecode(b"\xff.jpg")]),
    ],
)
def test_a_list_on_stdin(pipe: Pipe, data: bytes, null: bool, expected: list[str]) -> None:
    pipe.write(data, end=True)
    assert list(Inputs(["-"], stdin=pipe.reader, null=null)) == expected


def test_paths_on_stdin_are_given_out_as_they_come(pipe: Pipe) -> None:
    items = iter(Inputs(["-"], stdin=pipe.reader))
    pipe.write(b"a.jpg\nb.jp")
    assert next(items) == "a.jpg"
    threading.Thread(target=lambda: (time.sleep(0.02), pipe.write(b"g\n"))).start()
    assert next(items) == "b.jpg"


def test_a_list_has_a_pause_wherever_more_has_to_be_waited_for(pipe: Pipe) -> None:
    items = Inputs(["-"], stdin=pipe.reader).with_pauses()
    pipe.write(b"a.jpg\nb.jpg\nc.j")
    assert [next(items), next(items)] == ["a.jpg", "b.jpg"]
    assert isinstance(next(items), Pause)
    pipe.write(b"pg\n", end=True)
    assert list(items) == ["c.jpg"]


def test_an_endless_list_is_read_lazily(pipe: Pipe) -> None:
    def feed() -> None:
        try:
            while True:
                pipe.write(b"a.jpg\n" * 1000)
        except OSError:
            pass

    writer = threading.Thread(target=feed)
    writer.start()
    items = iter(Inputs(["-"], stdin=pipe.reader))
    assert set(itertools.islice(items, 100_000)) == {"a.jpg"}
    pipe.close(pipe.reader)
    writer.join(5)
    assert not writer.is_alive()


def test_an_empty_list_ends_it(pipe: Pipe) -> None:
    pipe.write(b"", end=True)
    with pytest.raises(CoderError, match="no path came on standard input; wanted one a line"):
        list(Inputs(["-"], stdin=pipe.reader))


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0\x00\x10JFIF\n\x00", b"a.jpg\0b.jpg\0"])
def test_an_image_or_a_list_by_nul_where_lines_are_wanted(pipe: Pipe, content: bytes) -> None:
    pipe.write(content, end=True)
    with pytest.raises(CoderError, match=r"wanted a list of paths, one a line, got bytes .*by name; --null takes"):
        list(Inputs(["-"], stdin=pipe.reader))


def test_a_closed_stdin_ends_it(pipe: Pipe) -> None:
    pipe.close(pipe.reader)
    with pytest.raises(CoderError, match=r"standard input cannot be read \(Bad file descriptor\); pipe a list"):
        list(Inputs(["-"], stdin=pipe.reader))


# how many


def test_the_total_is_known_when_the_last_argument_is_listed(tree: Path) -> None:
    inputs = Inputs(["d", "e"])
    items = iter(inputs)
    next(items)
    assert inputs.total is None
    list(items)
    assert inputs.total == 6
    assert inputs.listed


def test_the_total_of_files_is_known_at_once_from_one_folder(tree: Path) -> None:
    inputs = Inputs(["e"])
    next(iter(inputs))
    assert inputs.total == 3


@pytest.mark.parametrize("arguments", [["d"], ["d", "d/a.png"]])
def test_the_total_of_a_deep_search_stays_unknown(tree: Path, arguments: list[str]) -> None:
    inputs = Inputs(arguments, recursive=True)
    list(inputs)
    assert inputs.total is None


def test_the_total_of_a_list_stays_unknown(tree: Path, pipe: Pipe) -> None:
    pipe.write(b"a.jpg\n", end=True)
    inputs = Inputs(["-", "d"], stdin=pipe.reader)
    list(inputs)
    assert inputs.total is None
    assert not inputs.listed
