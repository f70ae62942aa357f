"""Whole runs of coder-texts against a real HTTP server: all kinds, every fault, and kills at random moments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from coder_export.generate.cli import main
from coder_export.textset_file import load_textset
from helpers_wordnet import write_wordnet
from llm_server import HTTP_FAULTS, REPLY_FAULTS, LlmServer, serving

FILES = ("labels.txt", "texts.jsonl", "pairs.jsonl", "templates.json")


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ten classes of CIFAR-10, with an invented WordNet and no key."""
    monkeypatch.setenv("CODER_WORDNET", str(write_wordnet(tmp_path / "wordnet")))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "labels.txt"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def arguments(labels: Path, out: Path, server: LlmServer, *more: str) -> list[str]:
    own = ["--labels", str(labels), "--out", str(out), "--llm", "fake", "--base-url", server.url]
    return [*own, "--model", "none", "--quiet", *more]


def content(folder: Path) -> dict[str, bytes]:
    return {file: (folder / file).read_bytes() for file in FILES}


def store(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "replies.jsonl").read_text().splitlines()]


def test_all_five_kinds_and_the_same_bytes_again(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    with serving() as server:
        assert main(arguments(labels, out, server, "--model", "coder-tiny")) == 2  # our WordNet knows only the bird
        asked = len(server.served)
        first = {**content(out), "source.json": (out / "source.json").read_bytes()}
        assert main(arguments(labels, out, server, "--model", "coder-tiny")) == 2
        assert len(server.served) == asked
    assert {**content(out), "source.json": (out / "source.json").read_bytes()} == first
    textset = load_textset(out)
    assert len(textset.labels) == 10
    assert all(len(own["attribute"]) == 8 and len(own["analogous"]) == 6 for own in textset.texts)
    assert len(textset.pairs) == 90
    assert {len(texts) for texts in textset.pairs.values()} == {4}
    assert textset.source["kinds"]["attribute"]["model"] == "fake"
    assert len(textset.source["kinds"]["pair"]["prompt_sha256"]) == 64


def test_two_thirds_of_all_calls_bad_in_every_way_still_give_the_whole_set(labels: Path, tmp_path: Path) -> None:
    with serving() as server:
        assert main(arguments(labels, tmp_path / "clean", server)) == 2
    every = HTTP_FAULTS + REPLY_FAULTS
    with serving(faults=dict.fromkeys(every, 0.66 / len(every)), hang=1.0, seed=2) as server:
        run = ["--timeout", "0.5", "--attempts", "16", "--tries", "16"]
        assert main(arguments(labels, tmp_path / "faulty", server, *run)) == 2
    assert set(server.met) == set(every), "a fault that never came: the test does not show that it is survived"
    assert content(tmp_path / "faulty") == content(tmp_path / "clean")


@pytest.mark.parametrize("fault", HTTP_FAULTS + REPLY_FAULTS)
def test_each_fault_on_many_calls(fault: str, labels: Path, tmp_path: Path) -> None:
    with serving() as server:
        assert main(arguments(labels, tmp_path / "clean", server, "--pairs", "none")) == 2
    with serving(faults={fault: 0.4}, hang=0.6, seed=1) as server:
        run = ["--pairs", "none", "--timeout", "0.3", "--attempts", "12", "--tries", "12"]
        assert main(arguments(labels, tmp_path / "faulty", server, *run)) == 2
        assert max(server.visits.values()) > 1
    assert content(tmp_path / "faulty") == content(tmp_path / "clean")


def test_what_stays_bad_is_reported_and_not_lost(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"class": "x", "texts": []}
    with serving(answer=lambda prompt: json.dumps(bad) if '"cat"' in prompt else None) as server:
        rc = main(arguments(labels, tmp_path / "set", server, "--kinds", "attribute"))
    assert rc == 2
    assert load_textset(tmp_path / "set").texts[3] == {}
    assert "cat" in capsys.readouterr().err


@pytest.mark.parametrize("faults", [{}, dict.fromkeys(("500", "cut", "malformed", "wrong-class", "empty"), 0.04)])
def test_twenty_kills_lose_nothing_and_ask_nothing_twice(
    faults: dict[str, float], labels: Path, tmp_path: Path
) -> None:
    with serving() as server:
        assert main(arguments(labels, tmp_path / "whole", server)) == 2
    with serving(latency=0.15, faults=faults) as server:
        own = arguments(labels, tmp_path / "killed", server, "--concurrency", "3", "--attempts", "8")
        driver = [sys.executable, str(Path(__file__).with_name("killed.py")), "20", "7", *own]
        told = subprocess.run(driver, capture_output=True, text=True, check=True, env=os.environ.copy(), timeout=300)
        good = [row for row in server.served if row["fault"] is None]
    result = json.loads(told.stdout)
    assert result["rc"] == 2, told.stderr
    assert sum(kill["killed"] for kill in result["kills"]) >= 10, "the kills came after the run: the test shows nothing"
    lines = [kill["lines"] for kill in result["kills"]]
    assert lines == sorted(lines)
    rows = store(tmp_path / "killed")
    keys = Counter(key for row in rows for key in row["keys"])  # type: ignore[attr-defined]
    if not faults:
        assert set(keys.values()) == {1}, "a stored reply was asked for again"
        assert len(rows) <= len(good) <= len(rows) + 3 * 20  # in flight at a kill: sent, and never seen
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
