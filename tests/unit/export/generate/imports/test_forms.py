"""Imports: each form into a text set for our labels, what the notes count, and the real files where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.imports.forms import Imported, import_texts
from coder_export.generate.imports.phrase import NOTE, TEMPLATES
from coder_export.labels import load_labels
from coder_export.matching import Matches

LABELS = ("cat", "elk", "owl")
DESCRIPTORS = {
    "owls": [" a bird of  the night", "turns its head", "a bird of the night", ""],
    "CAT": ["whiskers.", "a kind of feline", "spots and so on..."],
    "yak": ["long hair", "horns"],
}
SENTENCES = {"cat": ["A cat has whiskers.", "\nA cat has whiskers.", "Cats have fur."], "yak": ["It has horns."]}
CODER = {"attribute": [["whiskers"], ["antlers"], []], "one_to_one": {"elk": {"cat": ["hooves"], "yak": ["antlers"]}}}
WORDS = [f"word{i}" for i in range(40)]
Import = Callable[..., Imported]


@pytest.fixture
def load(tmp_path: Path) -> Import:
    """Import ``data``, written as a file."""

    def load(data: Any, **options: Any) -> Imported:
        path = tmp_path / "theirs.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return import_texts(path, LABELS, **options)

    return load


def test_descriptors(load: Import) -> None:
    found = load(DESCRIPTORS)
    assert found.textset.labels == LABELS
    assert found.textset.texts == (
        {"attribute": ("which has whiskers", "which is a kind of feline", "which has spots and so on...")},
        {},
        {"attribute": ("which is a bird of the night", "which turns its head")},
    )
    assert (found.textset.templates, found.textset.pairs, found.textset.name) == (TEMPLATES, {}, "theirs")
    assert [sentence.text for sentence in found.textset.sentences(2)] == [
        "a photo of an owl.",
        "a photo of an owl, which is a bird of the night.",
        "a photo of an owl, which turns its head.",
    ]
    assert found.textset.source == {"writer": "imported", "file": "theirs.json", "form": "vcd"}
    assert found.matches == Matches(found={"owls": "owl", "CAT": "cat"}, unknown=("yak",), missing=("elk",))
    assert found.notes == (
        "Recognised as the form vcd: class -> descriptors.",
        NOTE,
        "Empty texts dropped: 1.",
        "Texts dropped because the same list has them already: 1.",
        "Texts that lost their final full stop, because the sentence goes on after them: 1.",
        "Texts imported: 5 attribute.",
        "Texts left out because their class matches no label: 2 attribute.",
    )


def test_whole_sentences(load: Import) -> None:
    found = load(SENTENCES)
    assert found.textset.texts == ({"attribute": ("A cat has whiskers.", "Cats have fur.")}, {}, {})
    sentences = [sentence.text for sentence in found.textset.sentences(0)]
    assert sentences == ["a photo of a cat.", "A cat has whiskers.", "Cats have fur."]
    assert found.notes[:3] == (
        "Recognised as the form cupl: class -> whole sentences.",
        "The texts are whole sentences: their template is {text} alone.",
        "Texts dropped because the same list has them already: 1.",
    )


def test_the_authors_form(load: Import) -> None:
    found = load(CODER)
    assert found.textset.texts == (
        {"attribute": ("which has whiskers",)},
        {"attribute": ("which has antlers",)},
        {},
    )
    assert found.textset.pairs == {(1, 0): ("hooves",)}
    assert found.matches == Matches(found={label: label for label in LABELS}, unknown=("yak",), missing=())
    assert found.notes[0] == "Recognised as the form coder: lists in class order and one-to-one texts."
    assert found.notes[-2:] == (
        "Texts imported: 2 attribute, 1 one-to-one.",
        "Texts left out because their class matches no label: 1 one-to-one.",
    )


def test_the_authors_lists_of_other_classes(load: Import) -> None:
    found = load({"attribute": [["beak"], ["horns"]]}, theirs=("owl", "yak"))
    assert found.textset.texts == ({}, {}, {"attribute": ("which has beak",)})
    assert found.matches == Matches(found={"owl": "owl"}, unknown=("yak",), missing=("cat", "elk"))


def test_the_kinds_stand_in_their_own_order(load: Import) -> None:
    found = load({"synonym": [["puss"], [], []], "analogous": [["ocelot"], [], []], "attribute": [["fur"], [], []]})
    assert list(found.textset.texts[0]) == ["attribute", "analogous", "synonym"]


def test_random_words(load: Import) -> None:
    found = load([*WORDS, *WORDS, " "])
    own = found.textset.texts[0]["attribute"]
    assert found.textset.texts == ({"attribute": own},) * 3
    drawn = [word for text in own for word in text.split()]
    assert (len(own), len(set(drawn)), set(drawn) <= set(WORDS)) == (15, 30, True)
    assert found.matches.found == {label: label for label in LABELS}
    assert found.notes[0] == "Recognised as the form waffle: a list of words."
    assert found.notes[1].startswith("These texts are random, and say nothing about the classes: 15 pairs of words")


def test_random_words_are_the_same_again(load: Import) -> None:
    assert load(WORDS).textset == load(WORDS).textset


def test_random_words_from_a_plain_list(load: Import, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n")
    assert import_texts(path, LABELS).textset.texts == load(WORDS).textset.texts


def test_a_word_list_that_is_none(load: Import) -> None:
    with pytest.raises(TextsError, match=r"theirs\.json: 29 different words, 30 at least are needed; give a longer"):
        load(WORDS[:29] * 2)
    with pytest.raises(TextsError, match=r"theirs\.json: expected a list of single words, got 'A cat\.'; give a word"):
        load([*WORDS, "A cat."])
    with pytest.raises(TextsError, match=r"theirs\.json\[1\]: expected a text, got a list of 0;"):
        load(["soft", []])
    with pytest.raises(TextsError, match=r"theirs\.json: expected a list of texts, got an object of 1 keys;"):
        load({"cat": []}, form="waffle")


# forms


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ({"cat": ["A cat.", "fur"]}, "vcd"),
        ({"cat": ["A cat.", "fur"], "elk": [" An elk.\n"]}, "cupl"),
        ({"cat": ["A cat", "An animal"]}, "vcd"),
        ({"cat": ["fur.", "whiskers."]}, "vcd"),
        ({"cat": []}, "vcd"),
        ({"attribute": ["a class with an unlucky name"], "cat": ["fur"]}, "vcd"),
        ({"synonym": [[], [], []]}, "coder"),
        ({"one_to_one": {}}, "coder"),
    ],
)
def test_recognition(load: Import, data: object, form: str) -> None:
    assert load(data).textset.source["form"] == form


def test_a_form_that_is_named_is_not_recognised(load: Import) -> None:
    found = load({"cat": ["Whiskers.", "Soft fur."]}, form="vcd")
    assert found.textset.texts[0]["attribute"] == ("which has Whiskers", "which has Soft fur")
    assert found.textset.templates == TEMPLATES
    assert found.notes[0] == "Read as the form vcd: class -> descriptors."


def test_an_unknown_form(load: Import) -> None:
    wanted = r"^--import-form csv: unknown; forms are vcd, cupl, waffle, coder$"
    with pytest.raises(TextsError, match=wanted):
        load(SENTENCES, form="csv")


@pytest.mark.parametrize(("data", "got"), [({}, "an object of 0 keys"), (["a"], "a list of 1")])
@pytest.mark.parametrize("form", ["vcd", "cupl"])
def test_no_classes(load: Import, data: object, got: str, form: str) -> None:
    with pytest.raises(TextsError, match=rf"expected an object class -> list of texts, got {got}; name another form"):
        load(data, form=form)


def test_a_class_without_a_list(load: Import) -> None:
    with pytest.raises(TextsError, match=r"theirs\.json: class 'elk': expected a list of texts, got null; write"):
        load({"cat": ["fur"], "elk": None})


def test_nothing_matches(load: Import) -> None:
    found = load({"yak": ["horns"]})
    assert found.textset.texts == ({}, {}, {})
    assert found.notes[-2:] == (
        "Texts imported: none.",
        "Texts left out because their class matches no label: 1 attribute.",
    )


# the real files


@pytest.fixture(scope="module")
def llm_texts() -> Path:
    root = Path(__file__).resolve().parents[5]
    folder = Path(os.environ.get("CODER_DATA", root / ".." / "shared" / "data")) / "llm_texts"
    if not folder.is_dir():
        pytest.skip(f"no published texts: {folder} is not there; point CODER_DATA at a folder with llm_texts")
    return folder


REAL = {
    "vcd/descriptors_dtd.json": ("DTD", 47, 193, 0),
    "vcd/descriptors_eurosat.json": ("eurosat", 10, 25, 0),
    "vcd/descriptors_imagenet.json": ("ImageNet", 1000, 5800, 0),
    "vcd/descriptors_pets.json": ("oxford-pet", 37, 246, 0),
    "cupl/pet_prompts_base.json": ("oxford-pet", 37, 1079, 0),
    "coder/DTD.json": ("DTD", 47, 193 + 282 + 3, 7352),
    "coder/ImageNet.json": ("ImageNet", 1000, 5800 + 5369, 0),
    "coder/caltech-101.json": ("caltech-101", 100, 635 + 593 + 120, 120),
    "coder/eurosat.json": ("eurosat", 10, 25 + 60, 452),
    "coder/oxford_pets.json": ("oxford-pet", 37, 190, 1812),
}


@pytest.mark.parametrize("file", list(REAL))
@pytest.mark.parametrize("given", [False, True])
def test_a_real_file_on_its_class_names(llm_texts: Path, file: str, given: bool) -> None:
    names, matched, general, duels = REAL[file]
    labels = load_labels(llm_texts / "class_names" / f"{names}.txt")
    found = import_texts(llm_texts / file, labels, theirs=labels if given else None)
    assert found.textset.source["form"] == file.partition("/")[0]
    assert found.matches.report()[0].startswith(f"{matched:,} of {len(labels):,} labels are matched by")
    assert len(found.matches.found) == matched
    assert sum(len(texts) for kinds in found.textset.texts for texts in kinds.values()) == general
    assert sum(map(len, found.textset.pairs.values())) == duels


def test_every_real_file_on_its_own_keys(llm_texts: Path) -> None:
    for path in sorted([*llm_texts.glob("vcd/*.json"), *llm_texts.glob("cupl/*.json")]):
        labels = tuple(json.loads(path.read_text(encoding="utf-8")))
        found = import_texts(path, labels)
        assert found.matches == Matches(found={label: label for label in labels}, unknown=(), missing=()), path
        assert all(found.textset.texts), path


@pytest.mark.parametrize("names", ["DTD", "ImageNet", "caltech-101", "eurosat", "oxford-pet", "ucf101"])
def test_every_real_file_on_any_class_names(llm_texts: Path, names: str) -> None:
    labels = load_labels(llm_texts / "class_names" / f"{names}.txt")
    for file, (own, *_) in REAL.items():
        theirs = load_labels(llm_texts / "class_names" / f"{own}.txt")
        found = import_texts(llm_texts / file, labels, theirs=theirs)
        assert found.textset.labels == labels
        assert len(found.matches.found) + len(found.matches.missing) == len(labels), file
        assert 1 <= len(found.matches.report()) <= 25, file


def test_lists_for_other_class_names_are_refused(llm_texts: Path) -> None:
    cifar = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    with pytest.raises(TextsError, match=r"'one_to_one' names 14 classes .* of which 0 are among the labels"):
        import_texts(llm_texts / "coder" / "eurosat.json", cifar)
