"""Truncated, foreign and edited weight files: none opens, and each refusal says what to do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from coder_engine.errors import WeightsError
from coder_engine.weights import load_weights, save_weights
from helpers_weights import (
    META,
    PLAIN,
    D,
    damage,
    header_of,
    join,
    make_tensors,
    refusal,
    seal,
    split,
    with_large_bank,
    with_texts,
)

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


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "coder-engine engine", "format_version": "3"}])
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


@pytest.mark.parametrize("at", [0, 0.3, 0.7, 1], ids=["first block", "still there", "second block", "last byte"])
def test_an_edited_block_of_a_large_tensor(path: Path, at: float) -> None:
    save_weights(path, PLAIN, with_large_bank(make_tensors("dense")))
    damage(path, "bank", at)
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
