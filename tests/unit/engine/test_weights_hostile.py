"""Truncated, edited, foreign and malformed weight files: none opens, and each refusal says what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from coder_engine import general_texts, pair_texts
from coder_engine.errors import WeightsError
from coder_engine.metadata import LATER
from coder_engine.weights import FORMAT, FORMAT_VERSION, Weights, load_weights, save_weights
from helpers_weights import (
    MAPPED,
    META,
    PLAIN,
    WITH_ALL,
    D,
    Tensors,
    damage,
    header_of,
    join,
    make_tensors,
    normal,
    seal,
    split,
    with_all,
    with_digests,
    with_pair_texts,
    with_texts,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "animals.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    save_weights(path, PLAIN, make_tensors("sparse"))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "export" in message
    return message


# files that are none


def test_a_missing_file(path: Path) -> None:
    assert "no such weight file; coder-export writes it beside the engine" in refusal(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weight file"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 7, b"\0" * 4096, b"cat\ndog\n", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"{}", b"PK\x03\x04" * 99],
    ids=["empty", "short", "zeros", "text", "ones", "no tensors", "zip"],
)
def test_bytes_that_are_no_weight_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a whole weight file (" in refusal(path) or "but not a weight file of coder-export" in refusal(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "coder-engine engine", "format_version": "2"}])
def test_another_safetensors_file(path: Path, metadata: dict[str, str] | None) -> None:
    save_file(make_tensors("dense"), path, metadata=metadata)
    assert "a safetensors file, but not a weight file of coder-export; pass the one beside the engine" in refusal(path)


@pytest.mark.parametrize("sixteenth", range(16))
def test_truncated(saved: Path, sixteenth: int) -> None:
    size = saved.stat().st_size
    os.truncate(saved, size * sixteenth // 16)
    assert "not a whole weight file (" in refusal(saved)


@pytest.mark.parametrize("change", [-1, 1], ids=["last byte lost", "one byte more"])
def test_one_byte_less_or_more(saved: Path, change: int) -> None:
    os.truncate(saved, saved.stat().st_size + change)
    assert "not a whole weight file (" in refusal(saved)


# edits


@pytest.mark.parametrize(
    "name", ["bank", "name_offsets", "name_weight", "pair_starts", "pair_others", "text_starts", "text_kinds"]
)
@pytest.mark.parametrize("at", [0, 0.5, 1], ids=["first byte", "middle", "last byte"])
def test_an_edited_tensor(path: Path, name: str, at: float) -> None:
    save_weights(path, META, with_texts(make_tensors("sparse")))
    damage(path, name, at)
    assert "edited or damaged after export (its digest differs)" in refusal(path)


@pytest.mark.parametrize("at", [0, 0.5, 1], ids=["first byte", "middle", "last byte"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_edited_pair_rows_open_and_fail_their_check(path: Path, kind: str, at: float) -> None:
    save_weights(path, PLAIN, make_tensors(kind))
    damage(path, "pair_rows", at)
    weights = load_weights(path)
    with pytest.raises(WeightsError, match="'pair_rows' was edited or damaged after export; export it again"):
        weights.check()


def test_without_pair_rows_there_is_nothing_to_check(path: Path) -> None:
    save_weights(path, PLAIN, make_tensors("no pairs"))
    load_weights(path).check()


def test_no_byte_of_the_header_can_change(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    for i in range(8 + int.from_bytes(content[:8], "little")):
        flip = 0x20 if i % 2 else 0x01
        content[i] ^= flip
        saved.write_bytes(content)
        with pytest.raises(WeightsError):
            load_weights(saved)
        content[i] ^= flip
    saved.write_bytes(content)
    load_weights(saved).check()


@pytest.mark.parametrize("key", ["coder", "digest"])
def test_edited_metadata(saved: Path, key: str) -> None:
    header, body = split(saved)
    changed = {
        "coder": header["__metadata__"]["coder"].replace("cat", "dog"),
        "digest": "0" * 64,
    }
    header["__metadata__"][key] = changed[key]
    join(saved, header, body)
    assert "edited or damaged after export" in refusal(saved)


def test_without_a_digest(saved: Path) -> None:
    header, body = split(saved)
    del header["__metadata__"]["digest"]
    join(saved, header, body)
    assert "edited or damaged after export" in refusal(saved)


def test_lost_pair_rows_do_not_switch_the_rerank_off(saved: Path) -> None:
    header, body = split(saved)
    header["pair_rowz"] = header.pop("pair_rows")
    join(saved, header, body)
    assert "tensor 'pair_rows' is missing; export it again with coder-export" in refusal(saved)


@pytest.mark.parametrize(
    ("entry", "got"),
    [({"dtype": "BF16"}, "BF16 [3, 8]"), ({"dtype": "I16"}, "I16 [3, 8]"), ({"shape": [24]}, "F16 [24]")],
)
def test_pair_rows_of_another_type_or_shape(saved: Path, entry: dict[str, Any], got: str) -> None:
    header, body = split(saved)
    header["pair_rows"].update(entry)
    join(saved, header, body)
    assert f"pair_rows must be float16 [P, D], got {got}; export it again" in refusal(saved)


def test_no_pair_rows_at_all(path: Path) -> None:
    tensors = make_tensors("sparse")
    tensors.update(
        pair_rows=np.empty((0, D), np.float16), pair_others=np.empty(0, np.int32), pair_starts=np.zeros(5, np.int64)
    )
    seal(path, header_of(replace(PLAIN, digests={"pair_rows": "0" * 64})), tensors)
    assert "pair_rows must be float16 [P, D], got F16 [0, 8]" in refusal(path)


@pytest.mark.parametrize(("dtype", "shape"), [("BF16", [11, 16]), ("F8_E4M3", [11, 32])])
def test_types_that_numpy_does_not_have(path: Path, dtype: str, shape: list[int]) -> None:
    save_weights(path, PLAIN, make_tensors("dense"))
    header, body = split(path)
    header["bank"].update(dtype=dtype, shape=shape)
    join(path, header, body)
    # Where ml_dtypes was imported NumPy does know bfloat16, and the digest refuses.
    message = refusal(path)
    assert "not a whole weight file (" in message or "edited or damaged" in message


# content that was sealed, but is not sound


@pytest.mark.parametrize("version", ["1", "3", "10", str(10**30), "", "new", "-1", "2.0", "02"])
def test_another_format(path: Path, version: str) -> None:
    seal(path, header_of(PLAIN, format_version=version), make_tensors("dense"))
    assert f"format {version or 'unknown'}, this coder-engine reads format 2; export it again" in refusal(path)


def test_names_of_the_format() -> None:
    assert (FORMAT, FORMAT_VERSION) == ("coder-engine weights", 2)


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
        (changed_json(temperature=0), "ValueError('temperature must be positive and finite, got 0')"),
        (changed_json(temperature="warm"), "TypeError"),
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
    seal(path, {"format": FORMAT, "format_version": "2"}, make_tensors("no pairs"))
    assert "its metadata is malformed (KeyError('coder'))" in refusal(path)


def test_unknown_metadata_is_ignored(path: Path) -> None:
    seal(path, header_of(PLAIN, coder=changed_json(colour="red")), make_tensors("no pairs"))
    assert load_weights(path).meta == PLAIN


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
