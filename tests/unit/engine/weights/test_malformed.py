"""Weight files under their right digest whose metadata or tensors do not fit: none opens, none is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine.errors import WeightsError
from coder_engine.weightfile import general_texts, pair_texts
from coder_engine.weightfile.metadata import LATER
from coder_engine.weights import FORMAT, FORMAT_VERSION, Weights, load_weights, save_weights
from helpers_weights import (
    MAPPED,
    META,
    PLAIN,
    WITH_ALL,
    D,
    Tensors,
    header_of,
    make_tensors,
    normal,
    refusal,
    seal,
    with_all,
    with_digests,
    with_pair_texts,
    with_texts,
)

# metadata


@pytest.mark.parametrize("version", ["1", "2", "4", "10", str(10**30), "", "new", "-1", "3.0", "03"])
def test_another_format(path: Path, version: str) -> None:
    seal(path, header_of(PLAIN, format_version=version), make_tensors("dense"))
    assert f"format {version or 'unknown'}, this coder-engine reads format 3; export it again" in refusal(path)


def test_names_of_the_format() -> None:
    assert (FORMAT, FORMAT_VERSION) == ("coder-engine weights", 3)


def test_a_sealed_file_opens(path: Path) -> None:
    tensors = make_tensors("sparse")
    seal(path, header_of(with_digests(PLAIN, tensors)), tensors)
    load_weights(path).check()


def changed_json(**changes: Any) -> str:
    return json.dumps({**json.loads(PLAIN.to_json()), **changes})


def json_without(key: str) -> str:
    return json.dumps({name: value for name, value in json.loads(PLAIN.to_json()).items() if name != key})


@pytest.mark.parametrize(
    ("coder", "said"),
    [
        ("{", "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("null", "TypeError"),
        ('"cat"', "TypeError"),
        ("[" * 100_000, "RecursionError"),
        (changed_json(labels=4), "TypeError"),
        (changed_json(digests=["pair_rows"]), "ValueError"),
        (changed_json(digests=4), "TypeError"),
        (changed_json(logit_scale="large"), "ValueError"),
        (changed_json(logit_scale=None), "TypeError"),
        (changed_json(adapter=[1]), "TypeError('adapter must be an object, got list')"),
        (changed_json(generic=None), "TypeError('generic must be an object, got NoneType')"),
        (changed_json(logit_scale=0), "ValueError('logit_scale must be within 1e-09 and 1e+09, got 0.0')"),
        (changed_json(logit_scale=float("nan")), "ValueError('logit_scale must be within 1e-09 and 1e+09, got nan')"),
        (changed_json(labels=["a"] * 4), "ValueError('labels must be one or more, and no two the same, got 4')"),
        (changed_json(labels=[]), "ValueError('labels must be one or more"),
        (changed_json(margin=5.0), "ValueError('margin must be a difference of probabilities, 0 to 1, or None, got 5"),
        (changed_json(margin=float("nan")), "ValueError('margin must be"),
        (changed_json(margin="x"), "TypeError"),
        (changed_json(engine_files=[1]), "TypeError('engine_files must be an object, got list')"),
        (changed_json(preprocess=5), "TypeError('preprocess must be an object, got int')"),
        (changed_json(temperature=0), "ValueError('temperature must be positive and finite, got 0')"),
        (changed_json(temperature="warm"), "TypeError"),
        (
            changed_json(logit_scale=1e300, temperature=1e300),
            "ValueError('logit_scale must be within 1e-09 and 1e+09, got 1e+300",
        ),
        (changed_json(temperature=1e-20), "ValueError('logit_scale / temperature must be within 1e-09 and 1e+09, got "),
        *[
            (
                changed_json(engine_files={name: "0" * 64}),
                'ValueError("engine_files must be the names of files beside it',
            )
            for name in ("../a.data", "/a.onnx", "", "..", "a\0.data")
        ],
        (changed_json(unknown_below=1.5), "ValueError('unknown_below must be a probability, 0 to 1, got 1.5')"),
        *[(json_without(name), f"KeyError('{name}')") for name in json.loads(PLAIN.to_json()) if name not in LATER],
        (changed_json(plans=[1]), "TypeError"),
        (changed_json(plans={"m.plan": 1}), "TypeError"),
    ],
)
def test_malformed_metadata(path: Path, coder: str, said: str) -> None:
    seal(path, header_of(PLAIN, coder=coder), make_tensors("no pairs"))
    message = refusal(path)
    assert f"its metadata is malformed ({said}" in message
    assert message.endswith("; export it again with coder-export")


@pytest.mark.parametrize("name", LATER)
def test_a_file_from_before_a_field_opens_with_its_default(path: Path, name: str) -> None:
    seal(path, header_of(PLAIN, coder=json_without(name)), make_tensors("no pairs"))
    assert load_weights(path).meta == PLAIN


def test_no_metadata_object(path: Path) -> None:
    seal(path, {"format": FORMAT, "format_version": "3"}, make_tensors("no pairs"))
    assert "its metadata is malformed (KeyError('coder'))" in refusal(path)


def test_unknown_metadata_is_ignored(path: Path) -> None:
    seal(path, header_of(PLAIN, coder=changed_json(colour="red")), make_tensors("no pairs"))
    assert load_weights(path).meta == PLAIN


# tensors


@pytest.mark.parametrize("name", [*general_texts.TENSORS, *pair_texts.TENSORS])
def test_texts_are_whole_or_not_there(path: Path, name: str) -> None:
    tensors = with_pair_texts(with_texts(make_tensors("dense")))
    meta = with_digests(PLAIN, tensors)
    seal(path, header_of(meta), tensors)
    load_weights(path).check()
    del tensors[name]
    for told in (meta, with_digests(PLAIN, tensors)):
        seal(path, header_of(told), tensors)
        assert f"tensor {name!r} is missing; export it again with coder-export" in refusal(path)


@pytest.mark.parametrize("name", MAPPED)
def test_a_mapped_tensor_without_a_digest(path: Path, name: str) -> None:
    tensors = with_all(make_tensors("dense"))
    seal(path, header_of(with_digests(WITH_ALL, {own: tensors[own] for own in tensors if own != name})), tensors)
    assert f"tensor {name!r} has no digest; export it again with coder-export" in refusal(path)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("pair_text_starts", lambda old: np.delete(old, 1), "pair_text_starts must be [13] for 4 classes, got [12]"),
        ("pair_text_starts", lambda old: old * 0, "pair_texts must be [0, 8] for 4 classes, got [18, 8]"),
        ("pair_text_starts", lambda old: old * 9, "pair_texts must be [162, 8] for 4 classes, got [18, 8]"),
        ("pair_text_starts", lambda old: old[[0, 9, *range(2, 13)]], "pair_text_starts must ascend from 0"),
        ("pair_text_starts", lambda old: old.astype(np.int32), "pair_text_starts must be int64, got int32"),
        ("pair_text_starts", lambda old: old[:0], "pair_texts must be [0, 8] for 4 classes, got [18, 8]"),
        ("pair_sentence_starts", lambda old: old + 1, "pair_sentences must be"),
        ("pair_sentence_starts", lambda old: old[:, None], "pair_sentences must be [0] for 4 classes, got"),
        ("pair_texts", lambda old: old[:, :-1], "pair_texts must be [18, 8] for 4 classes, got [18, 7]"),
        ("pair_texts", lambda old: old.astype(np.float32), "pair_texts must be float16 [K, D], got F32 [18, 8]"),
        ("pair_sentences", lambda old: old.astype(np.int8), "pair_sentences must be uint8 [bytes], got I8"),
        ("text_starts", lambda old: old[:-1], "text_starts must be [5] for 4 classes, got [4]"),
        ("text_starts", lambda old: old[[0, 4, 1, 2, 4]], "text_starts must ascend from 0"),
        ("text_starts", lambda old: old * 9, "texts must be [27, 8] for 4 classes, got [3, 8]"),
        ("text_kinds", lambda old: old[:-1], "text_kinds must be [3] for 4 classes, got [2]"),
        ("text_kinds", lambda old: old + 4, "text_kinds must be below 4, got 6"),
        ("text_kinds", lambda old: old.astype(np.int8), "text_kinds must be uint8, got int8"),
        ("texts", lambda old: old[:, :-1], "texts must be [3, 8] for 4 classes, got [3, 7]"),
        ("texts", lambda old: old.astype(np.float16), "texts must be float32 [T, D], got F16 [3, 8]"),
        ("text_sentences", lambda old: old[:-1], "text_sentences must be ["),
        ("text_sentence_starts", lambda old: old + 1, "text_sentences must be ["),
        ("text_sentence_starts", lambda old: old[[0, 2, 1, 3]], "text_sentence_starts must ascend from 0"),
    ],
)
def test_an_index_of_texts_that_does_not_fit(
    path: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]], said: str
) -> None:
    tensors = with_pair_texts(with_texts(make_tensors("dense")))
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    seal(path, header_of(with_digests(PLAIN, tensors)), tensors)
    assert said in refusal(path)


@pytest.mark.parametrize("name", ["bank", "name_offsets", "name_weight"])
def test_a_missing_tensor(path: Path, name: str) -> None:
    tensors = make_tensors("no pairs")
    del tensors[name]
    seal(path, header_of(PLAIN), tensors)
    assert f"tensor {name!r} is missing; export it again with coder-export" in refusal(path)


WRONG_TYPES = [
    ("bank", normal(11, D, dtype=np.float64), "bank must be float32, got float64"),
    ("name_offsets", np.array([0, 1, 4, 5, 7]), "name_offsets must be int32, got int64"),
    ("name_weight", np.ones(4, np.float16), "name_weight must be float32, got float16"),
    ("pair_starts", np.array([0, 2, 2, 3, 3], np.int32), "pair_starts must be int64, got int32"),
    ("pair_others", np.array([1, 3, 3]), "pair_others must be int32, got int64"),
]
WRONG_SHAPES = [
    ("bank", normal(10, D), r"bank must be [11, 8] for 4 classes, got [10, 8]"),
    ("bank", normal(88), "bank and name_offsets must be [C + R, D] and [C + 1], got (88,) and (5,)"),
    ("bank", normal(11, 2, 4), "bank and name_offsets must be [C + R, D] and [C + 1], got (11, 2, 4) and (5,)"),
    ("bank", normal(11, 9), "pair_rows must be [3, 9] for 4 classes, got [3, 8]"),
    (
        "name_offsets",
        np.zeros(0, np.int32),
        "bank and name_offsets must be [C + R, D] and [C + 1], got (11, 8) and (0,)",
    ),
    ("name_offsets", np.zeros((5, 1), np.int32), "bank and name_offsets must be"),
    ("name_offsets", np.array([0, 1, 4, 7], np.int32), "name_offsets must be [5] for 4 classes, got [4]"),
    ("name_offsets", np.array([0, 1, 4, 5, 6], np.int32), "bank must be [10, 8] for 4 classes, got [11, 8]"),
    ("name_weight", np.ones(3, np.float32), "name_weight must be [4] for 4 classes, got [3]"),
    ("name_weight", np.ones((4, 1), np.float32), "name_weight must be [4] for 4 classes, got [4, 1]"),
    ("pair_rows", normal(4, D, dtype=np.float16), "pair_others must be [4] for 4 classes, got [3]"),
    ("pair_rows", normal(3, 4, dtype=np.float16), "pair_rows must be [3, 8] for 4 classes, got [3, 4]"),
    ("pair_starts", np.zeros(4, np.int64), "pair_starts must be [5] for 4 classes, got [4]"),
    ("pair_starts", None, "pair_rows must be [6, 8] for 4 classes, got [3, 8]"),
    ("pair_others", np.zeros(2, np.int32), "pair_others must be [3] for 4 classes, got [2]"),
    ("pair_others", None, "pair_others must be [3] for 4 classes, got none"),
]


def with_tensor(name: str, array: NDArray[Any] | None) -> Tensors:
    tensors = make_tensors("sparse")
    if array is None:
        del tensors[name]
        return tensors
    return tensors | {name: array}


@pytest.mark.parametrize(("name", "array", "said"), [*WRONG_TYPES, *WRONG_SHAPES])
def test_tensors_that_do_not_fit_do_not_open(path: Path, name: str, array: NDArray[Any] | None, said: str) -> None:
    seal(path, header_of(replace(PLAIN, digests={"pair_rows": "0" * 64})), with_tensor(name, array))
    message = refusal(path)
    assert said in message
    assert message.endswith("; export it again with coder-export")


@pytest.mark.parametrize(("name", "array", "said"), WRONG_SHAPES)
def test_tensors_that_do_not_fit_are_not_saved(path: Path, name: str, array: NDArray[Any] | None, said: str) -> None:
    with pytest.raises(WeightsError) as caught:
        save_weights(path, PLAIN, with_tensor(name, array))
    assert said in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_pair_rows_of_another_type_in_memory() -> None:
    tensors = make_tensors("dense") | {"pair_rows": normal(6, D)}
    with pytest.raises(WeightsError, match="pair_rows must be float16, got float32"):
        Weights(path=Path("memory"), meta=PLAIN, **tensors)


def test_sentences_need_their_features(path: Path) -> None:
    tensors = with_texts(make_tensors("dense"))
    del tensors["texts"]
    with pytest.raises(WeightsError, match=r"texts must be \[3, 8\] for 4 classes, got none"):
        save_weights(path, META, tensors)
