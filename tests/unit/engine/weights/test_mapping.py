"""What stays on the disk when a weight file opens: never all of it in memory, read as it was, checked when asked."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

import coder_engine.weights as weights_module
from coder_engine.errors import EngineError, WeightsError
from coder_engine.head import Head
from coder_engine.weightfile.mapped import release
from coder_engine.weights import Weights, load_weights, save_weights
from helpers_weights import (
    MAPPED,
    PLAIN,
    WITH_ALL,
    D,
    damage,
    header_of,
    join,
    make_tensors,
    normal,
    place,
    seal,
    split,
    with_all,
)


@pytest.mark.parametrize("name", MAPPED)
def test_large_tensors_are_mapped_and_read_only(path: Path, name: str) -> None:
    save_weights(path, WITH_ALL, with_all(make_tensors("dense")))
    array = getattr(load_weights(path), name)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_what_was_taken_out_in_memory_is_not_checked(saved: Path) -> None:
    replace(load_weights(saved), pair_rows=None, pair_starts=None, pair_others=None).check()


@pytest.mark.parametrize("name", MAPPED)
def test_damage_to_what_is_mapped_opens_and_is_found_by_the_check(path: Path, name: str) -> None:
    save_weights(path, WITH_ALL, with_all(make_tensors("dense")))
    damage(path, name)
    found = load_weights(path)
    with pytest.raises(WeightsError, match=f"tensor '{name}' was edited or damaged after export; export it again"):
        found.check()


# memory


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell resident memory")
def test_opening_does_not_read_the_pair_rows(path: Path) -> None:
    classes, width = 1000, 200
    shape = (classes * (classes - 1) // 2, width)
    meta = replace(PLAIN, labels=tuple(map(str, range(classes))), digests={"pair_rows": "0" * 64})
    seal(
        path,
        header_of(meta),
        {
            "bank": normal(2 * classes, width),
            "name_offsets": np.arange(classes + 1, dtype=np.int32),
            "name_weight": np.ones(classes, np.float32),
        },
    )
    header, body = split(path)
    size = 2 * shape[0] * shape[1]
    header["pair_rows"] = {"dtype": "F16", "shape": shape, "data_offsets": [len(body), len(body) + size]}
    join(path, header, body)
    os.truncate(path, path.stat().st_size + size)  # a hole: it reads as zeros and costs no disk
    assert size > 199_000_000
    before = resident_bytes()
    weights = load_weights(path)
    assert resident_bytes() - before < 20_000_000
    assert weights.pair_rows is not None
    assert weights.pair_rows.shape == shape
    assert not weights.pair_rows[-1].any()
    assert resident_bytes() - before < 20_000_000
    assert not weights.pair_rows.view(np.uint16).max()
    assert resident_bytes() - before > 150_000_000
    release(weights.pair_rows)
    assert resident_bytes() - before < 40_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell resident memory")
def test_ranking_keeps_no_pair_rows(path: Path) -> None:
    classes, width = 600, 256
    tensors = {
        "bank": normal(2 * classes, width),
        "name_offsets": np.arange(classes + 1, dtype=np.int32),
        "name_weight": np.ones(classes, np.float32),
        "pair_rows": np.zeros((classes * (classes - 1) // 2, width), np.float16),
    }
    assert tensors["pair_rows"].nbytes > 90_000_000
    save_weights(path, replace(PLAIN, labels=tuple(map(str, range(classes)))), tensors)
    del tensors["pair_rows"]
    head = Head(load_weights(path))
    images = normal(3000, width)
    head.rank(images[:10])
    before = resident_bytes()
    for image in images:
        assert head.rank(image[None]).reranked.all()
    assert resident_bytes() - before < 2_000_000


def test_released_pages_read_the_same(path: Path) -> None:
    tensors = make_tensors("sparse")
    save_weights(path, PLAIN, tensors)
    weights = load_weights(path)
    weights.check()
    release(weights.pair_rows)
    assert_array_equal(weights.pair_rows, tensors["pair_rows"])


def test_there_is_nothing_to_release_without_a_map() -> None:
    release(None)
    release(make_tensors("dense")["pair_rows"])


# ranking


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_rows_read_from_the_file_rank_as_those_in_memory(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    found = load_weights(path)
    assert found.pair_file is not None
    images = normal(50, D)
    wanted = Head(Weights(path=path, meta=PLAIN, **tensors)).rank(images)
    for name, array in Head(found).rank(images).__dict__.items():
        assert_array_equal(array, getattr(wanted, name), err_msg=name)
    assert wanted.reranked.any()


@pytest.mark.parametrize("how", ["array", "copy of the map"])
def test_other_rows_in_memory_are_those_that_rank(path: Path, how: str) -> None:
    tensors = make_tensors("dense")
    save_weights(path, PLAIN, tensors)
    found, images = load_weights(path), normal(50, D)
    assert found.pair_rows is not None
    rows = tensors["pair_rows"].copy() if how == "array" else found.pair_rows.copy()
    rows *= -1
    turned = Head(replace(found, pair_rows=rows)).rank(images)
    assert_array_equal(np.sort(turned.gaps), np.sort(-Head(found).rank(images).gaps))
    assert turned.gaps.any()


def test_rows_of_the_map_s_middle(path: Path) -> None:
    tensors = make_tensors("sparse")
    save_weights(path, PLAIN, tensors)
    found, images = load_weights(path), normal(50, D)
    assert found.pair_rows is not None
    last = {"pair_starts": np.array([0, 0, 0, 1, 1]), "pair_others": np.array([3], np.int32)}
    wanted = replace(found, pair_rows=np.array(found.pair_rows[2:]), pair_file=None, **last)
    got = Head(replace(found, pair_rows=found.pair_rows[2:], **last)).rank(images)
    assert_array_equal(got.duels, Head(wanted).rank(images).duels)


# the open file


def test_an_open_file_is_not_copied(saved: Path) -> None:
    weights = load_weights(saved)
    for copying in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="open it again with load_weights"):
            copying(weights)


@pytest.mark.parametrize(
    "replace_by",
    [
        lambda path: save_weights(path, PLAIN, make_tensors("sparse")),
        lambda path: save_file(make_tensors("sparse"), path),
    ],
    ids=["another of ours", "no metadata"],
)
def test_a_file_that_is_replaced_while_it_is_opened(
    replace_by: Callable[[Path], None], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = weights_module.open_mapped

    def late(path: Path, names: list[str], **options: str) -> object:
        replace_by(path)
        return opening(path, names, **options)

    monkeypatch.setattr(weights_module, "open_mapped", late)
    with pytest.raises(WeightsError, match=r"was replaced while it was opened; open it again$"):
        load_weights(saved)


def test_too_many_open_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("coder_engine.weightfile.mapped.os.dup", fail)
    with pytest.raises(WeightsError, match=r"cannot be mapped \(.*Too many open files\); close other files"):
        load_weights(saved)


def test_a_replaced_file_is_read_as_it_was(path: Path) -> None:
    tensors = make_tensors("dense")
    save_weights(path, PLAIN, tensors)
    head, images = Head(load_weights(path)), normal(50, D)
    wanted = head.rank(images)
    save_weights(path, PLAIN, make_tensors("dense"))
    assert_array_equal(head.rank(images).duels, wanted.duels)


def test_a_file_that_is_cut_while_in_use_is_an_error(saved: Path) -> None:
    head, (start, _) = Head(load_weights(saved)), place(saved, "pair_rows")
    os.truncate(saved, start)
    with pytest.raises(
        EngineError, match=r"image row \d cannot be ranked: a pair row it needs cannot be read; the weight file"
    ):
        head.rank(normal(5, D))


def test_a_file_is_closed_with_its_weights(saved: Path) -> None:
    weights = load_weights(saved)
    assert weights.pair_file is not None
    descriptor, _ = weights.pair_file.place
    os.fstat(descriptor)
    head = Head(weights)
    del weights
    os.fstat(descriptor)
    del head
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
