"""Finding WordNet in each place it can lie in, in the right order, and what is said where it is missing or damaged."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from helpers_wordnet import write_wordnet

nltk = pytest.importorskip("nltk", reason="nltk is not installed: pip install '.[texts]'")

from coder_engine.errors import TextsError  # noqa: E402
from coder_export.generate.wordnet import data as wordnet_data  # noqa: E402
from coder_export.generate.wordnet.data import cache_folder, find_wordnet, open_nouns  # noqa: E402

COMMANDS = (
    r"run `python -m nltk\.downloader wordnet` or `apt-get install wordnet-base`, or set CODER_WORDNET to a folder "
    r"with WordNet's files data\.noun, index\.noun, noun\.exc$"
)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without WordNet, whose downloads fail."""

    def download(*args: Any, **options: Any) -> bool:
        raise ValueError("Error loading wordnet: no room")

    monkeypatch.delenv("CODER_WORDNET", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    monkeypatch.setattr(nltk, "download", download)
    monkeypatch.setattr(wordnet_data, "DEBIAN", tmp_path / "debian")


def nltk_root(root: Path) -> Path:
    """Make the folder ``corpora`` below ``root``; NLTK refuses folders that others may write to."""
    for folder in (root.parent, root, root / "corpora"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
    return root / "corpora"


def zip_wordnet(folder: Path, corpora: Path) -> None:
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"wordnet/{file.name}")
    (corpora / "wordnet.zip").chmod(0o600)


def knows_cranes(folder: Path) -> bool:
    return len(open_nouns(folder).synsets("crane", pos="n")) == 2


# where it is found


def test_a_folder_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wordnet(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODER_WORDNET", "mine")
    assert find_wordnet(download=False) == (tmp_path / "mine").resolve()
    assert knows_cranes(find_wordnet(download=False))


def test_nltks_data_unzipped(tmp_path: Path) -> None:
    folder = write_wordnet(nltk_root(tmp_path / "nltk_data") / "wordnet")
    assert find_wordnet(download=False) == folder
    assert knows_cranes(folder)


def test_nltks_data_zipped(tmp_path: Path) -> None:
    zip_wordnet(write_wordnet(tmp_path / "plain"), nltk_root(tmp_path / "nltk_data"))
    found = find_wordnet(download=False)
    assert found == tmp_path / "nltk_data" / "corpora" / "wordnet.zip" / "wordnet"
    assert knows_cranes(found)


def test_debians_folder_is_read_in_place(tmp_path: Path) -> None:
    folder = write_wordnet(tmp_path / "debian")
    assert find_wordnet(download=False) == folder
    assert knows_cranes(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debian"]  # nothing was copied


def test_a_download_goes_to_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(package: str, **options: Any) -> bool:
        asked.append((package, options["download_dir"], options["quiet"]))
        zip_wordnet(write_wordnet(tmp_path / "plain"), nltk_root(cache_folder()))
        return True

    (tmp_path / "cache" / "coder-engine").mkdir(parents=True)
    monkeypatch.setattr(nltk, "download", download)
    found = find_wordnet()
    assert found == tmp_path / "cache" / "coder-engine" / "nltk_data" / "corpora" / "wordnet.zip" / "wordnet"
    assert knows_cranes(found)
    assert find_wordnet() == found
    assert asked == [("wordnet", str(cache_folder()), True)]


def test_the_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / "mine", nltk_root(tmp_path / "nltk_data") / "wordnet", tmp_path / "debian"]
    for place in places:
        write_wordnet(place)
    found = []
    monkeypatch.setenv("CODER_WORDNET", str(places[0]))
    found.append(find_wordnet())
    monkeypatch.delenv("CODER_WORDNET")
    found.append(find_wordnet())
    places[1].rename(tmp_path / "away")
    found.append(find_wordnet())
    assert found == places


def test_the_cache_without_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "coder-engine" / "nltk_data"


# where it is not


def test_no_wordnet_anywhere_tells_the_ways_to_get_it() -> None:
    with pytest.raises(TextsError, match=rf"no WordNet in NLTK's data folders, none in .*debian.*{COMMANDS}") as caught:
        find_wordnet()
    assert ", and its download failed (Error loading wordnet: no room); run" in str(caught.value)


def test_without_network_nltks_words_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: Any, **options: Any) -> bool:
        raise ValueError("Error loading wordnet: <urlopen error pathsec.urlopen: no validated address for host 'x'>")

    monkeypatch.setattr(nltk, "download", download)
    said = rf"none in .*debian, and it cannot be downloaded: no way to NLTK's server from here; {COMMANDS}"
    with pytest.raises(TextsError, match=said):
        find_wordnet()


def test_no_download_unless_allowed() -> None:
    with pytest.raises(TextsError, match=r"no WordNet .*/debian; run"):
        find_wordnet(download=False)


def test_a_download_that_brings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk, "download", lambda *args, **options: True)
    with pytest.raises(TextsError, match=r", and NLTK's download left no files; run"):
        find_wordnet()


def test_a_named_folder_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wordnet(tmp_path / "debian")
    monkeypatch.setenv("CODER_WORDNET", str(tmp_path / "missing"))
    wanted = rf"CODER_WORDNET: .*missing: not WordNet, it has no data\.noun, index\.noun, noun\.exc; {COMMANDS}"
    with pytest.raises(TextsError, match=wanted):
        find_wordnet()


def test_a_folder_that_lacks_a_file(tmp_path: Path) -> None:
    (write_wordnet(tmp_path / "debian") / "noun.exc").unlink()
    with pytest.raises(TextsError, match=r"debian: not WordNet, it has no noun\.exc; run"):
        find_wordnet()


def test_without_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(
        TextsError, match=r"WordNet is read by nltk .*; install it: pip install 'coder-engine\[texts\]'"
    ):
        find_wordnet()


# damaged


def test_a_zip_that_is_none(tmp_path: Path) -> None:
    archive = nltk_root(tmp_path / "nltk_data") / "wordnet.zip"
    archive.write_bytes(b"<html>")
    archive.chmod(0o600)
    with pytest.raises(TextsError, match=r"corpora/wordnet\.zip .* is damaged \(.*\); remove it, then run"):
        find_wordnet()


def test_a_zip_that_lacks_a_file(tmp_path: Path) -> None:
    folder = write_wordnet(tmp_path / "plain")
    (folder / "index.noun").unlink()
    zip_wordnet(folder, nltk_root(tmp_path / "nltk_data"))
    with pytest.raises(TextsError, match=r"NLTK cannot read WordNet's files \(OSError: .*index\.noun'\); mend them"):
        open_nouns(find_wordnet())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("index.noun", b"crane n 1 0 1 0\n", "StopIteration"),
        ("index.noun", b"crane n one\n", "WordNetError: file index.noun, line 1"),
        ("index.noun", "Kräne".encode("latin-1"), "UnicodeDecodeError"),
        ("noun.exc", b"\n", "IndexError"),
    ],
    ids=["cut short", "no number", "latin-1", "blank line"],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    folder = write_wordnet(tmp_path / "debian")
    (folder / name).write_bytes(content)
    with pytest.raises(TextsError, match=rf"debian: NLTK cannot read WordNet's files \({said}.*mend them, or run"):
        open_nouns(folder)


def test_files_that_nltk_refuses(tmp_path: Path) -> None:
    pytest.importorskip("nltk.pathsec", reason="this nltk reads files that others may write to")
    folder = write_wordnet(tmp_path / "debian")
    (folder / "index.noun").chmod(0o666)
    with pytest.raises(TextsError, match=r"NLTK cannot read .*PermissionError.*index\.noun.*chmod go-w"):
        open_nouns(folder)


def test_the_lexicographer_files_are_those_of_the_manual() -> None:
    rows = [line.split("\t") for line in wordnet_data._lexnames().splitlines()]
    assert [int(number) for number, _, _ in rows] == list(range(45))
    assert rows[5] == ["05", "noun.animal", "1"]
    assert rows[43:] == [["43", "verb.weather", "2"], ["44", "adj.ppl", "3"]]
    assert (rows[0], rows[2]) == (["00", "adj.all", "3"], ["02", "adv.all", "4"])
