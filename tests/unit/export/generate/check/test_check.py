"""The check of a whole text set: counts, holes, lone directions, lengths, and how it is told."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

pytest.importorskip("torch")  # coder_export.collapse, which knows the pairs, needs it

from coder_export.generate.check import check as check_module
from coder_export.generate.check.check import Check, Finding, check_textset
from coder_export.templates import Templates
from coder_export.textset import TextSet, names_only

GOOD = TextSet(
    name="animals",
    labels=("cat", "elk", "owl"),
    texts=(
        {"attribute": ("whiskers", "retractable claws"), "synonym": ("house cat",), "analogous": ("ocelot",)},
        {"attribute": ("antlers",), "synonym": ("wapiti",)},
        {"attribute": ("round eyes",)},
    ),
    pairs={(0, 1): ("its size", "its claws"), (1, 0): ("its antlers",)},
)


Texts = Mapping[int, Mapping[str, tuple[str, ...]]]
Pairs = Mapping[tuple[int, int], tuple[str, ...]]


def change(texts: Texts, pairs: Pairs = GOOD.pairs) -> TextSet:
    """GOOD with other texts for some classes, and other pairs."""
    new = tuple({**own, **texts.get(i, {})} for i, own in enumerate(GOOD.texts))
    return TextSet(name="animals", labels=GOOD.labels, texts=new, pairs=pairs)


def check(textset: TextSet) -> Check:
    return check_textset(textset, token_lengths=None)


def words(sentences: list[str]) -> list[int]:
    """A tokenizer of whole words with start and end."""
    return [len(sentence.split()) + 2 for sentence in sentences]


def test_a_good_text_set() -> None:
    found = check_textset(GOOD, token_lengths=words, context_length=20)
    assert (found.ok, found.findings) == (True, ())
    assert found.counts == {
        "cat": {"attribute": 2, "analogous": 1, "synonym": 1, "pair": 2},
        "elk": {"attribute": 1, "analogous": 0, "synonym": 1, "pair": 1},
        "owl": {"attribute": 1, "analogous": 0, "synonym": 0, "pair": 0},
    }
    assert found.one_name == ("owl",)
    assert (found.pairs_covered, found.pairs_possible) == (1, 3)
    assert (found.longest, found.context_length) == (13, 20)


def test_holes() -> None:
    found = check(change({0: {"attribute": ()}})).findings
    assert found == (Finding(kind="hole", label="cat", other=None, text=None, message="'cat' has no attribute texts."),)
    assert [finding.message for finding in check(names_only(("cat", "elk"))).findings] == [
        "'cat' has no texts but its name.",
        "'elk' has no texts but its name.",
    ]


def test_a_class_without_analogues_and_synonyms_is_whole() -> None:
    found = check(change({0: {"analogous": (), "synonym": ()}, 1: {"synonym": ()}}))
    assert (found.ok, found.one_name) == (True, ("cat", "elk", "owl"))


def test_one_sided_pairs() -> None:
    found = check(change({}, {**GOOD.pairs, (2, 0): ("its beak",)}))
    message = "'owl' has texts against 'cat', but 'cat' has none against 'owl'."
    assert found.findings == (Finding(kind="one-sided", label="owl", other="cat", text=None, message=message),)
    assert found.pairs_covered == 1


def test_faults_of_texts_are_looked_for_everywhere() -> None:
    texts = {
        0: {"attribute": ("whiskers", "Whiskers.", "ears of an owl"), "synonym": ("Cat",)},
        2: {"attribute": ("two very big round eyes", "two very big brown round eyes"), "analogous": ("elk",)},
    }
    found = check(change(texts, {(0, 1): ("size", "size"), (1, 0): ("an elk", "size")}))
    assert [(finding.kind, finding.label, finding.other, finding.text) for finding in found.findings] == [
        ("leak", "cat", "owl", "ears of an owl"),
        ("name-only", "cat", None, "Cat"),
        ("duplicate", "cat", None, "whiskers"),
        ("leak", "owl", "elk", "elk"),
        ("near-duplicate", "owl", None, "two very big brown round eyes"),
        ("duplicate", "cat", "elk", "size"),
        ("name-only", "elk", "cat", "an elk"),
    ]


def test_the_same_text_in_two_classes_or_directions_is_no_repeat() -> None:
    texts = {i: {"attribute": ("four strong legs and a tail",)} for i in range(3)}
    pairs = {(0, 1): ("its tail",), (1, 0): ("its tail",), (0, 2): ("its tail",), (2, 0): ("its tail",)}
    assert check(change(texts, pairs)).ok


# lengths


def test_a_sentence_may_fill_the_context_and_no_more() -> None:
    assert check_textset(GOOD, token_lengths=words, context_length=13).ok
    found = check_textset(GOOD, token_lengths=words, context_length=12)
    sentence = "Because of its size, a cat is different from an elk."
    message = f"The pair sentence of 'cat' against 'elk' has 13 tokens, 12 are read: {sentence}"
    assert found.longest == 13
    assert found.findings[0] == Finding(kind="long", label="cat", other="elk", text=sentence, message=message)
    assert [finding.label for finding in found.findings] == ["cat", "cat", "elk"]


def test_names_and_every_template_are_measured() -> None:
    templates = Templates(name=("a {class} that is here",), attribute=("{text}", "this is {text} as always"))
    textset = TextSet(name="t", labels=("cat",), texts=({"attribute": ("fur",)},), pairs={}, templates=templates)
    found = check_textset(textset, token_lengths=words, context_length=6)
    assert [finding.message for finding in found.findings] == [
        "The name sentence of 'cat' has 7 tokens, 6 are read: a cat that is here",
        "The attribute sentence of 'cat' has 7 tokens, 6 are read: this is fur as always",
    ]


def test_sentences_are_measured_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counting(sentences: list[str]) -> list[int]:
        sizes.append(len(sentences))
        return words(sentences)

    textset = change({0: {"attribute": ("word " * 20, "claws")}})
    whole = check_textset(textset, token_lengths=words, context_length=12)
    monkeypatch.setattr(check_module, "_BATCH", 5)
    assert check_textset(textset, token_lengths=counting, context_length=12) == whole
    assert whole.longest == 30
    assert sizes == [5, 5, 3]


def test_a_tokenizer_that_skips_sentences_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"zip\(\)"):
        check_textset(GOOD, token_lengths=lambda sentences: [5], context_length=12)


# telling it


def test_the_table_of_a_good_text_set() -> None:
    assert check_textset(GOOD, token_lengths=words).table().splitlines() == [
        "class        attribute  analogous    synonym       pair",
        "cat                  2          1          1          2",
        "elk                  1          0          1          1",
        "owl                  1          0          0          0",
        "all classes          4          1          2          3",
        "",
        "Pairs with texts in both directions: 1 of 3.",
        "Classes with one name only, no synonym: 1 of 3.",
        "The longest sentence has 13 of 77 tokens.",
        "Nothing is wrong.",
    ]


def test_the_table_says_that_lengths_were_not_checked() -> None:
    found = check(GOOD)
    assert found.longest is None
    assert "The length of the sentences was not checked, as there is no tokenizer." in found.table().splitlines()


def test_the_table_of_findings() -> None:
    found = check(change({0: {"attribute": ("an owl\nface",)}, 1: {"attribute": ()}}))
    assert found.table().splitlines()[-7:] == [
        "Findings: 2.",
        "",
        "hole (1): classes without attribute texts",
        "  'elk' has no attribute texts.",
        "",
        "leak (1): texts that name another class",
        "  The attribute text of 'cat' names the class 'owl': an owl face",
    ]


def test_long_lists_and_long_lines_are_cut() -> None:
    labels = tuple(f"class number {i} " + "with a long name " * 3 for i in range(1234))
    texts = tuple({"attribute": (f"{'tall ' * 80}{'x' * 200} {i}",) * 2} for i in range(1234))
    lines = check(TextSet(name="many", labels=labels, texts=texts, pairs={})).table().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1] == "class number 0 with a long name with ..." + "          2          0          0          0"
    assert lines[20].startswith("class number 19 ")
    assert lines[21:23] == [
        "  ... and 1,214 more (--json for all)",
        f"{'all classes':40}      2,468          0          0          0",
    ]
    at = lines.index("duplicate (1,234): texts that are there more than once")
    assert [line[:40] for line in lines[at + 1 : at + 4]] == [
        "  The attribute text of 'class number 0 ",
        "    there 2 times: tall tall tall tall t",
        "    tall tall tall tall tall tall tall t",
    ]
    assert lines[at + 3].endswith(" ...")
    assert len(lines) == at + 1 + 3 * 10 + 1
    assert lines[-1] == "  ... and 1,224 more (--json for all)"


@pytest.mark.parametrize("columns", [1, 60, 80, 160])
def test_the_table_is_as_wide_as_the_terminal(columns: int) -> None:
    labels = tuple(f"class number {i} " + "with a long name " * 3 for i in range(3))
    texts = tuple({"attribute": ("tall " * 60,) * 2} for _ in labels)
    widths = [
        len(line)
        for line in check(TextSet(name="few", labels=labels, texts=texts, pairs={})).table(columns).split("\n")
    ]
    assert max(widths) <= max(columns, 57 + 20)  # heads and sums are not wrapped
    assert columns < 100 or max(widths) > 100


def test_every_kind_of_finding_is_in_the_table() -> None:
    texts = {
        0: {"attribute": ("an owl", "An owl.", "cat"), "analogous": ("owl an",)},
        1: {"attribute": ()},
    }
    found = check_textset(change(texts, {(0, 1): ("its size",)}), token_lengths=words, context_length=12)
    kinds = ["hole", "leak", "name-only", "duplicate", "near-duplicate", "one-sided", "long"]
    assert sorted({finding.kind for finding in found.findings}) == sorted(kinds)
    heads = [line.split(" (")[0] for line in found.table().splitlines() if line.split(" (")[0] in kinds]
    assert heads == kinds


def test_json_has_all_of_it() -> None:
    found = check(change({0: {"attribute": ()}}))
    assert json.loads(json.dumps(found.to_json())) == {
        "ok": False,
        "counts": {label: dict(own) for label, own in found.counts.items()},
        "one_name": ["owl"],
        "pairs_covered": 1,
        "pairs_possible": 3,
        "longest": None,
        "context_length": 77,
        "findings": [
            {
                "kind": "hole",
                "label": "cat",
                "other": None,
                "text": None,
                "message": "'cat' has no attribute texts.",
            }
        ],
    }
