"""One class a line: what a label file may hold, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.labels import MAX_LABELS, check_labels, doubt, load_labels, spoken_names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.txt"


def refusal(path: Path) -> str:
    with pytest.raises(TextsError) as caught:
        load_labels(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nhot dog\n",
        b"cat\ndog\nhot dog",
        b"cat\r\ndog\r\nhot dog\r\n",
        b"cat\rdog\rhot dog\r",
        b"\xef\xbb\xbfcat\ndog\nhot dog\n",
        b"\xef\xbb\xbfcat\ndog\n\xef\xbb\xbfhot dog\n",
        b"  cat\ndog\t\n hot dog \n",
        "\u200bcat\ndog \u2060\u200b \n\u200b hot dog\n\u200b\n".encode(),
        b"cat\ndog\nhot dog\n\n \n\t\r\n\n",
    ],
    ids=["plain", "no last newline", "CRLF", "CR", "BOM", "BOMs", "outer spaces", "no width", "blank lines at the end"],
)
def test_labels_in_file_order(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert load_labels(path) == ("cat", "dog", "hot dog")
    assert load_labels(str(path)) == ("cat", "dog", "hot dog")


def test_labels_are_not_ascii_only(path: Path) -> None:
    path.write_text("jalapeño\n喜马拉雅猫\nÉclair\n", encoding="utf-8")
    assert load_labels(path) == ("jalapeño", "喜马拉雅猫", "Éclair")


@pytest.mark.parametrize("space", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_ends_where_an_editor_ends_it(path: Path, space: str) -> None:
    path.write_text(f"hot{space}dog\ncat\n", encoding="utf-8")
    assert load_labels(path) == (f"hot{space}dog", "cat")


def test_an_empty_file(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(TextsError, match=r"labels\.txt: no labels in it; write one class name a line"):
        load_labels(path)


@pytest.mark.parametrize("content", [b"\n", b"\n \n\t\n", b"\xef\xbb\xbf", b"\r\n\r\n"])
def test_only_blank_lines(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TextsError, match="no labels in it"):
        load_labels(path)


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_blank_line_in_the_middle(path: Path, blank: str) -> None:
    path.write_text(f"cat\n{blank}\ndog\n")
    with pytest.raises(TextsError, match=r"labels\.txt:2: blank line; the line number is the class id, so remove it"):
        load_labels(path)


def test_a_blank_first_line(path: Path) -> None:
    path.write_text("\ncat\n")
    assert "labels.txt:1: blank line" in refusal(path)


@pytest.mark.parametrize("again", ["hot dog", "Hot Dog", "HOT DOG", "hot   dog", "hot\tdog", " Hot  dog "])
def test_a_duplicate_by_case_and_spacing(path: Path, again: str) -> None:
    path.write_text(f"cat\nhot dog\nbird\n{again}\n")
    with pytest.raises(TextsError, match=r"labels\.txt:4: label .* stands on line 2 already .* its own name"):
        load_labels(path)
    assert repr(again.strip()) in refusal(path)


SAME_TO_CLIP = [
    ("caf\u00e9", "cafe\u0301"),
    ("R&B", "R&amp;B"),
    ("R&B", "R&amp;amp;B"),
    ("bird\u2019s nest", "bird's nest"),
    ("\u201cquoted\u201d", '"quoted"'),
    ("\ufb01sh", "fish"),
    ("\uff23\uff21\uff34", "cat"),
]


@pytest.mark.parametrize(("name", "again"), SAME_TO_CLIP)
def test_a_duplicate_to_the_tokenizer(path: Path, name: str, again: str) -> None:
    path.write_text(f"{name}\n{again}\n", encoding="utf-8")
    with pytest.raises(TextsError, match=r"labels\.txt:2: label .* stands on line 1 already .*curly quotes"):
        load_labels(path)


@pytest.mark.parametrize(("name", "again"), SAME_TO_CLIP)
def test_these_are_duplicates_to_the_tokenizer(name: str, again: str) -> None:
    open_clip = pytest.importorskip("open_clip")
    tokens = open_clip.get_tokenizer("ViT-B-32")([name, again])
    assert (tokens[0] == tokens[1]).all()


def test_names_that_only_share_letters_are_no_duplicates(path: Path) -> None:
    path.write_text("hotdog\nhot dog\nhot-dog\n")
    assert load_labels(path) == ("hotdog", "hot dog", "hot-dog")


@pytest.mark.parametrize(
    ("content", "at"),
    [("cat\nJalapeño\n".encode("latin-1"), 10), ("cat\ndog\n".encode("utf-16"), 0), (b"\x80", 0)],
)
def test_not_utf8(path: Path, content: bytes, at: int) -> None:
    path.write_bytes(content)
    with pytest.raises(TextsError, match=rf"labels\.txt: not UTF-8 at byte {at}; save it as UTF-8"):
        load_labels(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "cat\ndog\n".encode("utf-16-le"),
            r"1: not plain UTF-8 text, got the control character '\x00'; save it as UTF-8",
        ),
        ("cat\ndog\n".encode("utf-16-be"), r"1: not plain UTF-8 text, got the control character '\x00'"),
        (b"cat\nd\x1b[1mog\n", r"2: not plain UTF-8 text, got the control character '\x1b'"),
        (b"cat\nd\x7fog\n", r"2: not plain UTF-8 text, got the control character '\x7f'"),
        ("cat\nd\x9fog\n".encode(), r"2: not plain UTF-8 text, got the control character '\x9f'"),
    ],
)
def test_control_characters(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    assert f"labels.txt:{said}" in refusal(path)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(TextsError, match=r"labels\.txt: no such file; give a text file with one class name a line"):
        load_labels(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"cannot be read \(Is a directory\); check the path and its permissions"):
        load_labels(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_as_many_labels_as_are_allowed(path: Path, end: str) -> None:
    path.write_text("\n".join(f"class {i}" for i in range(MAX_LABELS)) + end)
    labels = load_labels(path)
    assert (len(labels), labels[-1]) == (50_000, "class 49999")


@pytest.mark.parametrize(("count", "said"), [(50_001, "50,001"), (100_000, "100,000")])
def test_too_many_labels(path: Path, count: int, said: str) -> None:
    path.write_text("\n".join(f"class {i}" for i in range(count)))
    with pytest.raises(TextsError, match=rf"{said} lines, at most 50,000 labels are supported; is it a label file\?"):
        load_labels(path)


def test_a_file_that_is_no_label_file_is_not_read_whole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 28)  # sparse: takes no disk
    with pytest.raises(TextsError, match=r"labels\.txt: more than 32 MB, too much .*is it a label file"):
        load_labels(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("0 cat", "1 dog"), "every line begins with its number"),
        (("1. cat", "2. dog"), "every line begins with its number"),
        (("0,cat", "1,dog"), "every line begins with its number"),
        (('["cat","dog"]',), "it looks like JSON"),
        (("{", '"0": "cat"', "}"), "it looks like JSON"),
        (('"cat",', '"dog"'), "it looks like JSON"),
        (("cat,dog,bird",), "every line is a list"),
        (("cat,feline", "dog,canine"), "every line is a list"),
        (("# my classes", "cat", "dog"), "line 1 begins with #"),
        (("cat", "# not dog"), "line 2 begins with #"),
        (("cat",), "there is one class only"),
    ],
)
def test_names_that_were_hardly_meant(names: tuple[str, ...], said: str) -> None:
    assert str(doubt(names)) == (
        f"{said}; a label file has one class name a line, and the line number, from 0, is the class id: "
        f"is {next((name for name in names if name[0] == '#'), names[0])!r} a class?"
    )


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "dog"),
        ("1 series", "3 series"),
        ("2012 sedan", "2013 sedan"),
        ("7", "8"),
        ("0 cat", "dog"),
        ("crane, bird", "crane"),
    ],
)
def test_names_that_may_well_be_meant(names: tuple[str, ...]) -> None:
    assert doubt(names) is None


def test_names_from_elsewhere_are_named_so() -> None:
    assert check_labels(["cat", "dog"], where="the --labels argument") == ("cat", "dog")
    with pytest.raises(TextsError, match=r"^the --labels argument:2: label 'CAT' stands on line 1 already"):
        check_labels(["cat", "CAT"], where="the --labels argument")


@pytest.mark.parametrize(
    ("labels", "spoken"),
    [
        (("ceiling_fan", "Faces_easy", "cat"), ("ceiling fan", "Faces easy", "cat")),
        (("_a__b_ c", "a  b"), ("a b c", "a  b")),
        (("_", "__"), ("_", "__")),
        (("sea_lion", "Sea lion", "elk_"), ("sea_lion", "Sea lion", "elk")),
        (("sea_lion", "sea__lion"), ("sea_lion", "sea__lion")),
    ],
)
def test_names_as_sentences_say_them(labels: tuple[str, ...], spoken: tuple[str, ...]) -> None:
    assert spoken_names(labels) == spoken
