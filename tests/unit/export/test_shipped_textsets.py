"""What every text set in the package must be: whole, free of repeats and of other classes' names, and short enough."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import permutations

import pytest

from coder_export.labels import load_labels
from coder_export.shipped import shipped
from coder_export.textset import GENERAL_KINDS, TextSet
from coder_export.textset_file import load_textset

NAMES = sorted(shipped())
CONTEXT = 77
LEAST = {"attribute": 8, "analogous": 6, "synonym": 1}
every_set = pytest.mark.parametrize("name", NAMES)


@cache
def load(name: str) -> TextSet:
    return load_textset(shipped()[name])


def repeats(texts: Iterable[str]) -> list[str]:
    """Texts that stand there twice, case, spacing and a full stop aside."""
    return [text for text, n in Counter(" ".join(t.casefold().split()).rstrip(".") for t in texts).items() if n > 1]


def test_there_are_sets() -> None:
    assert "cifar10" in NAMES


@every_set
def test_labels_are_valid_and_the_files_all_there(name: str) -> None:
    folder = shipped()[name]
    assert load(name).labels == load_labels(folder / "labels.txt")
    found = {path.name for path in folder.iterdir()}
    wanted = {"labels.txt", "texts.jsonl", "templates.json", "source.json"}
    assert wanted <= found <= wanted | {"pairs.jsonl"}


@every_set
def test_the_source_is_told(name: str) -> None:
    source = load(name).source
    assert all(source[key] for key in ("writer", "date", "licence"))


@every_set
def test_every_text_renders(name: str) -> None:
    texts = load(name)
    for i, label in enumerate(texts.labels):
        sentences = texts.sentences(i)
        assert label in sentences[0].text
        assert len(sentences) >= 1 + sum(map(len, texts.texts[i].values()))
        assert not [sentence for sentence in sentences if re.search(r"[{}]|\s\s|\.\.|^\s|\s$", sentence.text)]
    for a, b in texts.pairs:
        sentences = texts.duel_sentences(a, b)
        assert len(sentences) >= len(texts.pairs[a, b])
        assert not [sentence for sentence in sentences if re.search(r"[{}]|\s\s|\.\.|^\s|\s$", sentence)]


@every_set
def test_no_text_stands_twice_in_a_class_and_kind(name: str) -> None:
    texts = load(name)
    found = {
        (label, kind): repeats(texts.texts[i].get(kind, ()))
        for i, label in enumerate(texts.labels)
        for kind in GENERAL_KINDS
    }
    assert {place: twice for place, twice in found.items() if twice} == {}


@every_set
def test_no_text_stands_twice_in_a_pair_and_direction(name: str) -> None:
    found = {pair: repeats(texts) for pair, texts in load(name).pairs.items()}
    assert {pair: twice for pair, twice in found.items() if twice} == {}


@every_set
def test_no_synonym_or_analogue_is_the_class_itself(name: str) -> None:
    texts = load(name)
    for i, label in enumerate(texts.labels):
        assert repeats([label, *texts.texts[i]["synonym"]]) == []
        assert repeats([label, *texts.texts[i]["analogous"]]) == []


@every_set
@pytest.mark.parametrize("kind", GENERAL_KINDS)
def test_every_class_has_enough_texts(name: str, kind: str) -> None:
    texts = load(name)
    counts = {label: len(texts.texts[i].get(kind, ())) for i, label in enumerate(texts.labels)}
    assert {label: n for label, n in counts.items() if n < LEAST[kind]} == {}


@every_set
def test_no_attribute_or_pair_text_names_another_class(name: str) -> None:
    texts = load(name)
    said = {(i, raw) for i, kinds in enumerate(texts.texts) for raw in kinds["attribute"]}
    said |= {(a, raw) for (a, _), raws in texts.pairs.items() for raw in raws}
    others = [(i, re.compile(rf"\b{re.escape(label)}(e?s)?\b", re.IGNORECASE)) for i, label in enumerate(texts.labels)]
    found = [(texts.labels[i], raw) for i, raw in said for j, other in others if j != i and other.search(raw)]
    assert sorted(found) == []


@every_set
def test_no_pair_is_one_sided(name: str) -> None:
    texts = load(name)
    assert [pair for pair in texts.pairs if pair[::-1] not in texts.pairs] == []


@every_set
def test_every_sentence_fits_the_context(name: str) -> None:
    tokenizer = pytest.importorskip("open_clip").get_tokenizer("ViT-B-32")
    texts = load(name)
    said = [sentence.text for i in range(len(texts.labels)) for sentence in texts.sentences(i)]
    said += [text for pair in texts.pairs for text in texts.duel_sentences(*pair)]
    tokens = tokenizer(said, context_length=CONTEXT + 1)
    assert [text for text, too_long in zip(said, tokens[:, CONTEXT] != 0, strict=True) if too_long] == []


def test_cifar10_has_texts_for_all_90_directions() -> None:
    texts = load("cifar10")
    wanted = set(permutations(range(10), 2))
    assert (len(texts.labels), len(wanted)) == (10, 90)
    assert set(texts.pairs) == wanted
    assert {pair: len(raws) for pair, raws in texts.pairs.items() if len(raws) < 3} == {}


def test_cifar10_labels_are_in_the_order_of_the_data_set() -> None:
    wanted = "airplane automobile bird cat deer dog frog horse ship truck"
    assert " ".join(load("cifar10").labels) == wanted
