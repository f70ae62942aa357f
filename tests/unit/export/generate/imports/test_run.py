"""Other people's files into a draft: alone, side by side, with their templates or put into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_engine.files import sha256_of
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import Draft
from coder_export.generate.draft_folder import open_draft, save_draft
from coder_export.generate.imports.phrase import TEMPLATES
from coder_export.generate.imports.run import import_all
from coder_export.report import Report
from coder_export.templates import Templates

LABELS = ("cat", "elk", "owl")
VCD = {"cat": ["whiskers", "a tail"], "owl": ["beak"]}
CUPL = {"cat": ["A photo of a furry cat.", "Cats have whiskers."], "elk": ["An elk is tall."]}
PAIRS = {
    "one_to_one": {
        "cat": {"elk": ["its size"], "owl": ["its fur"]},
        "elk": {"cat": ["its antlers"]},
        "owl": {"cat": ["its beak"]},
    }
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, data: object) -> Path:
        (tmp_path / name).write_text(json.dumps(data))
        return tmp_path / name

    return write


def imported(draft: Draft, *paths: Path, report: Report | None = None, **options: Any) -> list[str]:
    config = TextsConfig(labels=Path("labels.txt"), out=Path("out"), imports=paths, **options)
    return import_all(config, draft, report or Report(quiet=True))


def attributes(draft: Draft) -> list[list[str]]:
    return [list(texts) for texts in draft.general["attribute"]]


def near(name: str) -> str:
    return f"; near it is {name!r}: give both one name if they are one class"


def test_one_to_one_texts_that_are_lost_by_their_names(write: Any) -> None:
    names = ("cats", "elk", "cows", "long elk", "birds or owls", "yak")
    duels = {a: {b: ["its size"] for b in names if b != a} for a in names}
    lists = {"attribute": [["whiskers"], ["antlers"], ["a beak"], []]}
    draft = Draft(labels=("cat", "elk", "owls or birds", "cow"))
    lost = "no label, its one-to-one texts in theirs.json are left out"
    assert imported(draft, write("theirs.json", {**lists, "one_to_one": duels})) == [
        f"long elk: {lost}{near('elk')}",
        f"birds or owls: {lost}{near('owls or birds')}",
        f"yak: {lost}",
    ]
    assert {label_id for pair in draft.pairs for label_id in pair} == {0, 1, 3}


def test_one_to_one_texts_of_classes_that_we_do_not_have_are_no_loss(write: Any, tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("cat\nelk\nowl\n")
    path = write("theirs.json", {"attribute": [["whiskers"], ["antlers"], ["a beak"]], **PAIRS})
    assert imported(Draft(labels=("cat", "elk")), path, import_labels=tmp_path / "theirs.txt") == []


def test_a_name_that_may_be_the_label(write: Any) -> None:
    vcd = {"cat": ["whiskers"], "residential": ["roofs"], "high way": ["asphalt"]}
    draft = Draft(labels=("cat", "residential buildings or homes", "highway or road", "elk"))
    assert imported(draft, write("vcd.json", vcd)) == [
        f"residential buildings or homes: nothing in vcd.json{near('residential')}",
        f"highway or road: nothing in vcd.json{near('high way')}",
        "elk: nothing in vcd.json",
    ]


def test_one_file(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    draft, path = Draft(labels=LABELS), write("vcd.json", VCD)
    assert imported(draft, path, report=Report()) == ["elk: nothing in vcd.json"]
    assert attributes(draft) == [["which has whiskers", "which has a tail"], [], ["which has beak"]]
    assert draft.templates == TEMPLATES
    assert draft.origins == {
        "attribute": {"expert": "import", "files": [{"file": "vcd.json", "sha256": sha256_of(path)}]}
    }
    said = capsys.readouterr().out
    assert said.startswith(f"{path}:\n  Recognised as the form vcd")
    assert "2 of 3 labels are matched by 2 of 2 names." in said


def test_sentences_bring_their_template(write: Any) -> None:
    draft = Draft(labels=LABELS, domain="sketch", templates=Templates().of_domain("sketch"))
    imported(draft, write("cupl.json", CUPL))
    assert draft.templates.attribute == ("{text}",)
    assert draft.templates.name == ("a sketch of {a class}.",)


def test_descriptors_are_of_the_domain(write: Any) -> None:
    draft = Draft(labels=LABELS, domain="sketch", templates=Templates().of_domain("sketch"))
    imported(draft, write("vcd.json", {"cat": ["often seen at night"]}))
    assert draft.textset("x").sentences(0)[1].text == "a sketch of a cat, which is often seen at night."


def test_two_files_of_one_template_side_by_side(write: Any) -> None:
    draft = Draft(labels=LABELS)
    more = {"cat": ["whiskers", "soft fur"], "elk": ["antlers"]}
    missing = imported(draft, write("a.json", VCD), write("b.json", more))
    assert attributes(draft) == [
        ["which has whiskers", "which has a tail", "which has soft fur"],
        ["which has antlers"],
        ["which has beak"],
    ]
    assert missing == ["elk: nothing in a.json", "owl: nothing in b.json"]
    assert [file["file"] for file in draft.origins["attribute"]["files"]] == ["a.json", "b.json"]


def test_two_files_of_different_templates_become_whole_sentences(write: Any) -> None:
    draft = Draft(labels=LABELS, domain="sketch", templates=Templates().of_domain("sketch"))
    imported(draft, write("vcd.json", VCD), write("cupl.json", CUPL))
    assert draft.templates.attribute == ("{text}",)
    assert attributes(draft) == [
        ["a sketch of a cat, which has whiskers.", "a sketch of a cat, which has a tail.", *CUPL["cat"]],
        CUPL["elk"],
        ["a sketch of an owl, which has beak."],
    ]
    assert draft.textset("x").sentences(1)[1].text == "An elk is tall."


def test_whole_sentences_have_no_underscores(write: Any) -> None:
    draft = Draft(labels=("big_cat", "elk"))
    imported(draft, write("vcd.json", {"big cat": ["whiskers"]}), write("cupl.json", {"elk": CUPL["elk"]}))
    assert attributes(draft)[0] == ["a photo of a big cat, which has whiskers."]


def test_pairs_of_two_files_are_joined(write: Any) -> None:
    draft = Draft(labels=LABELS)
    more = {"one_to_one": {"cat": {"elk": ["its size", "its paws"]}, "elk": {"cat": ["its legs"]}}}
    imported(draft, write("a.json", PAIRS), write("b.json", more))
    assert draft.pairs == {
        (0, 1): ["its size", "its paws"],
        (1, 0): ["its antlers", "its legs"],
        (0, 2): ["its fur"],
        (2, 0): ["its beak"],
    }
    assert set(draft.origins) == {"pair"}


def test_only_the_kinds_asked_for(write: Any) -> None:
    draft = Draft(labels=LABELS)
    missing = imported(draft, write("vcd.json", VCD), write("pairs.json", PAIRS), kinds=("pair", "synonym"))
    assert set(draft.general) == set()
    assert (0, 1) in draft.pairs
    assert "synonym texts: none in vcd.json, pairs.json" in missing


def test_a_kind_that_the_files_lack_stays(write: Any) -> None:
    draft = Draft(labels=LABELS, general={"synonym": [["tom"], (), ()]})
    imported(draft, write("vcd.json", VCD))
    assert draft.general["synonym"] == [["tom"], (), ()]


def test_templates_of_an_earlier_import_do_not_stay(write: Any, tmp_path: Path) -> None:
    draft = Draft(labels=LABELS)
    imported(draft, write("cupl.json", CUPL))
    save_draft(draft, tmp_path)
    again = open_draft(tmp_path, LABELS, "photo")
    assert again.templates.attribute == ("{text}",)
    imported(again, write("vcd.json", VCD))
    assert again.templates == TEMPLATES


@pytest.mark.parametrize("content", [VCD, CUPL])
def test_templates_changed_by_hand_stay_when_a_file_is_imported_again(
    content: object, write: Any, tmp_path: Path
) -> None:
    for _ in range(2):
        draft = open_draft(tmp_path, LABELS, "photo")
        imported(draft, write("theirs.json", content))
        save_draft(draft, tmp_path)
        (tmp_path / "templates.json").write_text('{"attribute": ["{text} ({class})"]}')
    assert draft.templates.attribute == ("{text} ({class})",)


def test_their_labels_in_order(write: Any, tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("owl\ncat\n")
    draft = Draft(labels=LABELS)
    path = write("lists.json", {"attribute": [["beak"], ["whiskers"]]})
    imported(draft, path, import_labels=tmp_path / "theirs.txt", import_form="coder")
    assert attributes(draft) == [["which has whiskers"], [], ["which has beak"]]


def test_bad_files_are_refused(write: Any, tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"vcd\.json"):
        imported(Draft(labels=LABELS), write("vcd.json", VCD), import_form="coder")
    with pytest.raises(TextsError, match=r"nowhere\.txt: no such file"):
        imported(Draft(labels=LABELS), write("vcd.json", VCD), import_labels=tmp_path / "nowhere.txt")


def test_half_a_character_could_not_be_saved(write: Any) -> None:
    with pytest.raises(TextsError, match=r"class 'cat'\[1\]: half a character in '.ud83d fur'; write it whole"):
        imported(Draft(labels=LABELS), write("vcd.json", {"cat": ["fur", "\ud83d fur"]}))
    with pytest.raises(TextsError, match=r"theirs\.json: half a character in 'cat.ud83d'; write it whole or remove it"):
        imported(Draft(labels=LABELS), write("theirs.json", {"cat\ud83d": ["fur"]}))
    with pytest.raises(TextsError, match=r"theirs\.json: half a character in 'cat.ud83d'"):
        imported(
            Draft(labels=LABELS), write("theirs.json", {"synonym": [{"class_name": "cat\ud83d", "syno": ["tom"]}]})
        )
    draft = Draft(labels=LABELS)
    imported(draft, write("vcd.json", {"cat": ["fur \U0001f408"]}))
    assert attributes(draft)[0] == ["which has fur \U0001f408"]
