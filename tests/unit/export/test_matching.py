"""Matching names to labels: the keys, the rounds in their order, one to one only, and what the report says."""

from __future__ import annotations

import pytest

from coder_engine.errors import TextsError
from coder_export.matching import Matches, bare_name, match_names, normal_name


def found(theirs: list[str], labels: list[str], aliases: dict[str, str] | None = None) -> dict[str, str]:
    return dict(match_names(theirs, labels, aliases).found)


# keys


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("AnnualCrop", "annual crop"),
        ("USAFlag", "usa flag"),
        ("B52Bomber", "b52 bomber"),
        ("DVDs", "dvds"),
        ("Apply_Eye_Makeup", "apply eye makeup"),
        ("polka-dotted", "polka dotted"),
        ("wing–tip", "wing tip"),
        ("lake/sea", "lake sea"),
        ("  a \t b\n", "a b"),
        ("kite (bird of prey)", "kite bird of prey"),
        ("Geoffroy's spider monkey", "geoffroys spider monkey"),
        ("crème brûlée", "creme brulee"),
        ("cafe\u0301Bar", "cafe bar"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("हिन्दी", "हिन्दी"),
        ("salt + pepper", "salt pepper"),
        ("!?", ""),
        ("", ""),
    ],
)
def test_normal_name(name: str, key: str) -> None:
    assert normal_name(name) == key


def test_the_marks_of_other_scripts_are_letters() -> None:
    assert normal_name("が") != normal_name("か")


# rounds


def test_the_result_keeps_both_orders() -> None:
    assert match_names(["owl", "emu", "elk", "cat"], ["dog", "cat", "owl", "yak"]) == Matches(
        found={"owl": "owl", "cat": "cat"}, unknown=("emu", "elk"), missing=("dog", "yak")
    )
    assert list(found(["owl", "cat"], ["cat", "owl"])) == ["owl", "cat"]


def test_nothing_to_match() -> None:
    assert match_names([], []) == Matches(found={}, unknown=(), missing=())
    assert match_names([], ["cat"]).missing == ("cat",)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Leopards", "leopard"),
        ("fly", "flies"),
        ("cookies", "cookie"),
        ("pies", "pie"),
        ("horses", "horse"),
        ("axes", "axe"),
        ("boxes", "box"),
        ("benches", "bench"),
        ("moustaches", "moustache"),
        ("potatoes", "potato"),
        ("shoe", "shoes"),
        ("glasses", "glass"),
        ("buses", "bus"),
        ("car_sides", "car side"),
        ("T-shirts", "tshirt"),
        ("golf ball", "golfballs"),
    ],
)
def test_singular_and_joined(name: str, label: str) -> None:
    assert found([name], [label]) == {name: label}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("glass", "glas"),
        ("bus", "bu"),
        ("iris", "iri"),
        ("model s", "model"),
        ("as", "a"),
        ("cats eye", "cat eye"),
        ("?", "!"),
    ],
)
def test_what_is_no_plural(name: str, label: str) -> None:
    assert found([name], [label]) == {}


def test_a_stricter_round_has_the_first_choice() -> None:
    assert found(["Cats", "Cat", "cat"], ["cat"]) == {"cat": "cat"}
    assert found(["Cats", "Cat"], ["cat"]) == {"Cat": "cat"}
    assert found(["golfballs", "golf balls"], ["golf ball"]) == {"golf balls": "golf ball"}
    assert found(["cat", "Cats"], ["cats", "cat"]) == {"cat": "cat", "Cats": "cats"}


@pytest.mark.parametrize(
    ("theirs", "labels"),
    [
        (["Cat", "CAT"], ["cat"]),
        (["cat"], ["Cat", "CAT"]),
        (["cat", "cat"], ["cat"]),
        (["golf-ball", "golf ball"], ["golfball"]),
        (["cats", "CATS"], ["cat"]),
    ],
)
def test_an_ambiguous_name_stays_unmatched(theirs: list[str], labels: list[str]) -> None:
    matches = match_names(theirs, labels)
    assert (matches.found, list(matches.unknown), list(matches.missing)) == ({}, theirs, labels)
    assert all("ambiguous" in line for line in matches.report() if line.startswith("  "))


# aliases


def test_an_alias_goes_before_equality() -> None:
    labels = ["crane (bird)", "crane"]
    assert found(["crane"], labels) == {"crane": "crane"}
    assert found(["crane"], labels, {"crane": "crane (bird)"}) == {"crane": "crane (bird)"}


def test_an_alias_in_any_spelling() -> None:
    assert found(["TV_set", "cat"], ["television", "cat"], {"tv set": "television", "puss": "cat"}) == {
        "TV_set": "television",
        "cat": "cat",
    }


def test_an_alias_for_no_label() -> None:
    wanted = r"^aliases: 2 of their targets are no labels \('a', 'b'\); map each name to one of your labels$"
    with pytest.raises(TextsError, match=wanted):
        match_names(["x"], ["cat"], {"x": "b", "y": "a", "z": "cat"})


def test_two_names_aliased_to_one_label() -> None:
    wanted = r"^aliases: not one to one between names and labels \('television' is 'tv' and 'telly'\); keep one"
    with pytest.raises(TextsError, match=wanted):
        match_names(["tv", "telly"], ["television"], {"tv": "television", "telly": "television"})


def test_two_spellings_aliased_to_two_labels() -> None:
    with pytest.raises(TextsError, match="'bird' is 'crane'; 'machine' is 'crane'"):
        match_names(["crane"], ["bird", "machine"], {"Crane": "bird", "crane": "machine"})


# report


def test_a_report_of_a_full_match() -> None:
    assert match_names(["a", "b"], ["b", "a"]).report() == ["2 of 2 labels are matched by 2 of 2 names."]


def test_a_report_names_the_nearest_and_the_ambiguous() -> None:
    matches = match_names(["aeroplane", "Cat", "CAT", "Human Faces", "ox"], ["airplane", "cat", "face", "ox"])
    assert matches.report() == [
        "1 of 4 labels are matched by 1 of 5 names.",
        "Labels without a match: 3",
        "  airplane (nearest: aeroplane)",
        "  cat (ambiguous: it can be 'Cat' or 'CAT')",
        "  face",
        "Names without a label: 4",
        "  aeroplane (nearest: airplane)",
        "  Cat (ambiguous: it can be 'cat', and so can 'CAT')",
        "  CAT (ambiguous: it can be 'cat', and so can 'Cat')",
        "  Human Faces",
    ]


def test_a_long_report_is_cut() -> None:
    labels = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(500)]
    report = match_names([], labels).report()
    assert report[:3] == ["0 of 500 labels are matched by 0 of 0 names.", "Labels without a match: 500", "  aa"]
    assert (len(report), report[-1]) == (13, "  ... and 490 more")


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("a cat", "cat"),
        ("The Cats", "cat"),
        ("an  Arctic-Foxes", "arctic fox"),
        ("cat in the hat", "cat in the hat"),
        ("theory", "theory"),
        ("A", "a"),
        ("the ", "the"),
        ("?", ""),
    ],
)
def test_bare_names(name: str, bare: str) -> None:
    assert bare_name(name) == bare
