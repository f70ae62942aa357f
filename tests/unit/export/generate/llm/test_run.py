"""A run with an LLM: the plan and its price, what a budget cuts, a dry run, the key, and what the texts must fit."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import Draft
from coder_export.generate.draft_folder import open_draft, save_draft
from coder_export.generate.llm.run import LlmRun
from coder_export.generate.pairs import PairChoice
from coder_export.generate.similarity import TextSpace
from coder_export.report import Report
from coder_export.templates import Templates
from llm_server import serving

LABELS = ("cat", "elk", "owl", "fox")
KINDS = ("attribute", "analogous", "pair")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """A thousand dollars a million tokens: 150 tokens of a reply are 0.15 dollars."""
    path = tmp_path / "prices.json"
    path.write_text('{"m": [1000, 1000]}')
    return path


def run(
    out: Path,
    *,
    draft: Draft | None = None,
    kinds: tuple[str, ...] = KINDS,
    space: TextSpace | None = None,
    report: Report | None = None,
    **options: Any,
) -> tuple[Draft, list[str]]:
    small = {"attributes": 2, "analogues": 2, "pair_texts": 2, "concurrency": 2, "llm": "m"}
    config = TextsConfig(labels=Path("labels.txt"), out=out, **{**small, **options})
    draft = draft or Draft(labels=LABELS, domain=config.domain)
    own = LlmRun(config=config, draft=draft, kinds=kinds, space=space, report=report or Report(quiet=True))
    return draft, asyncio.run(own.write())


def test_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        draft, missing = run(tmp_path, base_url=server.url, report=Report())
        calls = len(server.served)
    assert missing == []
    assert [len(own) for kind in ("attribute", "analogous") for own in draft.general[kind]] == [2] * 8
    assert len(draft.pairs) == 12
    assert {kind: origin["expert"] for kind, origin in draft.origins.items()} == dict.fromkeys(KINDS, "llm")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("8 general questions and 6 pairs: 11 calls to make, about ")
    assert said[0].endswith(" tokens, no price known (--prices)")
    assert (
        said[-1]
        == f"{calls} replies (0 answers refused, 0 calls repeated, 0 given up), 1,100 prompt and 550 completion tokens"
    )


def test_money_is_told_where_a_price_is_known(tmp_path: Path, prices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        run(tmp_path, base_url=server.url, prices=prices, kinds=("attribute",), report=Report(), budget=None)
    said = capsys.readouterr().out.splitlines()
    assert ", about $" in said[0]
    assert said[-1].endswith("400 prompt and 200 completion tokens, $0.60")


def test_only_the_kinds_asked_for(tmp_path: Path) -> None:
    with serving() as server:
        for kind in KINDS:
            (tmp_path / kind).mkdir()
            draft, _ = run(tmp_path / kind, base_url=server.url, kinds=(kind,))
            assert set(draft.origins) == {kind}


def test_pairs_none_leaves_the_pairs_that_are_there(tmp_path: Path) -> None:
    draft = Draft(labels=LABELS, pairs={(0, 1): ["its size"]})
    with serving() as server:
        run(tmp_path, draft=draft, base_url=server.url, pairs=PairChoice(how="none"))
    assert draft.pairs == {(0, 1): ["its size"]}
    assert "pair" not in draft.origins


def test_most_pairs_at_the_most(tmp_path: Path) -> None:
    with serving() as server:
        draft, missing = run(tmp_path, base_url=server.url, kinds=("pair",), max_pairs=2)
    assert (len(draft.pairs), missing) == (4, [])


# the budget


def test_no_general_text_within_the_budget(tmp_path: Path, prices: Path) -> None:
    with serving() as server:
        with pytest.raises(TextsError, match=r"for the general texts alone, the budget is \$0\.01; raise --budget"):
            run(tmp_path, base_url=server.url, prices=prices, budget=0.01)
        assert server.served == []


def test_the_budget_cuts_pairs(tmp_path: Path, prices: Path) -> None:
    with serving() as server:
        draft, missing = run(tmp_path, base_url=server.url, prices=prices, budget=1.6, kinds=("pair",))
    assert 0 < len(draft.pairs) < 12
    assert all((b, a) in draft.pairs for a, b in draft.pairs)
    left = 6 - len(draft.pairs) // 2
    assert missing == [f"{left} of 6 pairs are beyond the budget (--budget)"]


def test_pairs_that_are_paid_for_stay_whatever_the_budget(tmp_path: Path, prices: Path) -> None:
    with serving() as server:
        before, _ = run(tmp_path, base_url=server.url, kinds=("pair",))
        grown = Draft(labels=("ant", *LABELS), domain="photo")
        draft, missing = run(tmp_path, draft=grown, base_url=server.url, kinds=("pair",), prices=prices, budget=0.01)
    assert {(a - 1, b - 1): texts for (a, b), texts in draft.pairs.items()} == before.pairs
    assert missing == ["4 of 10 pairs are beyond the budget (--budget)"]


def test_a_spent_budget_keeps_what_was_bought(tmp_path: Path, prices: Path) -> None:
    # The server counts more tokens than the plan did: the money ends on the way.
    options: dict[str, Any] = {"prices": prices, "kinds": ("attribute",), "attempts": 8, "concurrency": 1}
    with serving() as server:
        _, missing = run(tmp_path, base_url=server.url, budget=1e6, **options)
        assert missing == []
    (tmp_path / "replies.jsonl").unlink()
    with serving(answer=lambda prompt: "not JSON") as server:
        draft, missing = run(tmp_path, base_url=server.url, budget=2.0, **options)
        assert len(server.served) == 13, "0.15 dollars a reply"
    assert missing[0] == (
        "the budget of $2.00 is spent, but for less than a call may cost; it is of one run: the same command goes on, "
        "and may spend as much again"
    )
    assert missing.count(missing[0]) == 1
    assert [line.split(":")[0] for line in missing[1:]] == [f"attribute texts of {label}" for label in LABELS]
    assert "attribute" not in draft.general


def test_a_spent_budget_is_told_once(tmp_path: Path, prices: Path) -> None:
    options: dict[str, Any] = {"prices": prices, "kinds": ("attribute", "pair"), "attempts": 8, "concurrency": 1}
    with serving(answer=lambda prompt: "not JSON") as server:
        draft, missing = run(tmp_path, base_url=server.url, budget=4.0, max_pairs=1, **options)
        assert len(server.served) == 26
    assert [line for line in missing if "is spent" in line] == [missing[0]]
    assert missing[-1] == "pair texts of cat against elk: no reply"
    assert draft.pairs == {}


def test_what_the_store_has_costs_nothing(tmp_path: Path, prices: Path) -> None:
    with serving() as server:
        first, _ = run(tmp_path, base_url=server.url)
        asked = len(server.served)
        again, _ = run(tmp_path, base_url=server.url, prices=prices, budget=0.001)
        assert len(server.served) == asked
    assert (again.general, again.pairs, again.origins) == (first.general, first.pairs, first.origins)


# a dry run


def test_a_dry_run_asks_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        draft, missing = run(tmp_path / "out", base_url=server.url, dry_run=True, report=Report())
        assert server.visits == {}
    assert (draft.general, draft.pairs, missing) == ({}, {}, [])
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.startswith("8 general questions and 6 pairs: 11 calls to make")


def test_a_dry_run_needs_no_key(tmp_path: Path) -> None:
    assert run(tmp_path, llm="gpt-5", dry_run=True)[1] == []


def test_a_dry_run_counts_what_is_left_and_leaves_the_store_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        run(tmp_path, base_url=server.url, kinds=("attribute",))
        store = tmp_path / "replies.jsonl"
        store.write_bytes(store.read_bytes() + b'{"keys": ["cut')  # as after a crash
        before = store.read_bytes()
        run(tmp_path, base_url=server.url, dry_run=True, report=Report())
    assert store.read_bytes() == before
    assert capsys.readouterr().out.startswith("8 general questions and 6 pairs: 7 calls to make")


# --pairs seen


def test_seen_pairs_come_after_the_general_texts(
    tmp_path: Path, space: TextSpace, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    out.mkdir()
    for photograph in photographs[:2]:
        (images / photograph.name).symlink_to(photograph)
    labels = ("airplane", "automobile", "bird", "cat", "deer", "dog")
    choice = PairChoice(how="seen", folder=images)
    with serving() as server:
        draft, _ = run(
            out,
            draft=Draft(labels=labels),
            space=space,
            base_url=server.url,
            pairs=choice,
            max_pairs=3,
            report=Report(),
        )
    assert len(draft.pairs) == 6
    said = capsys.readouterr().out
    first, second = said.index("12 general questions and 0 pairs"), said.index("0 general questions and 3 pairs")
    assert first < said.index("attributes and analogues: ") < said.index("most frequent first:") < second


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("folder", "model", "said"),
    [
        ("nowhere", True, r"--pairs seen:.*/nowhere: no such folder; give one with images"),
        ("empty", True, r"--pairs seen:.*/empty: no images in "),
        ("nowhere", False, r"--pairs seen is chosen by a CLIP model and --model is none; give a model"),
    ],
)
def test_seen_pairs_that_nothing_chooses_are_refused_before_anything_is_paid_for(
    dry_run: bool, folder: str, model: bool, said: str, tmp_path: Path, space: TextSpace
) -> None:
    (tmp_path / "empty").mkdir()
    choice = PairChoice(how="seen", folder=tmp_path / folder)
    with serving() as server:
        options: dict[str, Any] = {"base_url": server.url, "pairs": choice, "dry_run": dry_run, "report": Report()}
        with pytest.raises(TextsError, match=said):
            run(tmp_path, space=space if model else None, **options)
        assert server.visits == {}
        run(tmp_path, space=None, kinds=("attribute",), **options)


def test_a_refused_choice_comes_before_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choice = PairChoice(how="seen", folder=tmp_path / "nowhere")
    with pytest.raises(TextsError, match="--pairs seen"):
        run(tmp_path, base_url="http://localhost:1/v1", pairs=choice, dry_run=True, report=Report())
    assert capsys.readouterr().out == ""


# key, server and price


def test_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"OPENAI_API_KEY is not set; .* or name a local server: --base-url"):
        run(tmp_path, llm="gpt-5")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_price_and_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(TextsError, match=r"no price is known for 'm', so --budget cannot be kept; .* --budget none$"):
        run(tmp_path)
    assert run(tmp_path, budget=None, dry_run=True)[1] == []


@pytest.mark.parametrize("url", ["https://openrouter.ai/api/v1", "https://api.openai.com/v1"])
@pytest.mark.parametrize("given", [True, False])
def test_an_unknown_price_is_free_only_nearby(
    url: str, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "" if given else url)
    options: dict[str, Any] = {"base_url": url if given else None, "dry_run": True}
    with pytest.raises(TextsError, match=r"no price is known for 'm', so --budget cannot be kept; .* --budget none$"):
        run(tmp_path, **options)
    assert run(tmp_path, budget=None, **options)[1] == []
    assert run(tmp_path, llm="openai/gpt-4.1", **options)[1] == []
    assert run(tmp_path, base_url="http://192.168.0.7:8000/v1", dry_run=True)[1] == []


def test_the_server_and_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(key="secret") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        assert run(tmp_path, kinds=("attribute",))[1] == []
    assert "secret" not in (tmp_path / "replies.jsonl").read_text()


def test_an_empty_server_in_the_environment_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    with pytest.raises(TextsError, match="OPENAI_API_KEY is not set"):
        run(tmp_path, llm="gpt-5")


def test_calls_given_up_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(faults={"500": 1.0}) as server:
        draft, missing = run(tmp_path, base_url=server.url, kinds=("attribute",), tries=1, report=Report())
    assert sum(": no reply in 1 tries" in line for line in missing) == 4
    assert sum(line.endswith(": no reply") for line in missing) == 4
    assert "attribute" not in draft.general
    assert ", 4 given up), 0 prompt and 0 completion tokens\n" in capsys.readouterr().out


def test_tries_in_vain_are_told(
    tmp_path: Path, prices: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"prices": prices, "budget": None, "report": Report()}
    with serving(faults={"cut": 1.0}, usage=False) as server:
        run(tmp_path, base_url=server.url, kinds=("attribute",), tries=1, **options)
        faults = ["cut", "cut"]
        monkeypatch.setattr(server, "fault", lambda prompt: faults.pop() if faults else None)
        run(tmp_path, base_url=server.url, kinds=("attribute",), **options)
    first, second = (line for line in capsys.readouterr().out.splitlines() if " replies (" in line)
    assert re.search(r"^0 replies .* completion tokens, \$[1-9][\d.]+ \(estimated: 4 calls brought no reply\)$", first)
    assert second.endswith(" (estimated: 4 replies came without a count, 2 calls brought no reply)")


# what fits


def test_texts_are_judged_by_the_templates_that_they_go_into(tmp_path: Path) -> None:
    draft = Draft(labels=LABELS)
    draft.put("attribute", [["a pet"]] * 4, {"expert": "wordnet"}, Templates(attribute=("{text} " * 30,)))
    save_draft(draft, tmp_path)
    with serving() as server:
        draft, missing = run(
            tmp_path, draft=open_draft(tmp_path, LABELS, "photo"), base_url=server.url, kinds=("attribute",)
        )
    assert missing == []
    assert draft.templates.attribute == Templates().attribute
    assert json.loads((tmp_path / "replies.jsonl").read_text().splitlines()[0])["model"] == "m"


@pytest.mark.parametrize(("answer", "kept"), [(None, False), (lambda prompt: "nothing", True)])
def test_a_run_that_gets_nothing_leaves_what_an_earlier_one_wrote(answer: Any, kept: bool, tmp_path: Path) -> None:
    draft = Draft(labels=("coot", "teal"))
    earlier = [("two webbed feet",)] * 2
    draft.put("attribute", earlier, {"expert": "llm"})
    draft.put_pairs({(0, 1): ("a white shield",), (1, 0): ("a green patch",)}, {"expert": "llm"})
    with serving(answer=answer) as server:
        run(tmp_path, draft=draft, base_url=server.url, attempts=1)
    assert (draft.general["attribute"] == earlier) is kept
    assert (draft.pairs[0, 1] == ("a white shield",)) is kept
