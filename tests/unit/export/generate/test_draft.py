"""A text set in the making: what a folder holds for the labels stays, with its templates and where it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coder_export.generate.draft import Draft
from coder_export.generate.draft_folder import open_draft, save_draft
from coder_export.templates import Templates
from coder_export.textset_file import load_textset
from helpers_draft import FILES, LABELS, LLM, WORDNET, filled, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "animals")


def test_saved_and_read_again(folder: Path) -> None:
    found = load_textset(folder)
    assert found.texts == (
        {"attribute": ("cat's ears", "legs"), "synonym": ("house cat",)},
        {"attribute": ("elk's ears", "legs")},
        {"attribute": ("owl's ears", "legs")},
    )
    assert found.pairs == {(0, 1): ("its size",), (1, 0): ("its antlers",), (1, 2): ("its hooves",)}
    assert found.source["writer"] == "coder-texts"
    assert found.source["domain"] == "photo"
    assert found.source["kinds"] == {"attribute": LLM, "synonym": WORDNET, "pair": LLM}
    assert {file: len(hashes) for file, hashes in found.source["sha256"].items()} == {
        "texts.jsonl": 1,
        "pairs.jsonl": 1,
    }


def test_saving_gives_the_text_set_that_was_written(tmp_path: Path) -> None:
    written = save_draft(filled(tmp_path), tmp_path)
    assert written == load_textset(tmp_path)


def test_the_same_again_gives_the_same_bytes(folder: Path) -> None:
    first = {file: (folder / file).read_bytes() for file in FILES}
    save(folder)
    assert {file: (folder / file).read_bytes() for file in FILES} == first


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    draft = open_draft(tmp_path / "new", LABELS, "satellite photo")
    default = Templates().of_domain("satellite photo")
    assert draft == Draft(labels=LABELS, domain="satellite photo", templates=default, given=default.to_json())
    assert draft.textset("new").texts == ({}, {}, {})


# what is kept


def test_other_kinds_stay(folder: Path) -> None:
    before = load_textset(folder)
    draft = open_draft(folder, LABELS, "photo")
    draft.put("analogous", [["lynx"], ["moose"], []], WORDNET)
    found = save_draft(draft, folder)
    assert [dict(own, analogous=more) for own, more in zip(before.texts, [("lynx",), ("moose",), ()], strict=True)] == [
        {"analogous": (), **own} for own in found.texts
    ]
    assert found.pairs == before.pairs
    assert found.source["kinds"] == {"attribute": LLM, "synonym": WORDNET, "analogous": WORDNET, "pair": LLM}


def test_a_kind_put_again_takes_the_place_of_the_old(folder: Path) -> None:
    draft = open_draft(folder, LABELS, "photo")
    draft.put("attribute", [["fur"], (), ()], WORDNET)
    draft.put_pairs({(0, 2): ["its ears"]}, WORDNET)
    found = save_draft(draft, folder)
    assert [own.get("attribute", ()) for own in found.texts] == [("fur",), (), ()]
    assert found.pairs == {(0, 2): ("its ears",)}
    assert found.source["kinds"]["pair"] == WORDNET


def test_other_labels_take_their_texts_and_pairs_along(folder: Path) -> None:
    draft = open_draft(folder, ("owl", "dog", "elk"), "photo")
    found = save_draft(draft, folder)
    assert found.labels == ("owl", "dog", "elk")
    assert found.texts == ({"attribute": ("owl's ears", "legs")}, {}, {"attribute": ("elk's ears", "legs")})
    assert found.pairs == {(2, 0): ("its hooves",)}
    assert load_textset(folder) == found


def test_labels_spelt_otherwise_keep_their_texts(folder: Path) -> None:
    told: list[str] = []
    found = save_draft(open_draft(folder, ("Cat", "owls", "ELK"), "photo", told.append), folder)
    assert load_textset(folder) == found
    assert found.texts == (
        {"attribute": ("cat's ears", "legs"), "synonym": ("house cat",)},
        {"attribute": ("owl's ears", "legs")},
        {"attribute": ("elk's ears", "legs")},
    )
    assert found.pairs == {(0, 2): ("its size",), (2, 0): ("its antlers",), (2, 1): ("its hooves",)}
    assert told == []


def test_what_is_left_behind_is_told(folder: Path) -> None:
    told: list[str] = []
    open_draft(folder, ("cat", "dog"), "photo", told.append)
    assert told == ["2 classes of animals are not among the labels (elk, owl): 7 texts are left behind"]


# templates


def test_kept_kinds_keep_their_templates_and_new_ones_get_the_domains(folder: Path) -> None:
    draft = open_draft(folder, LABELS, "sketch")
    draft.put("analogous", [["lynx"], (), ()], LLM)
    found = draft.textset("x").templates
    assert found.attribute == Templates().attribute
    assert found.analogous == ("a sketch of {a class}, similar to {a text}.",)
    assert found.name == ("a sketch of {a class}.",)


def test_a_kind_of_another_expert_does_not_go_into_the_templates_of_the_last(folder: Path) -> None:
    draft = open_draft(folder, LABELS, "photo")
    draft.put("attribute", [["a pet"], (), ()], WORDNET, Templates(attribute=("{text}: {class}",)))
    save_draft(draft, folder)
    draft = open_draft(folder, LABELS, "photo")
    assert draft.templates.attribute == ("{text}: {class}",)
    assert draft.templates_for(Templates()).attribute == Templates().attribute
    draft.put("attribute", [["whiskers"], (), ()], LLM)
    assert draft.templates.attribute == Templates().attribute


def test_templates_changed_by_hand_stay(folder: Path) -> None:
    changed = {"name": ["my {class}"], "attribute": ["{class} has {text}"], "pair": ["{text}!"]}
    (folder / "templates.json").write_text(json.dumps(changed))
    found = filled(folder).templates
    assert found == Templates(name=("my {class}",), attribute=("{class} has {text}",), pair=("{text}!",))
    assert open_draft(folder, LABELS, "photo").templates_for(Templates()).pair == ("{text}!",)


def test_templates_changed_by_hand_stay_whatever_the_expert_gives(folder: Path) -> None:
    theirs = Templates(attribute=("{text}: {class}",))
    for change in (None, ["{text}, as {a class} has"], None):
        if change:
            (folder / "templates.json").write_text(json.dumps({"attribute": change}))
        draft = open_draft(folder, LABELS, "photo")
        draft.put("attribute", [["a pet"], (), ()], WORDNET, theirs)
        found = save_draft(draft, folder)
    assert found.templates.attribute == ("{text}, as {a class} has",)


def test_templates_changed_before_there_are_texts_for_them_stay(folder: Path) -> None:
    (folder / "templates.json").write_text(json.dumps({"analogous": ["{class} like {text}"]}))
    draft = open_draft(folder, LABELS, "photo")
    draft.put("analogous", [["lynx"], (), ()], LLM)
    assert draft.templates.analogous == ("{class} like {text}",)


def test_another_domain_gives_rewritten_kinds_its_templates(folder: Path) -> None:
    found = filled(folder, domain="sketch").templates
    assert found == Templates().of_domain("sketch")


# sets that others made


def test_the_source_of_a_set_made_by_others_is_kept_with_its_kinds(folder: Path) -> None:
    theirs = {"writer": "us", "licence": "CC0", "aliases": {"tom": "cat", "reindeer": "deer"}}
    (folder / "source.json").write_text(json.dumps(theirs))
    draft = open_draft(folder, LABELS, "photo")
    draft.put("attribute", [["fur"], (), ()], LLM)
    found = draft.textset("x").source
    kept = {"expert": "other", "source": theirs}
    assert found["kinds"] == {"synonym": kept, "pair": kept, "attribute": LLM}
    assert found["aliases"] == {"tom": "cat"}, "an alias for no label would be refused when the set is read"


def test_a_set_without_a_source(folder: Path) -> None:
    (folder / "templates.json").write_text('{"name": ["my {class}"]}')
    (folder / "source.json").unlink()
    draft = open_draft(folder, LABELS, "photo")
    assert (draft.origins, draft.templates.name) == ({}, ("my {class}",))
    assert draft.edited == {"texts.jsonl", "pairs.jsonl"}


@pytest.mark.parametrize("kinds", ["all", ["attribute"], None, {"attribute": "me", "hats": {}}])
@pytest.mark.parametrize("other", ["x", 3, None, {"texts.jsonl": "x", "pairs.jsonl": None}, {"texts.jsonl": 5}])
def test_a_source_that_somebody_rewrote(folder: Path, kinds: object, other: object) -> None:
    rewritten = {"writer": "coder-texts", "domain": "photo", "kinds": kinds, "sha256": other, "templates": other}
    (folder / "source.json").write_text(json.dumps(rewritten))
    draft = filled(folder)
    assert draft.origins == {"attribute": LLM, "synonym": WORDNET, "pair": LLM}
    assert draft.edited == {"texts.jsonl", "pairs.jsonl"}
