"""WordNet as expert: one sense a class, and texts that are no other class's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.similarity import TextSpace
from coder_export.generate.wordnet import data
from coder_export.generate.wordnet import lexicon as lexicon_module
from coder_export.generate.wordnet.lexicon import Lexicon, names_and_synonyms
from coder_export.generate.wordnet.senses import Sense, WordNet
from coder_export.report import Report

LABELS = ("crane", "T-shirt", "quarg", "winch")


def sense(*lemmas: str) -> Sense:
    return Sense(name="x.n.01", kind="", gloss="x", lemmas=lemmas, hypernyms=(), sisters=())


@pytest.fixture
def lexicon(wordnet_folder: Path) -> Lexicon:
    return Lexicon.of(LABELS, WordNet.open(), None)


def test_one_sense_a_class_and_progress_for_each(wordnet_folder: Path) -> None:
    done: list[int] = []
    found = Lexicon.of(LABELS, WordNet.open(), None, done.append)
    assert [sense and sense.lemmas[0] for sense in found.senses] == ["crane", "T-shirt", None, "winch"]
    assert found.unknown == ["quarg"]
    assert done == [1, 1, 1, 1]


def test_camel_case_is_looked_up_in_words(wordnet_folder: Path) -> None:
    found = Lexicon.of(("WadingBird", "LiftingDevice"), WordNet.open(), None)
    assert [sense and sense.lemmas[0] for sense in found.senses] == ["wading bird", "lifting device"]


def test_the_sense_is_the_one_nearest_in_clips_text_space(
    wordnet_folder: Path, space: TextSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in ("grey bird", "machine"):
        monkeypatch.setattr(space, "of_gloss", lambda name, glosses, wanted=wanted: [wanted in g for g in glosses])
        chosen = Lexicon.of(("crane",), WordNet.open(), space).senses[0]
        assert chosen is not None
        assert wanted in chosen.gloss


def test_doubtful_senses_are_told_where_names_alone_decide(wordnet_folder: Path, space: TextSpace) -> None:
    found = Lexicon.of(LABELS, WordNet.open(), None)
    assert found.doubts() == [
        "1 of 4 classes has another sense in WordNet, too; taken by their names alone:",
        "  crane: a machine with an arm (a boom (or jib)) , tall; lifts steel; ; - A. Builder; ...",
    ]
    assert Lexicon.of(LABELS, WordNet.open(), space).doubts() == []
    assert Lexicon.of(("winch", "quarg"), WordNet.open(), None).doubts() == []


def test_of_many_doubtful_senses_some_are_told() -> None:
    labels = tuple(f"thing {i}" for i in range(1012))
    lines = Lexicon(labels=labels, senses=tuple(map(sense, labels)), doubtful=labels).doubts()
    assert lines[0].startswith("1,012 of 1,012 classes have other senses in WordNet, too")
    assert lines[1:] == [*(f"  thing {i}: x" for i in range(10)), "  ... and 1,002 more"]


def test_synonyms(lexicon: Lexicon) -> None:
    assert lexicon.synonyms() == [(), ("tee shirt", "tee"), (), ("windlass",)]


def test_no_synonym_is_a_label_or_shared() -> None:
    senses = (sense("car", "auto", "Motor-Car"), sense("truck", "auto", "car", "lorry"), None)
    found = Lexicon(labels=("car", "truck", "motorcar"), senses=senses)
    assert found.synonyms() == [("Motor-Car",), ("lorry",), ()]
    assert Lexicon(labels=("car", "truck", "motor car"), senses=senses).synonyms() == [(), ("lorry",), ()]


def test_attributes(lexicon: Lexicon) -> None:
    attributes = lexicon.attributes(8)
    assert attributes[1] == ("it leaves the arms bare",)
    assert attributes[2] == ()
    assert "a kind of machine" in attributes[3]
    assert lexicon.attributes(1)[3] == attributes[3][:1] != attributes[3]


def test_analogues_are_sisters_but_no_classes(lexicon: Lexicon) -> None:
    choose = AnalogueFilter(labels=LABELS, synonyms=lexicon.synonyms(), space=None, threshold=0.9)
    assert lexicon.analogues(choose, None, 6) == [["hoist"], ["animal", "machine"], [], ["hoist"]]
    assert lexicon.analogues(choose, None, 1)[1] == ["animal"]


def test_the_nearest_analogues_first(space: TextSpace) -> None:
    sisters = ("truck", "dog", "ship", "automobile")
    senses = (Sense(name="cat.n.01", kind="", gloss="x", lemmas=("cat",), hypernyms=(), sisters=sisters),)
    found = Lexicon(labels=("cat",), senses=senses)
    choose = AnalogueFilter(labels=("cat",), synonyms=((),), space=space, threshold=0.9)
    cosines = dict(zip(sisters, space.between(["cat"], sisters)[0], strict=True))
    wanted = sorted(sisters, key=lambda name: -cosines[name])
    assert found.analogues(choose, space, 3) == [wanted[:3]]
    assert found.analogues(choose, None, 3) == [list(sisters[:3])]


# where nobody wrote texts


def test_names_and_synonyms_where_there_is_wordnet(
    wordnet_folder: Path, space: TextSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = names_and_synonyms(("t-shirt", "quarg"), space.clip, Report())
    assert (found.texts, found.pairs) == (({"synonym": ("tee shirt", "tee")}, {}), {})
    assert found.source == {"kinds": {"synonym": {"expert": "wordnet", "clip": "coder-tiny (cifar10)"}}}
    assert "class names and 2 synonyms of WordNet" in capsys.readouterr().out


def test_names_alone_where_there_is_none(
    space: TextSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CODER_WORDNET", raising=False)
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "none")
    monkeypatch.setattr(data, "_in_nltk_data", lambda nltk: None)
    found = names_and_synonyms(("cat",), space.clip, Report())
    assert found == lexicon_module.names_only(("cat",))
    assert "class names only, which is plain CLIP" in capsys.readouterr().out


def test_a_wordnet_that_is_named_and_is_none(
    space: TextSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: Report
) -> None:
    monkeypatch.setenv("CODER_WORDNET", str(tmp_path / "nowhere"))
    with pytest.raises(TextsError, match=r"^CODER_WORDNET: .*/nowhere: not WordNet, it has no data\.noun"):
        names_and_synonyms(("cat",), space.clip, report)
