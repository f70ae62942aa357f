"""Text sets: reading and refusing a folder, remapping to other labels, and the sentences in their order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export import textset
from coder_export.templates import Templates
from coder_export.textset import (
    Sentence,
    TextSet,
    find_shipped,
    load_textset,
    names_only,
    open_textset,
    render_textset,
    save_textset,
    shipped,
)

LABELS = ("cat", "elk", "owl")
TEXTS = [
    {"class": "cat", "kind": "attribute", "text": "whiskers"},
    {"class": "elk", "kind": "synonym", "text": "wapiti"},
    {"class": "cat", "kind": "synonym", "text": "house cat"},
    {"class": "cat", "kind": "attribute", "text": "retractable claws"},
    {"class": "cat", "kind": "analogous", "text": "ocelot"},
]
PAIRS = [
    {"class": "cat", "other": "elk", "text": "its size"},
    {"class": "elk", "other": "cat", "text": "its antlers"},
    {"class": "cat", "other": "elk", "text": "its claws"},
    {"class": "owl", "other": "cat", "text": "its beak"},
]
Write = Callable[..., Path]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text set with some files replaced (str), or left out (None)."""

    def write(**files: str | None) -> Path:
        folder = tmp_path / "animals"
        folder.mkdir()
        content = {
            "labels_txt": "\n".join(LABELS) + "\n",
            "texts_jsonl": lines(TEXTS),
            "pairs_jsonl": lines(PAIRS),
        }
        for name, text in {**content, **files}.items():
            if text is not None:
                (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        return folder

    return write


def refused(folder: Path) -> str:
    with pytest.raises(TextsError) as caught:
        load_textset(folder)
    return str(caught.value).replace(str(folder), "animals")


def test_a_folder(write: Write) -> None:
    found = load_textset(write(source_json='{"writer": "us", "date": "2026-01-01"}'))
    assert found == TextSet(
        name="animals",
        labels=LABELS,
        texts=(
            {
                "attribute": ("whiskers", "retractable claws"),
                "synonym": ("house cat",),
                "analogous": ("ocelot",),
            },
            {"synonym": ("wapiti",)},
            {},
        ),
        pairs={(0, 1): ("its size", "its claws"), (1, 0): ("its antlers",), (2, 0): ("its beak",)},
        templates=Templates(),
        source={"writer": "us", "date": "2026-01-01"},
    )


def test_labels_alone_are_a_text_set(write: Write) -> None:
    found = load_textset(write(texts_jsonl=None, pairs_jsonl=None))
    assert (found.texts, found.pairs, found.templates, found.source) == (({}, {}, {}), {}, Templates(), {})


def test_blank_lines_and_windows_files(write: Write) -> None:
    texts = "\ufeff" + lines(TEXTS).replace("\n", "\r\n\r\n")
    folder = write(
        texts_jsonl=texts,
        pairs_jsonl="\ufeff\n" + lines(PAIRS) + "\n\n",
        templates_json='\ufeff{"name": ["{class}"]}',
        source_json="\ufeff{}",
    )
    found = load_textset(folder)
    assert found.texts[0]["attribute"] == ("whiskers", "retractable claws")
    assert found.templates.name == ("{class}",)
    assert len(found.pairs) == 3


def test_the_labels_are_needed(write: Write) -> None:
    assert refused(write(labels_txt=None)).startswith("animals/labels.txt: no such file")


# the sentences


def test_general_sentences_in_the_order_of_eq_7(write: Write) -> None:
    found = load_textset(write())
    assert found.sentences(0) == [
        Sentence(kind="name", text="a photo of a cat."),
        Sentence(kind="attribute", text="a photo of a cat, which has whiskers."),
        Sentence(kind="attribute", text="a photo of a cat, which has retractable claws."),
        Sentence(kind="analogous", text="a photo of a cat, similar to an ocelot."),
        Sentence(kind="synonym", text="a photo of a house cat."),
    ]
    assert found.sentences(2) == [Sentence(kind="name", text="a photo of an owl.")]


def test_duel_sentences(write: Write) -> None:
    found = load_textset(write())
    assert found.duel_sentences(0, 1) == [
        "Because of its size, a cat is different from an elk.",
        "Because of its claws, a cat is different from an elk.",
    ]
    assert found.duel_sentences(1, 0) == ["Because of its antlers, an elk is different from a cat."]
    assert found.duel_sentences(0, 2) == []


def test_every_text_goes_into_every_template_of_its_kind(write: Write) -> None:
    templates = {
        "name": ["{class}", "one {class}"],
        "attribute": ["{text}!", "{text}?"],
        "pair": ["{text}1", "{text}2"],
    }
    found = load_textset(write(templates_json=json.dumps(templates)))
    texts = [sentence.text for sentence in found.sentences(0)]
    assert texts[:6] == [
        "cat",
        "one cat",
        "whiskers!",
        "whiskers?",
        "retractable claws!",
        "retractable claws?",
    ]
    assert found.duel_sentences(0, 1) == ["its size1", "its size2", "its claws1", "its claws2"]


def test_names_only_has_plain_prompts() -> None:
    found = names_only(("cat", "owl"))
    assert [found.sentences(i) for i in range(2)] == [
        [Sentence(kind="name", text="a photo of a cat.")],
        [Sentence(kind="name", text="a photo of an owl.")],
    ]
    assert (found.pairs, found.name) == ({}, "class names only")


# refusals of rows


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


# refusals of files


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


# other labels


@pytest.fixture
def animals(write: Write) -> TextSet:
    return load_textset(write(source_json='{"writer": "us"}', templates_json='{"name": ["{class}"]}'))


def test_the_same_labels_change_nothing(animals: TextSet) -> None:
    assert animals.for_labels(LABELS) is animals


def test_a_reorder_takes_texts_and_pairs_along(animals: TextSet) -> None:
    found = animals.for_labels(("owl", "cat", "elk"))
    assert found.labels == ("owl", "cat", "elk")
    assert found.texts == (animals.texts[2], animals.texts[0], animals.texts[1])
    assert found.pairs == {(1, 2): ("its size", "its claws"), (2, 1): ("its antlers",), (0, 1): ("its beak",)}
    assert found.duel_sentences(2, 1) == animals.duel_sentences(1, 0)
    assert (found.name, found.source, found.templates) == (animals.name, animals.source, animals.templates)


def test_a_subset_drops_the_pairs_of_the_others(animals: TextSet) -> None:
    found = animals.for_labels(("owl", "cat"))
    assert found.pairs == {(0, 1): ("its beak",)}
    assert [found.sentences(i) for i in range(2)] == [animals.sentences(2), animals.sentences(0)]
    assert animals.for_labels(("elk",)).pairs == {}


def test_labels_without_texts(animals: TextSet) -> None:
    wanted = r"text set 'animals' has no texts for 1 of 2 labels \(dog\); give the labels it was written for"
    with pytest.raises(TextsError, match=wanted):
        animals.for_labels(("cat", "dog"))


def test_many_labels_without_texts_are_not_all_listed(animals: TextSet) -> None:
    with pytest.raises(TextsError, match=r"no texts for 7 of 8 labels \(1, 2, 3, 4, 5, \.\.\.\);"):
        animals.for_labels(("cat", *"1234567"))


# shipped sets


def test_open_by_folder_and_by_name(animals: TextSet, tmp_path: Path) -> None:
    assert open_textset(str(tmp_path / "animals")) == animals
    name, folder = next(iter(shipped().items()))
    assert open_textset(name) == load_textset(folder)


@pytest.mark.parametrize("name", ["cifar100", "no/such/folder"])
def test_an_unknown_name_lists_the_shipped_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textset, "shipped", lambda: {"cifar10": Path("a"), "pets": Path("b")})
    with pytest.raises(
        TextsError, match=r"neither a folder nor a shipped text set; shipped are cifar10, pets$"
    ) as caught:
        open_textset(name)
    assert str(caught.value).startswith(f"--texts {name}: ")


def test_shipped_skips_what_is_no_text_set() -> None:
    assert "cifar10" in shipped()
    assert all((folder / "labels.txt").is_file() for folder in shipped().values())
    assert "__pycache__" not in shipped()


def test_find_shipped_by_labels() -> None:
    labels = load_textset(shipped()["cifar10"]).labels
    assert find_shipped(labels) == "cifar10"
    assert find_shipped(tuple(reversed(labels[:3]))) == "cifar10"
    assert find_shipped((*labels, "no such class anywhere")) is None


# writing


def test_saved_and_loaded_again(write: Write, tmp_path: Path) -> None:
    found = load_textset(write(source_json='{"writer": "us"}', templates_json='{"name": ["{class}"]}'))
    folder = tmp_path / "copy" / "animals"
    folder.mkdir(parents=True)
    save_textset(found, folder)
    assert load_textset(folder) == found
    assert sorted(path.name for path in folder.iterdir()) == sorted(render_textset(found))


def test_the_files_of_a_text_set() -> None:
    found = TextSet(
        name="animals",
        labels=LABELS,
        texts=({"synonym": ("tom",), "attribute": ("whiskers", "Schnäuzchen")}, {}, {"analogous": ("bat",)}),
        pairs={(2, 0): ("its beak",), (0, 1): ("its size", "its claws")},
        source={"writer": "Zoë"},
    )
    files = render_textset(found)
    assert files["labels.txt"] == "cat\nelk\nowl\n"
    assert files["texts.jsonl"].splitlines() == [
        '{"class": "cat", "kind": "attribute", "text": "whiskers"}',
        '{"class": "cat", "kind": "attribute", "text": "Schnäuzchen"}',
        '{"class": "cat", "kind": "synonym", "text": "tom"}',
        '{"class": "owl", "kind": "analogous", "text": "bat"}',
    ]
    assert files["pairs.jsonl"].splitlines() == [
        '{"class": "cat", "other": "elk", "text": "its size"}',
        '{"class": "cat", "other": "elk", "text": "its claws"}',
        '{"class": "owl", "other": "cat", "text": "its beak"}',
    ]
    assert Templates.from_json(json.loads(files["templates.json"]), where="t") == Templates()
    assert files["source.json"] == '{\n  "writer": "Zoë"\n}\n'


def test_equal_text_sets_give_equal_bytes(animals: TextSet) -> None:
    turned = replace(
        animals,
        texts=tuple(dict(reversed(own.items())) for own in animals.texts),
        pairs=dict(reversed(animals.pairs.items())),
    )
    assert render_textset(turned) == render_textset(animals)


def test_labels_come_after_the_texts_and_the_source_last(animals: TextSet) -> None:
    assert list(render_textset(animals))[-2:] == ["labels.txt", "source.json"]


@pytest.mark.parametrize("text", ["two\nlines", "tab\t", '"quotes"', "back\\slash", "\u2028", "\x85", "\r", "\ufeff"])
def test_texts_of_all_kinds_come_back(text: str, tmp_path: Path) -> None:
    found = TextSet(name=tmp_path.name, labels=("cat",), texts=({"attribute": (f"a{text}b",)},), pairs={})
    save_textset(found, tmp_path)
    assert load_textset(tmp_path) == found


def test_a_folder_that_cannot_be_written_is_left_as_it_was(animals: TextSet, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_textset(animals, tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "texts.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        save_textset(animals, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["texts.jsonl"]
