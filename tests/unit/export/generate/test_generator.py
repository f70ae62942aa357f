"""One run of coder-texts: which kinds an expert writes, what stays, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import ModelError, TextsError
from coder_export.generate import generator
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import KINDS
from coder_export.generate.generator import Outcome, chosen_kinds, generate, open_space
from coder_export.generate.lock import locked
from coder_export.generate.pairs import PairChoice
from coder_export.generate.similarity import TextSpace
from coder_export.report import Report
from coder_export.textset_file import load_textset
from llm_server import serving

QUIET = Report(quiet=True)


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "labels.txt"
    path.write_text("crane\nquarg\nwinch\n")
    return path


def written(labels: Path, report: Report = QUIET, **options: Any) -> Outcome:
    out = labels.parent / "out"
    few = {"attribute": ("attributes", 2), "analogous": ("analogues", 2)}
    if options.get("llm"):
        few["pair"] = ("pair_texts", 1)
    kinds = [] if "imports" in options else options.get("kinds", KINDS)
    small = dict(few[kind] for kind in kinds if kind in few)
    return generate(TextsConfig(labels=labels, out=out, **{**small, "model": "none", **options}), report)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ("attribute", "analogous", "synonym")),
        ({"llm": "m"}, ("attribute", "analogous", "synonym", "pair")),
        ({"imports": (Path("a"),)}, ("attribute", "analogous", "synonym", "pair")),
        ({"kinds": ("synonym",)}, ("synonym",)),
        ({"llm": "m", "kinds": ("pair",)}, ("pair",)),
    ],
)
def test_kinds(options: dict[str, Any], kinds: tuple[str, ...]) -> None:
    assert chosen_kinds(TextsConfig(labels=Path("a"), out=Path("b"), **options)) == kinds


def test_wordnet_writes_no_pairs(labels: Path) -> None:
    with pytest.raises(TextsError, match=r"pair texts need an LLM \(--llm MODEL\)"):
        written(labels, kinds=("pair", "synonym"))


# WordNet


def test_wordnet_alone(labels: Path, wordnet_folder: Path) -> None:
    outcome = written(labels)
    assert outcome.missing == ["quarg: not in WordNet"]
    found = load_textset(labels.parent / "out")
    assert outcome.textset == found
    assert found.texts[1] == {}
    assert found.texts[2]["synonym"] == ("windlass",)
    assert found.texts[2]["analogous"] == ("hoist",), "the crane is another class"
    assert found.sentences(2)[1].text == "a photo of a winch, a drum with a rope."
    assert found.pairs == {}
    origin = {"expert": "wordnet", "clip": None}
    assert found.source["kinds"] == {"synonym": origin, "attribute": origin, "analogous": origin}


def test_wordnet_with_a_model(
    labels: Path, wordnet_folder: Path, space: TextSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "open_model", lambda *args, **options: space.clip)
    found = written(labels, model="coder-tiny", domain="sketch", kinds=("attribute",)).textset
    assert found is not None
    assert found.source["kinds"] == {"attribute": {"expert": "wordnet", "clip": "coder-tiny (cifar10)"}}
    assert found.sentences(2)[:2][1].text == "a sketch of a winch, a drum with a rope."
    assert found.templates.name == ("a sketch of {a class}.",)


def test_one_kind_leaves_the_others(labels: Path, wordnet_folder: Path) -> None:
    first = written(labels).textset
    again = written(labels, kinds=("analogous",), analogues=1).textset
    assert first is not None
    assert again is not None
    assert first.texts[0]["attribute"] == again.texts[0]["attribute"]
    assert [len(own.get("analogous", ())) for own in again.texts] == [1, 0, 1]


def test_no_wordnet_at_all(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODER_WORDNET", str(labels.parent / "nowhere"))
    with pytest.raises(TextsError, match="CODER_WORDNET: "):
        written(labels)


def test_wordnet_again_leaves_templates_that_were_changed_by_hand(labels: Path, wordnet_folder: Path) -> None:
    written(labels)
    (labels.parent / "out" / "templates.json").write_text('{"attribute": ["{class}: {text}"]}')
    found = written(labels).textset
    assert found is not None
    assert found.templates.attribute == ("{class}: {text}",)


def test_texts_that_a_shorter_label_file_leaves_behind_are_told(
    labels: Path, wordnet_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(labels)
    labels.write_text("Crane\nquarg\n")
    found = written(labels, Report(), kinds=("synonym",)).textset
    assert found is not None
    assert found.texts[0]["attribute"]
    assert "1 class of out is not among the labels (winch): 4 texts are left behind" in capsys.readouterr().out


# with an LLM


def test_an_llm_with_wordnets_synonyms(labels: Path, wordnet_folder: Path) -> None:
    with serving() as server:
        outcome = written(labels, llm="m", base_url=server.url)
    assert outcome.missing == ["quarg: not in WordNet"]
    assert outcome.textset is not None
    assert set(outcome.textset.source["kinds"]) == {"attribute", "analogous", "synonym", "pair"}
    assert outcome.textset.source["kinds"]["attribute"]["expert"] == "llm"
    assert outcome.textset.texts[2]["synonym"] == ("windlass",)
    assert len(outcome.textset.pairs) == 6
    assert outcome.textset.templates.attribute == ("a photo of {a class}, which has {text}.",)


def test_an_llm_after_wordnet_gets_its_own_templates(labels: Path, wordnet_folder: Path) -> None:
    written(labels)
    with serving() as server:
        found = written(labels, llm="m", base_url=server.url, kinds=("attribute",)).textset
    assert found is not None
    assert found.templates.attribute == ("a photo of {a class}, which has {text}.",)
    assert found.texts[2]["synonym"] == ("windlass",)


def test_an_llm_goes_without_wordnet_unless_synonyms_were_asked_for(
    labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODER_WORDNET", str(labels.parent / "nowhere"))
    with serving() as server:
        outcome = written(labels, llm="m", base_url=server.url)
        assert outcome.textset is not None
        assert "synonym" not in outcome.textset.source["kinds"]
        assert outcome.missing[0].startswith("synonyms: CODER_WORDNET: ")
        assert written(labels, llm="m", base_url=server.url, kinds=("attribute",)).missing == []
        with pytest.raises(TextsError, match="CODER_WORDNET: "):
            written(labels, llm="m", base_url=server.url, kinds=("attribute", "synonym"))


def test_a_failed_run_leaves_the_text_set_as_it_was(labels: Path, wordnet_folder: Path) -> None:
    written(labels)
    out = labels.parent / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with serving(key="another") as server, pytest.raises(TextsError, match="401"):
        written(labels, llm="m", base_url=server.url)
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {**before, "replies.jsonl": b""} == after


# imports


def test_an_import(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "vcd.json").write_text('{"crane": ["a long arm"], "quarg": ["stripes"]}')
    outcome = written(labels, imports=(tmp_path / "vcd.json",))
    assert outcome.missing == ["winch: nothing in vcd.json"]
    assert outcome.textset == load_textset(tmp_path / "out")
    assert outcome.textset.texts == ({"attribute": ("which is a long arm",)}, {"attribute": ("which has stripes",)}, {})


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_import_tells_what_it_replaces(
    dry_run: bool, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"crane": ["a long arm", "one hook"], "quarg": ["stripes"]}')
    (tmp_path / "b.json").write_text('{"crane": ["one hook"]}')
    written(labels, Report(), imports=(tmp_path / "a.json",))
    assert "replaces" not in capsys.readouterr().out
    written(labels, Report(), imports=(tmp_path / "b.json",), dry_run=dry_run)
    told = "replaces 3 attribute texts by 1: 2 are gone\n(files given in one command stand side by side: --import A"
    assert told in capsys.readouterr().out


def test_labels_of_another_kind_of_file_are_told(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels.write_text("0 crane\n1 quarg\n2 winch\n")
    (tmp_path / "vcd.json").write_text('{"crane": ["a long arm"]}')
    written(labels, imports=(tmp_path / "vcd.json",))
    assert "every line begins with its number; a label file has one class name a line" in capsys.readouterr().err


# dry runs and refusals


def test_dry_runs_write_nothing(labels: Path, tmp_path: Path, wordnet_folder: Path) -> None:
    (tmp_path / "vcd.json").write_text('{"crane": ["a long arm"]}')
    before = sorted(path.name for path in tmp_path.iterdir())
    assert written(labels, dry_run=True) == Outcome(textset=None, missing=[])
    assert written(labels, dry_run=True, llm="m", budget=None).textset is None
    assert written(labels, dry_run=True, imports=(tmp_path / "vcd.json",)).textset is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "opened"),
    [
        ({"llm": None, "base_url": None}, 0),
        ({}, 0),
        ({"pairs": PairChoice(how="none")}, 0),
        ({"pairs": PairChoice(how="top", nearest=1)}, 1),
    ],
)
def test_a_dry_run_opens_a_model_only_where_it_chooses_pairs(
    options: dict[str, Any], opened: int, labels: Path, space: TextSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(generator, "open_model", lambda *args, **kw: asked.append(args) or space.clip)
    server = {"llm": "m", "base_url": "http://localhost:1/v1"}
    assert written(labels, model="coder-tiny", dry_run=True, **{**server, **options}).missing == []
    assert len(asked) == opened


def test_texts_changed_by_hand_are_refused_but_with_overwrite(labels: Path, wordnet_folder: Path) -> None:
    written(labels)
    texts = labels.parent / "out" / "texts.jsonl"
    texts.write_text(texts.read_text().replace("a drum", "a large drum"))
    with pytest.raises(TextsError, match=r"texts\.jsonl was written or changed by hand"):
        written(labels)
    assert "a large drum" in texts.read_text()
    written(labels, overwrite=True)
    assert "a large drum" not in texts.read_text()


def test_labels_that_are_none(labels: Path) -> None:
    labels.write_text("crane\n\nwinch\n")
    with pytest.raises(TextsError, match=r"labels\.txt:2: blank line"):
        written(labels)
    assert not (labels.parent / "out").exists()


def test_a_folder_that_cannot_be_made(labels: Path, wordnet_folder: Path) -> None:
    (labels.parent / "out").write_text("")
    with pytest.raises(TextsError, match=r"--out .*/out: cannot be made \(File exists\); choose another folder"):
        written(labels)


# one at a time


@pytest.mark.parametrize("options", [{}, {"llm": "m", "base_url": "http://localhost:1/v1"}, {"imports": True}])
def test_a_folder_that_another_run_holds(labels: Path, options: dict[str, Any], wordnet_folder: Path) -> None:
    (labels.parent / "vcd.json").write_text('{"crane": ["a long arm"]}')
    options = {**options, "imports": (labels.parent / "vcd.json",)} if "imports" in options else options
    (labels.parent / "out").mkdir()
    with locked(labels.parent / "out"):
        with pytest.raises(TextsError, match="another coder-texts is writing to it"):
            written(labels, **options)
        assert written(labels, dry_run=True, **options).textset is None  # it writes nothing
    assert not (labels.parent / "out" / "labels.txt").exists()


# the text space


def test_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    config = TextsConfig(labels=Path("a"), out=Path("b"), model="none")
    assert open_space(config, Report()) is None
    assert capsys.readouterr().out.startswith("--model none: names alone decide")


def test_with_a_model(space: TextSpace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []
    monkeypatch.setattr(generator, "open_model", lambda *args, **kw: asked.append((args, kw)) or space.clip)
    config = TextsConfig(
        labels=Path("a"), out=Path("b"), model="coder-tiny", pretrained="cifar10", checkpoint=Path("c")
    )
    found = open_space(config, Report())
    assert found is not None
    assert found.name == space.name
    assert asked == [(("coder-tiny", "cifar10"), {"checkpoint": Path("c")})]
    assert capsys.readouterr().out == "coder-tiny: cifar10 weights, no QuickGELU\n"


def test_a_model_that_is_not_there() -> None:
    config = TextsConfig(labels=Path("a"), out=Path("b"), model="ViT-B/61")
    with pytest.raises(ModelError, match=r"no model is called .* --model none goes without$"):
        open_space(config, QUIET)
