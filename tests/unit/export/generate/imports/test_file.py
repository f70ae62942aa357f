"""Files from others: what is read, and what is refused before anything of it is used."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.imports.file import read_texts, shape, strings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "texts.json"


def refused(path: Path) -> str:
    with pytest.raises(TextsError) as caught:
        read_texts(path)
    return str(caught.value).replace(str(path.parent), "there")


@pytest.mark.parametrize("data", [{"cat": ["whiskers"]}, ["soft", "wet"], {}, []])
@pytest.mark.parametrize("start", ["", "\ufeff", "\r\n "])
def test_json(path: Path, data: object, start: str) -> None:
    path.write_text(start + json.dumps(data), encoding="utf-8")
    assert read_texts(path) == data


def test_a_plain_word_list(path: Path) -> None:
    path.write_text("\ufeffsoft\r\n wet \n\npequeño\n", encoding="utf-8")
    assert read_texts(path) == ["soft", "wet", "pequeño"]


def test_plain_text_that_is_no_word_list(path: Path) -> None:
    path.write_text("soft\nA cat has whiskers.\n")
    assert refused(path) == (
        "there/texts.json:2: neither JSON nor a list of one word a line, got 'A cat has whiskers.'; "
        "give a JSON file of texts, or a word list"
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_by_its_content(path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps({"cat": ["whiskers"]}, protocol=protocol))
    assert refused(path) == (
        "there/texts.json: a pickle, got where JSON or plain text is wanted; reading a pickle runs code from it. "
        "Load it where you trust it, and write json.dump(..) of what it holds"
    )


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "pt", "pth", "PKL"])
def test_a_pickle_by_its_name(path: Path, suffix: str) -> None:
    path = path.with_suffix(f".{suffix}")
    path.write_text("{}")
    assert refused(path).startswith(f"there/texts.{suffix}: a pickle, got")


def test_not_utf8(path: Path) -> None:
    path.write_bytes('{"cat": ["pequeño"]}'.encode("latin-1"))
    assert refused(path) == "there/texts.json: not UTF-8 at byte 15; save it as UTF-8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cat": ["whiskers"', "not JSON (Expecting ',' delimiter"),
        ("{'cat': []}", "not JSON (Expecting property name"),
        ("[" + "9" * 5000 + "]", "not JSON (Exceeds the limit (4300 digits)"),
        ("[" * 100_000, "not JSON (maximum recursion depth exceeded"),
    ],
    ids=["cut off", "Python", "huge integer", "deep nesting"],
)
def test_not_json(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    message = refused(path)
    assert message.startswith(f"there/texts.json: {said}")
    assert message.endswith("; mend it, or export it once more")


@pytest.mark.parametrize("text", ['{"cat": [], "dog": [], "cat": ["whiskers"]}', '{"a": {"cat": 1, "cat": 1}}'])
def test_a_key_that_is_there_twice(path: Path, text: str) -> None:
    path.write_text(text)
    assert refused(path) == "there/texts.json: key 'cat' is there twice in one object; rename or join the two"


def test_no_file(path: Path) -> None:
    assert refused(path) == "there/texts.json: no such file; give a file of texts to import"
    path.mkdir()
    assert refused(path).startswith("there/texts.json: cannot be read (Is a directory); check the path")


def test_strings() -> None:
    assert strings(["a", ""], "here") == ["a", ""]
    with pytest.raises(TextsError, match=r"^here: expected a list of texts, got \"a\"; write its texts as a list"):
        strings("a", "here")
    with pytest.raises(TextsError, match=r"^here\[1\]: expected a text, got null; make it a string or remove it$"):
        strings(["a", None], "here")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1}, "an object of 1 keys"),
        ([1, 2], "a list of 2"),
        (None, "null"),
        (True, "true"),
        ("ñ" * 99, '"' + "ñ" * 79),
    ],
)
def test_shape(value: object, said: str) -> None:
    assert shape(value) == said
