"""Finding a text set: by its folder, by the name of a shipped one, by the labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export import shipped as module
from coder_export.shipped import find_shipped, open_textset, shipped
from coder_export.textset import TextSet
from coder_export.textset_file import load_textset


def test_open_by_folder_and_by_name(animals: TextSet, tmp_path: Path) -> None:
    assert open_textset(str(tmp_path / "animals")) == animals
    name, folder = next(iter(shipped().items()))
    assert open_textset(name) == load_textset(folder)


@pytest.mark.parametrize("name", ["cifar100", "no/such/folder"])
def test_an_unknown_name_lists_the_shipped_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped", lambda: {"cifar10": Path("a"), "pets": Path("b")})
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
    assert find_shipped(labels) == open_textset("cifar10")
    some = find_shipped(tuple(reversed(labels[:3])))
    assert some is not None
    assert some.name == "cifar10"
    assert find_shipped((*labels, "no such class anywhere")) is None


def test_a_folder_of_that_name_that_is_no_text_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar10 = open_textset("cifar10")
    for name in (*shipped(), "mine"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_shipped(cifar10.labels) == cifar10
    assert open_textset("cifar10") == cifar10
    with pytest.raises(TextsError, match=r"labels\.txt: no such file"):
        open_textset("mine")


def test_a_text_set_of_one_s_own_comes_before_a_shipped_one_of_its_name(
    animals: TextSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "animals").rename(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    assert open_textset("pets").labels == animals.labels
    found = find_shipped(load_textset(shipped()["pets"]).labels)
    assert found is not None  # looks at the shipped one
    assert len(found.labels) == 37
