"""A text set is written as it is read, the same bytes for equal sets, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from coder_export.templates import Templates
from coder_export.textset import TextSet
from coder_export.textset_file import load_textset, render_textset, save_textset
from helpers_textset import LABELS, Write


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


def test_underscores_stay_in_the_files(tmp_path: Path) -> None:
    texts = ({"attribute": ("four blades",)}, {})
    textset = TextSet(name="rooms", labels=("ceiling_fan", "sofa"), texts=texts, pairs={(0, 1): ("its blades",)})
    save_textset(textset, tmp_path)
    assert (tmp_path / "labels.txt").read_text() == "ceiling_fan\nsofa\n"
    found = load_textset(tmp_path)
    assert (found.labels, found.names) == (textset.labels, ("ceiling fan", "sofa"))
