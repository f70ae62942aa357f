"""Senses of class names in a small WordNet and the real one, and what is made of a sense."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers_wordnet import ENTRIES, Entry, write_wordnet

nltk = pytest.importorskip("nltk", reason="nltk is not installed: pip install '.[texts]'")

from coder_engine.errors import TextsError  # noqa: E402
from coder_export.generate.wordnet.senses import (  # noqa: E402
    EXPERT_TEMPLATES,
    Sense,
    WordNet,
    choose_sense,
    expert_attributes,
    synonyms,
)
from coder_export.templates import Templates  # noqa: E402


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WordNet:
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("CODER_WORDNET", str(write_wordnet(tmp_path / "wordnet")))
    return WordNet.open(download=False)


def sense(**parts: object) -> Sense:
    empty: dict[str, object] = {"name": "x.n.01", "kind": "", "gloss": "", "lemmas": (), "hypernyms": (), "sisters": ()}
    return Sense(**{**empty, **parts})  # type: ignore[arg-type]


# senses


def test_the_senses_of_a_word_in_wordnets_order(wordnet: WordNet) -> None:
    machine, bird = wordnet.senses("crane")
    assert (machine.name, bird.name) == ("crane.n.01", "crane.n.02")
    assert bird == Sense(
        name="crane.n.02",
        kind="noun.animal",
        gloss="a grey bird with a long neck",
        lemmas=("crane", "Crane", "Grus longa"),
        hypernyms=("wading bird", "songster", "bird", "animal"),  # three up, without "object"
        sisters=("heron", "stork"),  # once each, though the stork is a sister twice
    )
    assert machine.hypernyms == ("lifting device", "machine")
    assert machine.sisters == ("winch", "hoist")


def test_one_that_exists_once(wordnet: WordNet) -> None:
    (ada,) = wordnet.senses("ADA")
    assert (ada.hypernyms, ada.sisters) == (("heron", "wading bird", "bird"), ("Bo",))
    assert wordnet.senses("bo")[0].sisters == ("Ada",)


def test_the_top_has_nothing_above(wordnet: WordNet) -> None:
    (entity,) = wordnet.senses("entity")
    assert (entity.hypernyms, entity.sisters) == ((), ())


@pytest.mark.parametrize(
    ("name", "lemma"),
    [
        ("Wading Bird", "wading bird"),
        ("wading_bird", "wading bird"),
        ("wading-birds", "wading bird"),
        ("  wading  bird ", "wading bird"),
        ("T-shirt", "T-shirt"),
        ("t shirts", "T-shirt"),
        ("t_shirt", "T-shirt"),
        ("fire truck", "firetruck"),
        ("Fire-Trucks", "firetruck"),
        ("wolves", "wolf"),
        ("herons", "heron"),
    ],
)
def test_spellings(wordnet: WordNet, name: str, lemma: str) -> None:
    assert [found.lemmas[0] for found in wordnet.senses(name)] == [lemma]


@pytest.mark.parametrize("name", ["", " ", "_", "s", "flamingo", "crane bird", "grey crane"])
def test_unknown_names(wordnet: WordNet, name: str) -> None:
    assert wordnet.senses(name) == []


def test_relations_come_in_the_same_order_in_every_run(wordnet: WordNet) -> None:
    code = "from coder_export.generate.wordnet.senses import WordNet; print(WordNet.open().senses('crane'))"
    run = [sys.executable, "-c", code.replace("WordNet.open()", "WordNet.open(download=False)")]
    said = subprocess.run(run, env={**os.environ, "PYTHONHASHSEED": "3"}, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == repr(wordnet.senses("crane"))


def test_nothing_is_left_open(wordnet: WordNet) -> None:
    assert wordnet.senses("crane")
    del wordnet
    gc.collect()  # a ResourceWarning would be an error


# damaged files


def test_files_of_two_wordnets(tmp_path: Path, wordnet: WordNet) -> None:
    other = {"new": Entry(words=("novelty",), gloss="a longer first entry than before"), **ENTRIES}
    data = (write_wordnet(tmp_path / "other", other) / "data.noun").read_bytes()
    (tmp_path / "wordnet" / "data.noun").write_bytes(data)
    wanted = r"wordnet: NLTK cannot .*no synset begins at byte \d+ of data\.noun; is index\.noun of the same WordNet\?"
    with pytest.warns(UserWarning, match="No WordNet synset found"), pytest.raises(TextsError, match=wanted):
        WordNet.open(download=False).senses("crane")


def test_a_relation_to_nowhere(tmp_path: Path, wordnet: WordNet) -> None:
    path = tmp_path / "wordnet" / "data.noun"
    (singer,) = (line for line in path.read_bytes().splitlines() if b"songster" in line)
    path.write_bytes(path.read_bytes().replace(b"@ " + singer[:8], b"@ 00000007"))
    with (
        pytest.warns(UserWarning, match="No WordNet synset found"),
        pytest.raises(TextsError, match=r"no synset begins at byte 7 of data\.noun"),
    ):
        wordnet.senses("crane")


def test_a_line_cut_short(tmp_path: Path, wordnet: WordNet) -> None:
    path = tmp_path / "wordnet" / "data.noun"
    path.write_bytes(path.read_bytes().replace(b" | a grey bird with a long neck", b"   a grey bird with a long neck"))
    with pytest.raises(
        TextsError, match=r"wordnet: NLTK cannot read WordNet's files \(WordNetError: .*; mend them, or run"
    ):
        wordnet.senses("crane")


# the right sense

SENSES = [sense(name=f"crane.n.0{i}", gloss=gloss) for i, gloss in enumerate(["a writer", "a machine", "a bird"], 1)]


def test_the_sense_nearest_to_the_name() -> None:
    asked = []

    def similarity(name: str, texts: Sequence[str]) -> list[float]:
        asked.append((name, list(texts)))
        return [0.1, 0.2, 0.9]

    assert choose_sense("crane", SENSES, similarity) == SENSES[2]
    assert asked == [("crane", ["a writer", "a machine", "a bird"])]


def test_equally_near_senses_fall_to_the_more_frequent() -> None:
    assert choose_sense("crane", SENSES, lambda name, texts: [0.1, 0.9, 0.9]) == SENSES[1]


def test_without_a_similarity_the_most_frequent_sense() -> None:
    assert choose_sense("crane", SENSES, None) == SENSES[0]


def test_one_sense_needs_no_similarity() -> None:
    assert choose_sense("crane", SENSES[2:], lambda name, texts: pytest.fail("asked")) == SENSES[2]


def test_no_senses_to_choose_from() -> None:
    with pytest.raises(ValueError, match=r"no senses of 'flamingo' to choose from; WordNet does not know the name"):
        choose_sense("flamingo", [], None)


def test_too_few_similarities() -> None:
    with pytest.raises(ValueError, match=r"similarity gave 2 values for the 3 senses of 'crane'; give one each"):
        choose_sense("crane", SENSES, lambda name, texts: [0.1, 0.2])


# what is made of it


@pytest.mark.parametrize(
    ("name", "lemmas", "found"),
    [
        ("crane", ("crane", "Crane", "Grus longa"), ("Grus longa",)),
        ("Grus_longa", ("crane", "Crane", "Grus longa"), ("crane",)),
        ("t shirts", ("T-shirt", "jersey", "tee shirt", "tee-shirt"), ("jersey", "tee shirt")),
        ("ponies", ("pony",), ()),
        ("wolves", ("wolf",), ()),
        ("fireman", ("firemen", "fire fighter"), ("fire fighter",)),
        ("box", ("boxes", "crate"), ("crate",)),
        ("dog", (), ()),
    ],
)
def test_synonyms(name: str, lemmas: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert synonyms(name, sense(lemmas=lemmas)) == found


@pytest.mark.parametrize(
    ("gloss", "parts"),
    [
        ("a grey bird; a long neck", ("a grey bird", "a long neck")),
        ('a grey bird; "the crane; it flew"', ("a grey bird",)),
        ("(zoology) a bird (grey; long (or tall)) , with a bill", ("a bird, with a bill",)),
        ("a grey bird; ; - Mark Twain; --James", ("a grey bird",)),
        ("it moves: ; lifts steel.; lifts steel", ("it moves", "lifts steel")),
        ("any  of\tseveral", ("any of several",)),
        ("", ()),
    ],
)
def test_the_parts_of_a_gloss(gloss: str, parts: tuple[str, ...]) -> None:
    assert expert_attributes(sense(gloss=gloss)) == parts


def test_attributes_of_the_small_wordnet(wordnet: WordNet) -> None:
    assert expert_attributes(wordnet.senses("crane")[0]) == (
        "a machine with an arm, tall",
        "lifts steel",
        "moves it",
        "a kind of lifting device",
        "a kind of machine",
    )


def test_attributes_fit_their_templates() -> None:
    templates = Templates(attribute=EXPERT_TEMPLATES)
    phrases = expert_attributes(sense(gloss="a grey bird", hypernyms=("wading bird",)))
    words = [{"class": "egret", "text": phrase} for phrase in phrases]
    assert [text for word in words for text in templates.render("attribute", word)] == [
        "a photo of an egret, a grey bird.",
        "a photo of an egret, a kind of wading bird.",
    ]


# the real one


def test_the_real_wordnet() -> None:
    try:
        wordnet = WordNet.open(download=False)
    except TextsError as err:
        pytest.skip(str(err))
    (retriever,) = wordnet.senses("golden retrievers")
    assert retriever.name == "golden_retriever.n.01"
    assert retriever.hypernyms == ("retriever", "sporting dog", "hunting dog")
    assert "Labrador retriever" in retriever.sisters
    cranes = wordnet.senses("crane")
    assert [found.name for found in cranes] == ["crane.n.01", "crane.n.02", "grus.n.01", "crane.n.04", "crane.n.05"]
    assert "a kind of wading bird" in expert_attributes(cranes[4])
    assert synonyms("airplane", wordnet.senses("airplane")[0]) == ("aeroplane", "plane")


def test_without_a_text_space_the_spelling_decides_before_frequency() -> None:
    def sense(name: str, *lemmas: str) -> Sense:
        return Sense(name=name, kind="", gloss="", lemmas=lemmas, hypernyms=(), sisters=())

    architect, bird = sense("wren.n.01", "Wren", "Sir Wren"), sense("wren.n.02", "jenny wren", "wren")
    assert choose_sense("wren", [architect, bird], None) is bird
    assert choose_sense("Wren", [architect, bird], None) is architect
    assert choose_sense("jenny_wren", [architect, bird], None) is bird
    assert choose_sense("WREN", [architect, bird], None) is architect
