"""A text set in the making: what a folder holds stays, hand-made texts are safe, and a kill leaves what can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_engine.files import replacing
from coder_export import textset as textset_module
from coder_export.generate import draft as draft_module
from coder_export.generate.draft import Draft, check_unedited, open_draft, save_draft
from coder_export.templates import Templates
from coder_export.textset_file import load_textset

LABELS = ("cat", "elk", "owl")
LLM = {"expert": "llm", "model": "m"}
WORDNET = {"expert": "wordnet"}
FILES = ("labels.txt", "texts.jsonl", "pairs.jsonl", "templates.json", "source.json")


def filled(folder: Path, labels: tuple[str, ...] = LABELS, domain: str = "photo") -> Draft:
    draft = open_draft(folder, labels, domain)
    draft.put("attribute", [[f"{label}'s ears", "legs"] for label in labels], LLM)
    draft.put("synonym", [["house cat"], *([()] * (len(labels) - 1))], WORDNET)
    pairs = {(0, 1): ("its size",), (1, 0): ("its antlers",), (1, 2): ("its hooves",), (2, 1): ()}
    draft.put_pairs({pair: texts for pair, texts in pairs.items() if max(pair) < len(labels)}, LLM)
    return draft


def save(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    folder.mkdir(exist_ok=True)
    save_draft(filled(folder, labels), folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "animals")


def source(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "source.json").read_text())
    return found


def change(path: Path) -> None:
    """As somebody would with an editor."""
    path.write_text(path.read_text().replace("legs", "long legs").replace("its size", "its great size"))


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
    assert draft == Draft(labels=LABELS, domain="satellite photo", templates=Templates().of_domain("satellite photo"))
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
    draft.put("attribute", [["a pet"], (), ()], WORDNET)
    draft.use_templates(["attribute"], Templates(attribute=("{text}: {class}",)))
    save_draft(draft, folder)
    draft = open_draft(folder, LABELS, "photo")
    assert draft.templates.attribute == ("{text}: {class}",)
    assert draft.templates_for("llm").attribute == Templates().attribute
    draft.put("attribute", [["whiskers"], (), ()], LLM)
    assert draft.templates.attribute == Templates().attribute


def test_templates_changed_by_hand_stay_with_their_expert(folder: Path) -> None:
    changed = {"name": ["my {class}"], "attribute": ["{class} has {text}"], "pair": ["{text}!"]}
    (folder / "templates.json").write_text(json.dumps(changed))
    found = filled(folder).templates
    assert found == Templates(name=("my {class}",), attribute=("{class} has {text}",), pair=("{text}!",))
    assert open_draft(folder, LABELS, "photo").templates_for("llm").pair == ("{text}!",)


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
@pytest.mark.parametrize("sha256", ["x", 3, None, {"texts.jsonl": "x", "pairs.jsonl": None}])
def test_a_source_that_somebody_rewrote(folder: Path, kinds: object, sha256: object) -> None:
    rewritten = {"writer": "coder-texts", "domain": "photo", "kinds": kinds, "sha256": sha256}
    (folder / "source.json").write_text(json.dumps(rewritten))
    draft = filled(folder)
    assert draft.origins == {"attribute": LLM, "synonym": WORDNET, "pair": LLM}
    assert draft.edited == {"texts.jsonl", "pairs.jsonl"}


# edited by hand


def test_what_was_not_changed_may_be_replaced(folder: Path, tmp_path: Path) -> None:
    check_unedited(folder, ("attribute", "pair"))
    check_unedited(tmp_path / "nowhere", ("attribute", "pair"))


@pytest.mark.parametrize(
    ("file", "refused", "taken"),
    [("texts.jsonl", ("synonym",), ("pair",)), ("pairs.jsonl", ("attribute", "pair"), ("attribute", "synonym"))],
)
def test_files_changed_by_hand_are_refused(
    folder: Path, file: str, refused: tuple[str, ...], taken: tuple[str, ...]
) -> None:
    change(folder / file)
    check_unedited(folder, taken)
    with pytest.raises(TextsError, match=rf"{file} was written or changed by hand since .* or pass --overwrite$"):
        check_unedited(folder, refused)


def test_a_set_written_by_hand_is_refused(folder: Path) -> None:
    (folder / "source.json").unlink()
    with pytest.raises(TextsError, match=r"texts\.jsonl was written or changed by hand"):
        check_unedited(folder, ("attribute",))


def test_without_labels_no_file_can_be_kept(folder: Path) -> None:
    (folder / "labels.txt").unlink()
    (folder / "pairs.jsonl").unlink()
    with pytest.raises(TextsError, match=r"texts\.jsonl was written or changed by hand"):
        check_unedited(folder, ("pair",))


def test_an_empty_file_holds_nothing_to_lose(folder: Path) -> None:
    (folder / "texts.jsonl").write_text("")
    check_unedited(folder, ("attribute",))


def test_a_damaged_set_says_so(folder: Path) -> None:
    (folder / "texts.jsonl").write_text("{")
    with pytest.raises(TextsError, match=r"texts\.jsonl:1: not JSON"):
        check_unedited(folder, ("attribute",))


def test_what_was_changed_by_hand_stays_known_as_such(folder: Path) -> None:
    change(folder / "texts.jsonl")
    draft = open_draft(folder, LABELS, "photo")
    draft.put_pairs({(0, 1): ["its tail"]}, LLM)
    save_draft(draft, folder)
    assert load_textset(folder).texts[0]["attribute"] == ("cat's ears", "long legs")
    check_unedited(folder, ("pair",))
    with pytest.raises(TextsError, match=r"texts\.jsonl was written or changed by hand"):
        check_unedited(folder, ("attribute",))


def test_part_of_a_changed_file_replaced_leaves_the_rest_known(folder: Path) -> None:
    change(folder / "texts.jsonl")
    draft = open_draft(folder, LABELS, "photo")
    draft.put("synonym", [["tom"], (), ()], WORDNET)  # with --overwrite
    save_draft(draft, folder)
    with pytest.raises(TextsError, match=r"texts\.jsonl was written or changed by hand"):
        check_unedited(folder, ("attribute",))


def test_a_changed_file_wholly_replaced_is_coder_texts_own(folder: Path) -> None:
    change(folder / "texts.jsonl")
    change(folder / "pairs.jsonl")
    save(folder)  # with --overwrite
    check_unedited(folder, ("attribute", "synonym", "pair"))


# changed while a run goes on


@pytest.mark.parametrize("file", FILES)
def test_a_file_changed_since_the_run_began_is_not_replaced(folder: Path, file: str) -> None:
    draft = open_draft(folder, LABELS, "photo")
    draft.put_pairs({(0, 1): ["its tail"]}, LLM)
    (folder / file).write_bytes((folder / file).read_bytes() + b"\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TextsError, match=rf"{file} was changed while this run .* run the same command again"):
        save_draft(draft, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_files_that_came_or_went_since_the_run_began(folder: Path, tmp_path: Path) -> None:
    draft = filled(tmp_path / "new")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "texts.jsonl").write_text("")
    with pytest.raises(TextsError, match=r"texts\.jsonl was changed while this run"):
        save_draft(draft, tmp_path / "new")
    draft = filled(folder)
    (folder / "pairs.jsonl").unlink()
    with pytest.raises(TextsError, match=r"pairs\.jsonl was changed while this run"):
        save_draft(draft, folder)


# killed between two files


class Killed(BaseException):
    """What a kill is to a test."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within, the write number ``step`` of a file does not happen, nor anything after it."""
    writes = 0

    @contextmanager
    def stops(path: Path) -> Iterator[Path]:
        nonlocal writes
        if writes == step:
            raise Killed
        writes += 1
        with replacing(path) as scratch:
            yield scratch

    with monkeypatch.context() as patch:
        patch.setattr(textset_module, "replacing", stops)
        patch.setattr(draft_module, "replacing", stops)
        yield


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("labels", [("cat", "elk"), ("owl", "dog", "cat"), ("dog",)])
def test_after_a_kill_the_same_command_goes_on(
    step: int, labels: tuple[str, ...], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = save(tmp_path / "whole", labels)
    draft = filled(folder, labels)
    with killed_at(step, monkeypatch), pytest.raises(Killed):
        save_draft(draft, folder)
    check_unedited(folder, ("attribute", "synonym", "pair"))
    save(folder, labels)
    for file in FILES:
        assert (folder / file).read_bytes() == (wanted / file).read_bytes(), file


@pytest.mark.parametrize("step", range(7))
def test_after_a_kill_of_the_first_run_too(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "animals"
    folder.mkdir()
    with killed_at(step, monkeypatch), pytest.raises(Killed):
        save_draft(filled(folder), folder)
    check_unedited(folder, ("attribute", "synonym", "pair"))
    assert save_draft(filled(folder), folder) == load_textset(folder)


def test_labels_that_differ_in_case_alone(folder: Path) -> None:
    found = save_draft(open_draft(folder, ("Cat", "elk"), "photo"), folder)
    assert load_textset(folder) == found
    assert found.texts == ({}, {"attribute": ("elk's ears", "legs")})


def test_after_a_kill_the_origin_is_that_of_the_old_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = open_draft(folder, LABELS, "photo")
    draft.put("attribute", [["a pet"], (), ()], WORDNET)
    with killed_at(2, monkeypatch), pytest.raises(Killed):
        save_draft(draft, folder)
    assert source(folder)["kinds"]["attribute"] == LLM
    assert len(source(folder)["sha256"]["texts.jsonl"]) == 2
