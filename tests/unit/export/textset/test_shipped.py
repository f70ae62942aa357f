"""Finding a text set: by its folder, by the name of a shipped one, by the labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export import textset
from coder_export.textset import TextSet, find_shipped, load_textset, open_textset, shipped


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
