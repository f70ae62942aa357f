"""Rows and files of a text set that are refused, each with its place and what to do."""

from __future__ import annotations

import json

import pytest

from coder_engine.errors import TextsError
from coder_export.textset_file import load_textset
from helpers_textset import PAIRS, TEXTS, Write, lines, refused

# rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes)"),
        ("class: cat", "not JSON (Expecting value)"),
        (lines(TEXTS[:1]).strip() * 2, "not JSON (Extra data)"),
        ("9" * 5000, "not JSON (Exceeds the limit (4300 digits)"),
        ("[" * 100_000, "not JSON (maximum recursion depth exceeded"),
    ],
    ids=["cut off", "YAML", "two objects", "huge integer", "deep nesting"],
)
@pytest.mark.parametrize("name", ["texts", "pairs"])
def test_a_row_that_is_not_json(write: Write, name: str, row: str, said: str) -> None:
    good = lines(TEXTS if name == "texts" else PAIRS)
    number = good.count("\n") + 2
    message = refused(write(**{f"{name}_jsonl": f"{good}\n{row}\n"}))
    assert message.startswith(f"animals/{name}.jsonl:{number}: {said}")
    assert message.endswith("; write one object a line")


@pytest.mark.parametrize("key", ["class", "kind", "text"])
@pytest.mark.parametrize("value", ["", "  ", 3, None, ["cat"], {"cat": 1}, True])
def test_a_text_row_needs_three_filled_strings(write: Write, key: str, value: object) -> None:
    row = json.dumps({**TEXTS[0], key: value})
    wanted = f"animals/texts.jsonl:1: expected an object with non-empty strings class, kind, text, got {row[:80]}"
    assert refused(write(texts_jsonl=row)) == wanted


@pytest.mark.parametrize("key", ["class", "other", "text"])
def test_a_pair_row_needs_three_filled_strings(write: Write, key: str) -> None:
    row = json.dumps({name: value for name, value in PAIRS[0].items() if name != key})
    wanted = f"animals/pairs.jsonl:5: expected an object with non-empty strings class, other, text, got {row}"
    assert refused(write(pairs_jsonl=lines(PAIRS) + row)) == wanted


def test_half_a_surrogate_pair_is_no_letter(write: Write) -> None:
    row = json.dumps({**TEXTS[0], "text": "a \ud800 b"})
    said = "texts.jsonl:1: half a surrogate pair (\\ud800 to \\udfff) is no letter, got "
    assert said in refused(write(texts_jsonl=row))


@pytest.mark.parametrize("row", ["[1, 2]", '"cat"', "null", "1"])
def test_a_row_that_is_no_object(write: Write, row: str) -> None:
    assert refused(write(texts_jsonl=row)).endswith(f"strings class, kind, text, got {row}")


def test_a_long_bad_row_is_cut_in_the_message(write: Write) -> None:
    assert refused(write(texts_jsonl=json.dumps(["x" * 500]))).endswith('got ["' + "x" * 78)


@pytest.mark.parametrize("label", ["dog", "Cat", "cat "])
def test_an_unknown_class(write: Write, label: str) -> None:
    wanted = f"class {label!r} is not in labels.txt; mend the name or add the label"
    text = {"class": label, "kind": "synonym", "text": "tabby"}
    folder = write(texts_jsonl=lines([*TEXTS, text]), pairs_jsonl=lines([{**PAIRS[0], "class": label}]))
    assert refused(folder) == f"animals/texts.jsonl:6: {wanted}"
    (folder / "texts.jsonl").unlink()
    assert refused(folder) == f"animals/pairs.jsonl:1: {wanted}"
    (folder / "pairs.jsonl").write_text(lines([PAIRS[1], {**PAIRS[0], "other": label}]))
    assert refused(folder) == f"animals/pairs.jsonl:2: {wanted}"


@pytest.mark.parametrize("kind", ["name", "pair", "Attribute", "colour"])
def test_an_unknown_kind(write: Write, kind: str) -> None:
    wanted = f"animals/texts.jsonl:1: kind {kind!r} is unknown; kinds are attribute, analogous, synonym"
    assert refused(write(texts_jsonl=lines([{**TEXTS[0], "kind": kind}]))) == wanted


def test_a_class_against_itself(write: Write) -> None:
    wanted = "animals/pairs.jsonl:2: class 'elk' is set against itself; name two classes"
    assert refused(write(pairs_jsonl=lines([PAIRS[0], {**PAIRS[1], "other": "elk"}]))) == wanted


# files


@pytest.mark.parametrize("name", ["texts.jsonl", "pairs.jsonl"])
def test_rows_that_are_not_utf8(write: Write, name: str) -> None:
    folder = write()
    with (folder / name).open("ab") as stream:
        stream.write('{"class": "cat", "kind": "synonym", "other": "elk", "text": "pequeño"}'.encode("latin-1"))
    assert refused(folder) == f"animals/{name}: not UTF-8 (invalid continuation byte); save it as UTF-8"


@pytest.mark.parametrize("name", ["texts.jsonl", "pairs.jsonl"])
def test_a_folder_where_rows_should_be(write: Write, name: str) -> None:
    folder = write(texts_jsonl=None, pairs_jsonl=None)
    (folder / name).mkdir()
    wanted = f"animals/{name}: cannot be read (Is a directory); check the path and its permissions"
    assert refused(folder) == wanted


@pytest.mark.parametrize("name", ["templates.json", "source.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON (Expecting property name"),
        (b"", "not JSON (Expecting value"),
        (b'{"writer": "Jos\xe9"}', "not JSON ('utf-8' codec can't decode"),
        (b"9" * 5000, "not JSON (Exceeds the limit"),
        (b"[" * 100_000, "not JSON (maximum recursion depth"),
    ],
    ids=["cut off", "empty", "latin-1", "huge integer", "deep nesting"],
)
def test_a_json_file_that_is_none(write: Write, name: str, content: bytes, said: str) -> None:
    folder = write()
    (folder / name).write_bytes(content)
    message = refused(folder)
    assert message.startswith(f"animals/{name}: {said}")
    assert message.endswith("; mend or remove it")


@pytest.mark.parametrize("name", ["templates.json", "source.json"])
def test_a_folder_where_a_json_file_should_be(write: Write, name: str) -> None:
    folder = write()
    (folder / name).mkdir()
    assert refused(folder) == f"animals/{name}: cannot be read (Is a directory); check its permissions"


def test_a_bad_template_names_its_file(write: Write) -> None:
    folder = write(templates_json='{"name": ["cat"]}')
    with pytest.raises(TextsError, match=r"animals/templates\.json: template 'cat' of 'name'"):
        load_textset(folder)


@pytest.mark.parametrize(("source", "got"), [("[]", "list"), ('"us"', "str"), ("null", "NoneType")])
def test_a_source_that_is_no_object(write: Write, source: str, got: str) -> None:
    wanted = f"animals/source.json: expected an object, got {got}; write who made the texts as an object"
    assert refused(write(source_json=source)) == wanted


@pytest.mark.parametrize("aliases", [["a"], "a", {"a": ["b"]}, {"a": 1, "b": "c"}, None])
def test_aliases_that_are_no_names(write: Write, aliases: object) -> None:
    message = refused(write(source_json=json.dumps({"aliases": aliases})))
    assert message.startswith("animals/source.json: aliases must be an object of name to label, all strings, got ")
