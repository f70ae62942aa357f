"""Class folders and csv files, matched to labels."""

from __future__ import annotations

import os
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import DataError
from coder_engine.labelled_images import LabelledPaths, find_images, fold, image_files, match_labels

LABELS = ("airplane", "crème brûlée", "grand piano", "T-shirt")


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found_in(root: Path, found: LabelledPaths) -> list[tuple[str, int]]:
    return [(str(Path(path).relative_to(root)), label) for path, label in zip(found.paths, found.labels, strict=True)]


def test_folders_by_name_case_underscores_and_accents_aside(tmp_path: Path) -> None:
    tree(tmp_path, "Grand_Piano/b.jpg", "Grand_Piano/a.PNG", "creme brulee/deep/down/1.jpeg", "airplane/notes.txt")
    tree(tmp_path, "airplane/.hidden.jpg", "zebra/1.jpg", "zebra/2.jpg", "loose.jpg")
    found = find_images(tmp_path, LABELS)
    assert found_in(tmp_path, found) == [
        ("Grand_Piano/a.PNG", 2),
        ("Grand_Piano/b.jpg", 2),
        ("creme brulee/deep/down/1.jpeg", 1),
    ]
    assert found.unmatched == {"zebra": 2}
    assert found.missing == ("airplane", "T-shirt")
    assert found.notes() == [
        "1 name matches no label: 'zebra'; its 2 images are left out",
        "2 labels have no image: 'airplane', 'T-shirt'",
    ]


def test_names_near_a_label_are_told_with_it(tmp_path: Path) -> None:
    tree(tmp_path, "airplanes/1.jpg", "Grand_Pianos/1.jpg", "zebra/1.jpg", "T-shirt/1.jpg")
    assert find_images(tmp_path, LABELS).notes() == [
        "3 names match no label: 'Grand_Pianos' (did you mean 'grand piano'?), 'airplanes' (did you mean 'airplane'?), "
        "'zebra'; their 3 images are left out",
        "3 labels have no image: 'airplane', 'crème brûlée', 'grand piano'",
    ]


def test_nothing_to_note(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    assert find_images(tmp_path, ("a", "b")).notes() == []


def test_folders_by_order(tmp_path: Path) -> None:
    tree(tmp_path, "n02/1.jpg", "n01/1.jpg", "n10/1.jpg", "empty/notes.txt")
    found = find_images(tmp_path, ("x", "y", "z"), by_order=True)
    assert found_in(tmp_path, found) == [("n01/1.jpg", 0), ("n02/1.jpg", 1), ("n10/1.jpg", 2)]
    with pytest.raises(DataError, match="--by-order wants a folder a label, 2, got 3 with images"):
        find_images(tmp_path, ("x", "y"), by_order=True)
    (tmp_path / "list.csv").write_text("1.jpg,0\n")
    with pytest.raises(DataError, match=r"list\.csv: --by-order numbers folders, and this is a file; name the labels"):
        find_images(tmp_path / "list.csv", ("x", "y"), by_order=True)
    with pytest.raises(DataError, match=r"found '0'; wanted names like 'x', 'y'$"):
        find_images(tmp_path / "list.csv", ("x", "y"))


def test_numbered_folders_are_sorted_as_numbers(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{n}/1.jpg" for n in range(12)))
    labels = tuple(f"label {n}" for n in range(12))
    found = find_images(tmp_path, labels, by_order=True)
    assert sorted(found_in(tmp_path, found)) == sorted((f"{n}/1.jpg", n) for n in range(12))


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.jpg,airplane\nsub/b.jpg,grand piano\n",
        "label,split,path\nairplane,test,a.jpg\nGrand_Piano,test,sub/b.jpg\n",
        "a.jpg,airplane\n\nsub/b.jpg, GRAND piano\n",
        "\ufeffpath,label\r\na.jpg,airplane\r\nsub/b.jpg,grand piano\r\n",
    ],
)
def test_csv(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.csv").write_text(content, encoding="utf-8", newline="")
    assert found_in(tmp_path, find_images(tmp_path / "list.csv", LABELS)) == [("a.jpg", 0), ("sub/b.jpg", 2)]


def test_csv_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.jpg\n")
    with pytest.raises(DataError, match=r"list\.csv, line 2: wanted path,label, got 'a\.jpg'"):
        find_images(tmp_path / "list.csv", LABELS)
    (tmp_path / "list.csv").write_bytes(b"a.jpg,\xff\xfe\n")
    with pytest.raises(DataError, match=r"list\.csv: no csv of path,label in UTF-8"):
        find_images(tmp_path / "list.csv", LABELS)


def test_nothing_that_matches(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or file"):
        find_images(tmp_path / "none", LABELS)
    with pytest.raises(DataError, match="found no folder with images; wanted names like 'airplane'"):
        find_images(tmp_path, LABELS)
    tree(tmp_path, "n01440764/1.jpg")
    with pytest.raises(DataError, match=r"found 'n01440764'; wanted names like .*coder-fit --by-order take"):
        find_images(tmp_path, LABELS)


def test_all_but_one_letter(tmp_path: Path) -> None:
    tree(tmp_path, "airplanes/1.jpg")
    with pytest.raises(DataError, match=r"found 'airplanes' \(did you mean 'airplane'\?\); wanted names like"):
        find_images(tmp_path, LABELS)


def test_labels_that_differ_by_spelling_only() -> None:
    labels = ("crane", "Crane", "t shirt")
    assert match_labels(["Crane", "T_Shirt", "crane"], labels) == {"Crane": 1, "T_Shirt": 2, "crane": 0}
    with pytest.raises(DataError, match="'CRANE' could be any of 'crane', 'Crane'; name it exactly"):
        match_labels(["CRANE"], labels)


def test_fold() -> None:
    assert {fold(name) for name in ("T-shirt", "t_shirt", "TSHIRT", "t shirt", "t/shirt")} == {"tshirt"}
    assert fold("フクロウ") != fold("フクロ")
    assert fold("バス") != fold("ハス")  # a bus is no lotus
    assert fold(unicodedata.normalize("NFD", "バス")) == fold("バス")  # as macOS spells a folder


def test_image_files_are_found_below(tmp_path: Path) -> None:
    tree(tmp_path, "b/1.jpg", "a.png", ".hidden/2.jpg", "c.txt")
    assert image_files(tmp_path) == [str(tmp_path / "a.png"), str(tmp_path / "b" / "1.jpg")]


@pytest.mark.parametrize("locked", ["photos", "photos/cat", "photos/cat/deep"])
def test_a_locked_folder(tmp_path: Path, locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "photos/cat/1.jpg", "photos/cat/deep/2.jpg", "photos/dog/1.jpg")
    listed = {"scandir": os.scandir, "listdir": os.listdir}

    def opened(name: str, path: Path) -> Any:  # root, which tests may run as, may read all
        if Path(path) == tmp_path / locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed[name](path)

    for name in listed:
        monkeypatch.setattr(os, name, partial(opened, name))
    with pytest.raises(DataError, match=f"{locked}: cannot be read \\(Permission denied\\); check who may read it"):
        find_images(tmp_path / "photos", ("cat", "dog"))


def test_a_locked_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.jpg,airplane\n")

    def locked(path: Path, *args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(DataError, match=r"list\.csv: cannot be read \(Permission denied\)"):
        find_images(tmp_path / "list.csv", LABELS)


def test_a_folder_below_a_locked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", locked)
    for search in (image_files, partial(find_images, labels=LABELS)):
        with pytest.raises(DataError, match=r"photos: cannot be read \(Permission denied\)"):
            search(tmp_path / "photos")
