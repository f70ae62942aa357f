"""The pairs of a run, and how many of them the money pays for."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.choose_pairs import affordable, choose_pairs
from coder_export.generate.draft import Draft
from coder_export.generate.pairs import Pair, PairChoice, all_pairs, nearest_pairs
from coder_export.generate.similarity import TextSpace
from coder_export.report import Report

LABELS = ("cat", "truck", "dog", "ship")


def chosen(text: str, space: TextSpace | None, report: Report, labels: tuple[str, ...] = LABELS) -> list[Pair]:
    return choose_pairs(PairChoice.parse(text), Draft(labels=labels), space, report)


def test_none_and_all_need_no_model(report: Report) -> None:
    assert chosen("none", None, report) == []
    assert chosen("all", None, report) == all_pairs(4)


def test_all_by_a_model_are_the_most_similar_first(space: TextSpace, report: Report) -> None:
    found = chosen("all", space, report)
    assert sorted(found) == all_pairs(4)
    assert found == nearest_pairs(space.features(LABELS), 3)
    assert found != all_pairs(4), "the example does not show the order"


def test_the_nearest_by_name(space: TextSpace, report: Report) -> None:
    found = chosen("top:1", space, report)
    assert found == nearest_pairs(space.features(LABELS), 1)
    assert (0, 2) in found


@pytest.mark.parametrize("text", ["top:2", "seen:images"])
def test_a_model_is_needed(text: str, report: Report) -> None:
    wanted = f"--pairs {text[:-2] if text[0] == 't' else 'seen'} is chosen by a CLIP model and --model is none; give a"
    with pytest.raises(TextsError, match=wanted):
        chosen(text, None, report)


def test_seen_on_photographs(
    space: TextSpace, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog")
    for photograph in photographs[:3]:
        (tmp_path / photograph.name).symlink_to(photograph)
    found = chosen(f"seen:{tmp_path}", space, Report(), labels)
    assert 10 <= len(found) <= 21  # five candidates are ten pairs
    assert all(a < b for a, b in found)
    said = capsys.readouterr().out
    assert f"pairs among the first five classes of the images in {tmp_path}, most frequent first:" in said
    assert f"  {len(found):>9,} {'100.0%':>22} {'100.0%':>14}\n" in said


@pytest.mark.parametrize("money", [0, 1, 2, 3.5, 7, 8, 9, None])
def test_as_many_as_the_money_pays_for(money: float | None) -> None:
    pairs = all_pairs(5)[:8]
    wanted = 8 if money is None else min(8, int(money))
    assert affordable(pairs, lambda some: float(len(some)), money) == pairs[:wanted]


def test_what_costs_too_much_without_any_pair_gets_none() -> None:
    assert affordable(all_pairs(3), lambda some: 5.0 + len(some), 1.0) == []
    assert affordable([], lambda some: 5.0, 1.0) == []
