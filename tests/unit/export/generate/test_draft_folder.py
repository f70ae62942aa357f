"""The folder of a draft: what people wrote is safe, before a run and within it, and a kill leaves a whole set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_engine.files import replacing
from coder_export import textset_file
from coder_export.generate import draft_folder
from coder_export.generate.draft_folder import check_unedited, open_draft, save_draft
from coder_export.textset_file import load_textset
from helpers_draft import FILES, LABELS, LLM, WORDNET, filled, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "animals")


def source(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "source.json").read_text())
    return found


def change(path: Path) -> None:
    """As somebody would with an editor."""
    path.write_text(path.read_text().replace("legs", "long legs").replace("its size", "its great size"))


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
        patch.setattr(textset_file, "replacing", stops)
        patch.setattr(draft_folder, "replacing", stops)
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


def test_after_a_kill_the_origin_is_that_of_the_old_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = open_draft(folder, LABELS, "photo")
    draft.put("attribute", [["a pet"], (), ()], WORDNET)
    with killed_at(2, monkeypatch), pytest.raises(Killed):
        save_draft(draft, folder)
    assert source(folder)["kinds"]["attribute"] == LLM
    assert len(source(folder)["sha256"]["texts.jsonl"]) == 2
