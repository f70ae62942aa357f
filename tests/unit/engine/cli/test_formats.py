"""Rows as JSON Lines, CSV and a table on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata

import pytest

from coder_engine.cli.formats import Csv, JsonLines, Table
from coder_engine.explain import Explanation
from coder_engine.prediction import Candidate, Fault, Prediction


def answer(*labels: str, path: str | None = "a.jpg", unknown: bool = False, **scores: float) -> Prediction:
    top = tuple(
        Candidate(label=label, score=scores.get(label, 0.5 / 2**n), gap=0.25 * n) for n, label in enumerate(labels)
    )
    changed = bool(scores)
    return Prediction(
        label=labels[0], score=top[0].score, top=top, reranked=changed, path=path, unknown=unknown, reordered=changed
    )


CAT = answer("cat", "dog", "fox")
BAD = Prediction(
    label=None,
    score=None,
    top=(),
    reranked=False,
    path="b.jpg",
    error=Fault(kind="empty", message="b.jpg: 0 bytes, wanted an image"),
)


# jsonl


def test_jsonl_is_one_object_a_line() -> None:
    form = JsonLines()
    assert json.loads(form.row(CAT)) == CAT.to_json()
    assert json.loads(form.row(BAD)) == BAD.to_json()
    assert (form.header(), form.footer(), form.row(CAT).count("\n")) == ("", "", 1)


def test_jsonl_is_ascii_and_keeps_any_name() -> None:
    path = os.fsdecode(b"\xff\xc3\xa9\n.jpg")
    line = JsonLines().row(answer("猫", path=path))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["path"] == path
    assert json.loads(line)["label"] == "猫"


# csv


def rows_of(form: Csv, *found: Prediction) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(form.header() + "".join(map(form.row, found)))))


def test_csv_columns() -> None:
    assert Csv(2).header() == (
        "path,label,score,reranked,unknown,error_kind,error_message,label1,score1,gap1,label2,score2,gap2\n"
    )
    cat, bad = rows_of(Csv(2), CAT, BAD)
    assert cat == {
        "path": "a.jpg",
        "label": "cat",
        "score": "0.5",
        "reranked": "false",
        "unknown": "false",
        "error_kind": "",
        "error_message": "",
        "label1": "cat",
        "score1": "0.5",
        "gap1": "0.0",
        "label2": "dog",
        "score2": "0.25",
        "gap2": "0.25",
    }
    assert {key: value for key, value in bad.items() if value} == {
        "path": "b.jpg",
        "error_kind": "empty",
        "error_message": "b.jpg: 0 bytes, wanted an image",
    }


def test_csv_rows_are_as_wide_as_the_header() -> None:
    form = Csv(5)
    assert {row.count(",") for row in (form.header(), form.row(CAT), form.row(answer("cat")))} == {21}


def test_csv_quotes_what_needs_it_and_keeps_unknown() -> None:
    (row,) = rows_of(Csv(1), answer('a "b", c', path="x,\n.jpg", unknown=True))
    assert (row["path"], row["label"], row["unknown"]) == ("x,\n.jpg", 'a "b", c', "true")


# table


def test_table_columns_line_up() -> None:
    form = Table(["cat", "dog", "fox"], 100)
    lines = (form.header() + form.row(CAT) + form.row(answer("猫", "dog"))).splitlines()
    assert lines[0].split() == ["path", "label", "score", "next"]
    assert lines[1].split() == ["a.jpg", "cat", "0.500", "dog", "0.250,", "fox", "0.125"]
    assert lines[1].index("0.500") == lines[0].index("score")
    assert lines[2].index("0.500") == lines[0].index("score") - 1  # one character, two columns


@pytest.mark.parametrize("width", [1, 30, 40, 80, 200])
def test_table_fits_the_terminal(width: int) -> None:
    labels = ["a class with quite a long name indeed " + "x" * 50, "dog"]
    form = Table(labels, width)
    row = form.row(answer(*labels, path="a/very/long/path/" + "p" * 100 + "/photo.jpg"))
    assert max(map(len, (form.header() + row).splitlines())) <= max(width, 3)


def test_a_long_path_keeps_its_end_and_a_long_label_its_start() -> None:
    form = Table(["abcdefghijklmnopqrstuvwxyz"], 40)
    row = form.row(answer("abcdefghijklmnopqrstuvwxyz", path="folder/folder/photo.jpg"))
    path, label = row.split()[:2]
    assert (path, label) == ("...der/photo.jpg", "abcdefghi...")


def test_a_long_row_is_cut_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0
    known = unicodedata.east_asian_width

    def counting(char: str) -> str:
        nonlocal measured
        measured += 1
        return known(char)

    monkeypatch.setattr(unicodedata, "east_asian_width", counting)
    form, found = Table([], 80), answer(*(f"class {n}" for n in range(100)))
    measured = 0
    form.row(found)
    assert measured < 1000  # of some 1,600 characters; a pass for each one dropped would be over a million


def explained(label: str) -> Explanation:
    stage_one, sums = ((label, 0.5, 1.0),), ((label, 0.0),)
    return Explanation(stage_one=stage_one, classes=(), duels=(), sums=sums, reranked=False, no_rerank="so it is")


def test_an_explanation_is_indented_and_fits_the_terminal() -> None:
    label = "cat\x1b[31m" + "t" * 80
    for width in (30, 80):
        form = Table([label], width)
        row = form.row(answer(label), explained(label)).removeprefix(form.row(answer(label)))
        first, why, *_ = lines = row.splitlines()
        assert first.startswith("    cat?[31mtt")
        assert why == "      so it is"
        assert max(map(len, lines)) == width


def test_an_explanation_joins_the_object_of_its_line() -> None:
    found = json.loads(JsonLines().row(CAT, explained("cat")))
    assert found == {**CAT.to_json(), "explanation": explained("cat").to_json()}


def test_only_whole_candidates_come_next() -> None:
    found = answer("cat", "a rather long label", "another such label")
    for width, last in ((140, "another such label 0.125"), (80, "a rather long label 0.250, ..."), (50, "...")):
        form = Table(["cat"], width)
        row = form.row(found)
        assert row.endswith(f" {last}\n")
        assert len(row) <= width + 1


def test_the_path_column_of_a_file_grows_with_its_paths() -> None:
    form = Table(["cat"], None)
    rows = [form.row(answer("cat", path="p" * length)) for length in (5, 50, 40, 60, 20)]
    assert [row.index("cat") for row in rows] == [34, 52, 52, 62, 62]


def test_a_table_for_a_file_cuts_nothing() -> None:
    label, path = "l" * 80, "p" * 300
    assert Table([label], None).row(answer(label, "dog", path=path)).split()[:2] == [path, label]


def test_marks_and_their_meaning() -> None:
    form = Table(["cat", "dog"], 100)
    assert form.footer() == ""
    assert "cat* " in form.row(answer("cat", "dog", cat=0.2, dog=0.6))
    assert form.footer() == "* the rerank changed the first place\n"
    assert "cat*? " in form.row(answer("cat", "dog", cat=0.2, dog=0.6, unknown=True))
    assert "? unknown: the score is under the threshold\n" in form.footer()


def test_a_fault_is_told_whole_and_names_its_file_once() -> None:
    row = Table(["cat"], 40).row(BAD)
    assert row.split("  ")[0] == "b.jpg"
    assert row.endswith("  error: empty: 0 bytes, wanted an image\n")


def test_a_file_name_cannot_drive_the_terminal() -> None:
    row = Table(["cat"], 100).row(answer("cat", path="\x1b[31mred\nnew\udcff.jpg"))
    assert row.startswith("?[31mred?new?.jpg ")
    assert row.count("\n") == 1


def test_an_image_that_has_no_path() -> None:
    assert Table(["cat"], 100).row(answer("cat", path=None)).startswith("- ")
