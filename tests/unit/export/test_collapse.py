"""Thousands of text features in few rows: the same numbers as the paper's sums over every single text."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import reference

pytest.importorskip("torch")

from coder_engine.weightfile import pair_texts
from coder_export import collapse
from coder_export.collapse import (
    GeneralRows,
    PairRows,
    collapse_general,
    collapse_pairs,
    count_duel_texts,
    duelling_pairs,
    one_sided_pairs,
    pair_index,
)
from coder_export.textset import Sentence, TextSet, names_only

D = 24
RNG = np.random.default_rng(5)
IMAGES = reference.unit(RNG.normal(size=(20, D)))
Counts = Sequence[dict[str, int]]


def feature(text: str) -> NDArray[np.float64]:
    """A direction of the text's own, the same on every call."""
    return reference.unit(np.random.default_rng(zlib.crc32(text.encode())).normal(size=D))


class FakeEncoder:
    """Stands for the text tower; keeps the sentences of each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, sentences: Sequence[str], progress: object = None) -> NDArray[np.float32]:
        self.calls.append(list(sentences))
        return np.stack([feature(text) for text in sentences]).astype(np.float32)


def labels(classes: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(classes))


def textset(classes: int, counts: dict[tuple[int, int], int]) -> TextSet:
    pairs = {(a, b): tuple(f"{a} {b} {n}" for n in range(count)) for (a, b), count in counts.items()}
    return TextSet(name="made", labels=labels(classes), texts=tuple({} for _ in range(classes)), pairs=pairs)


def every_direction(classes: int) -> dict[tuple[int, int], int]:
    """1 to 3 texts a direction."""
    return {(a, b): 1 + (3 * a + b) % 3 for a, b in permutations(range(classes), 2)}


def general(counts: Counts) -> tuple[GeneralRows, list[dict[str, NDArray[np.float64]]]]:
    """Collapsed rows of as many random texts a class and kind as ``counts`` says, and the features by kind."""
    features = [{kind: reference.unit(RNG.normal(size=(n, D))) for kind, n in own.items()} for own in counts]
    sentences = [
        [Sentence(kind=kind, text=f"{i} {kind} {n}") for kind, count in own.items() for n in range(count)]
        for i, own in enumerate(counts)
    ]
    flat = np.concatenate([rows for own in features for rows in own.values()])
    return collapse_general(flat, sentences), features


def stage_one(rows: GeneralRows, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """o of Eq. 8 as the run time computes it from the collapsed rows."""
    classes = len(rows.name_weight)
    coder = rows.bank.astype(np.float64) @ x
    best = [
        coder[classes + a : classes + b].max() for a, b in zip(rows.name_offsets, rows.name_offsets[1:], strict=False)
    ]
    return np.asarray(coder[:classes] + rows.name_weight * np.array(best))


# Eq. 8


@pytest.mark.parametrize(
    "counts",
    [
        [{"name": 1, "attribute": 20, "analogous": 8, "synonym": 3}] * 7,
        [{"name": 1, "attribute": 1}, {"name": 1, "analogous": 1}, {"name": 1, "synonym": 1}],
        [{"name": 1}, {"name": 1, "attribute": 12, "synonym": 2}, {"name": 3}],
        [{"name": 2, "attribute": 40, "analogous": 13, "synonym": 9}],
        [{"synonym": 2, "attribute": 3, "name": 1, "analogous": 2}, {"attribute": 5, "name": 1}],
    ],
    ids=["all kinds", "one text a kind", "names only beside more", "one class", "mixed order"],
)
def test_stage_one_from_the_rows_is_the_papers(counts: Counts) -> None:
    rows, features = general(counts)
    for x in IMAGES:
        assert_allclose(stage_one(rows, x), reference.stage_one(x, features), atol=1e-6)


def test_layout_of_the_bank() -> None:
    rows, features = general(
        [{"name": 1, "attribute": 4, "analogous": 2, "synonym": 2}, {"name": 1}, {"name": 1, "attribute": 1}]
    )
    assert (rows.bank.dtype, rows.bank.shape) == (np.float32, (3 + 5, D))
    assert (rows.name_offsets.dtype, rows.name_offsets.tolist()) == (np.int32, [0, 3, 4, 5])
    assert rows.name_weight.dtype == np.float32
    assert_allclose(rows.name_weight, [1 / 7, 1, 1 / 2])
    first = features[0]
    assert_allclose(rows.bank[0], (first["attribute"].sum(axis=0) + first["analogous"].sum(axis=0)) / 7, atol=1e-7)
    assert_allclose(rows.bank[3:6], np.concatenate([first["name"], first["synonym"]]), atol=1e-7)
    assert rows.bank.flags.c_contiguous


def test_a_class_of_names_only_has_no_mean() -> None:
    rows, features = general([{"name": 1}, {"name": 1, "synonym": 4}])
    assert_array_equal(rows.name_weight, [1, 1])
    assert_array_equal(rows.bank[:2], np.zeros((2, D)))
    assert_allclose(
        rows.bank[2:], np.concatenate([features[0]["name"], features[1]["name"], features[1]["synonym"]]), atol=1e-7
    )


def test_sums_are_made_in_float64() -> None:
    sentences = [[Sentence(kind="name", text="n"), *[Sentence(kind="attribute", text=str(i)) for i in range(3)]]]
    features = np.array([[1], [2**24], [1], [-(2**24)]], np.float32)
    assert collapse_general(features, sentences).bank.tolist() == [[0.25], [1]]


def test_sentences_of_a_text_set_collapse_to_the_papers_stage_one() -> None:
    texts = ({"attribute": ("big", "red"), "synonym": ("lorry",)}, {"analogous": ("boat",)}, {})
    made = TextSet(name="made", labels=labels(3), texts=texts, pairs={})
    sentences = [made.sentences(i) for i in range(3)]
    rows = collapse_general(np.stack([feature(one.text) for own in sentences for one in own]), sentences)
    by_kind = [
        {
            kind: np.array([feature(one.text) for one in own if one.kind == kind]).reshape(-1, D)
            for kind in reference.KINDS
        }
        for own in sentences
    ]
    for x in IMAGES:
        assert_allclose(stage_one(rows, x), reference.stage_one(x, by_kind), atol=1e-6)


# Eq. 11-14


def expected_gaps(made: TextSet, a: int, b: int) -> NDArray[np.float64]:
    """gap_ab of Eq. 14 for every image, from the single texts."""
    sides = [np.array([feature(text) for text in made.duel_sentences(*side)]) for side in ((a, b), (b, a))]
    return np.array([reference.pair_gap(x, *sides) for x in IMAGES])


def check_rows(made: TextSet, found: PairRows, pairs: Sequence[tuple[int, int]]) -> None:
    assert (found.rows.dtype, found.rows.shape) == (np.float16, (len(pairs), D))
    got = IMAGES @ found.rows.astype(np.float64).T
    wanted = np.stack([expected_gaps(made, a, b) for a, b in pairs], axis=1)
    # half precision: 11 bits of components whose squares sum to at most 4
    assert_allclose(got, wanted, atol=2 * 2.0**-11)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_all_pairs_make_dense_rows(classes: int) -> None:
    made = textset(classes, every_direction(classes))
    found = collapse_pairs(made, FakeEncoder())  # type: ignore[arg-type]
    assert found is not None
    assert (found.starts, found.others) == (None, None)
    check_rows(made, found, list(combinations(range(classes), 2)))


def test_the_contract_of_dense_rows() -> None:
    # row of the pair a < b: a (2 C - a - 1) / 2 + b - a - 1
    classes = 6
    pairs = duelling_pairs(textset(classes, every_direction(classes)))
    assert [a * (2 * classes - a - 1) // 2 + b - a - 1 for a, b in pairs] == list(range(15))


def test_some_pairs_make_sparse_rows() -> None:
    counts = {(3, 1): 2, (1, 3): 3, (0, 4): 1, (4, 0): 1, (1, 2): 1, (2, 1): 4, (0, 1): 5, (4, 3): 2}
    made = textset(6, counts)
    encoder = FakeEncoder()
    found = collapse_pairs(made, encoder)  # type: ignore[arg-type]
    assert found is not None
    assert found.starts is not None
    assert found.others is not None
    assert (found.starts.dtype, found.starts.tolist()) == (np.int64, [0, 1, 3, 3, 3, 3, 3])
    assert (found.others.dtype, found.others.tolist()) == (np.int32, [4, 2, 3])
    check_rows(made, found, [(0, 4), (1, 2), (1, 3)])
    assert sum(map(len, encoder.calls)) == 2 + 5 + 5  # one-sided texts are not encoded


def test_one_sided_pairs_make_no_row() -> None:
    made = textset(4, {(0, 1): 2, (3, 2): 1, (1, 2): 1, (2, 1): 1})
    assert duelling_pairs(made) == [(1, 2)]
    assert one_sided_pairs(made) == [(0, 1), (3, 2)]
    assert one_sided_pairs(textset(3, every_direction(3))) == []


@pytest.mark.parametrize("counts", [{}, {(0, 1): 3, (2, 0): 1}], ids=["no texts", "one-sided only"])
def test_no_duel_no_rows(counts: dict[tuple[int, int], int]) -> None:
    encoder = FakeEncoder()
    assert collapse_pairs(textset(3, counts), encoder) is None  # type: ignore[arg-type]
    assert encoder.calls == []
    assert collapse_pairs(names_only(("cat",)), encoder) is None  # type: ignore[arg-type]


def test_one_text_a_side_is_its_own_mean() -> None:
    made = textset(2, {(0, 1): 1, (1, 0): 1})
    found = collapse_pairs(made, FakeEncoder())  # type: ignore[arg-type]
    assert found is not None
    [one], [other] = made.duel_sentences(0, 1), made.duel_sentences(1, 0)
    wanted = feature(one).astype(np.float32).astype(np.float64) - feature(other).astype(np.float32)
    assert_array_equal(found.rows, wanted[None].astype(np.float16))


@pytest.mark.parametrize("drop", [0, 1], ids=["dense", "sparse"])
def test_more_pairs_than_a_block(drop: int) -> None:
    counts = every_direction(40)
    pairs = list(combinations(range(40), 2))[: 780 - drop]
    made = textset(40, {side: n for side, n in counts.items() if tuple(sorted(side)) in set(pairs)})
    encoder, done = FakeEncoder(), list[int]()
    found = collapse_pairs(made, encoder, done.append)  # type: ignore[arg-type]
    assert found is not None
    assert (found.starts is None) == (not drop)
    assert done == [512, 268 - drop]
    assert len(encoder.calls) == 2
    for block in (slice(0, 3), slice(509, 515), slice(-3, None)):
        part = PairRows(rows=found.rows[block], starts=None, others=None)
        check_rows(made, part, pairs[block])


def test_rows_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide:
        def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
            return np.ones((len(sentences), 2048), np.float32)

    monkeypatch.setattr(collapse, "_PAIRS_A_BLOCK", 4)
    made = textset(40, dict.fromkeys(permutations(range(40), 2), 1))
    tracemalloc.start()
    found = collapse_pairs(made, Wide())  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert peak < 1.5 * found.rows.nbytes


# the texts behind them


def kept(found: PairRows, number: int) -> tuple[list[str], NDArray[np.float16]]:
    return pair_texts.side(found.texts, number)


def test_texts_are_kept_side_by_side_where_asked_for() -> None:
    counts = {(3, 1): 2, (1, 3): 3, (0, 4): 1, (4, 0): 1, (0, 1): 5}
    made = textset(5, counts)
    assert not collapse_pairs(made, FakeEncoder()).texts  # type: ignore[arg-type, union-attr]
    found = collapse_pairs(made, FakeEncoder(), keep_texts=True)  # type: ignore[arg-type]
    assert found is not None
    assert count_duel_texts(made) == 7 == len(found.texts["pair_texts"])
    for number, side in enumerate([(0, 4), (4, 0), (1, 3), (3, 1)]):
        sentences, features = kept(found, number)
        assert sentences == made.duel_sentences(*side)
        assert_array_equal(
            features, np.stack([feature(text) for text in sentences]).astype(np.float32).astype(np.float16)
        )


def test_kept_texts_of_more_pairs_than_a_block() -> None:
    made = textset(40, every_direction(40))
    found = collapse_pairs(made, FakeEncoder(), keep_texts=True)  # type: ignore[arg-type]
    assert found is not None
    for row, (a, b) in enumerate(combinations(range(40), 2)):
        ours, theirs = (kept(found, 2 * row + side) for side in (0, 1))
        assert (ours[0], theirs[0]) == (made.duel_sentences(a, b), made.duel_sentences(b, a))
        gap_row = ours[1].astype(np.float64).mean(axis=0) - theirs[1].astype(np.float64).mean(axis=0)
        assert_allclose(gap_row, found.rows[row].astype(np.float64), atol=2.0**-10)


# the index


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_index_of_all_pairs(classes: int) -> None:
    assert pair_index(list(combinations(range(classes), 2)), classes) == (None, None)


@pytest.mark.parametrize(
    ("pairs", "starts"),
    [([(0, 1)], [0, 1, 1, 1]), ([(1, 2)], [0, 0, 1, 1]), ([(0, 2), (1, 2)], [0, 1, 2, 2]), ([], [0, 0, 0, 0])],
)
def test_index_of_some_pairs(pairs: list[tuple[int, int]], starts: list[int]) -> None:
    got, others = pair_index(pairs, 3)
    assert got is not None
    assert others is not None
    assert (got.tolist(), others.tolist()) == (starts, [b for _, b in pairs])
    assert (got.dtype, others.dtype) == (np.int64, np.int32)


def test_index_finds_each_pair() -> None:
    pairs = [pair for i, pair in enumerate(combinations(range(30), 2)) if i % 3]
    starts, others = pair_index(pairs, 30)
    assert starts is not None
    assert others is not None
    places = [int(starts[a] + np.searchsorted(others[starts[a] : starts[a + 1]], b)) for a, b in pairs]
    assert places == list(range(len(pairs)))
