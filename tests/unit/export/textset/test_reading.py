"""A folder becomes a text set, and a text set its sentences in their order."""

from __future__ import annotations

import json

from coder_export.templates import Templates
from coder_export.textset import Sentence, TextSet, names_only
from coder_export.textset_file import load_textset
from helpers_textset import LABELS, PAIRS, TEXTS, Write, lines, refused

# the folder


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
