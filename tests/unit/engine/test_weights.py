"""The weight file: all of it comes back, it is replaced whole or not at all, and its pair rows stay on the disk."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import coder_engine.weights as weights_module
from coder_engine import general_texts
from coder_engine.errors import EngineError, WeightsError
from coder_engine.head import Head
from coder_engine.mapped import release
from coder_engine.metadata import Metadata
from coder_engine.weights import Weights, load_weights, save_weights, update_weights
from helpers_weights import (
    CLASS_TEXTS,
    MAPPED,
    META,
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
    sha256,
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


# round trip


@pytest.mark.parametrize("kind", ["no pairs", "dense", "sparse"])
def test_all_tensors_come_back(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    found = load_weights(path)
    for name in ("bank", "name_offsets", "name_weight", "pair_rows", "pair_starts", "pair_others", "texts"):
        array = getattr(found, name)
        if name in tensors:
            assert array.dtype == tensors[name].dtype
            assert_array_equal(array, tensors[name], strict=True)
        else:
            assert array is None
    assert (found.path, found.width) == (path, D)
    found.check()


@pytest.mark.parametrize("kind", ["no pairs", "dense", "sparse"])
def test_an_update_keeps_all_else(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    texts = with_texts({})
    after = update_weights(path, tensors=texts, margin=0.5)
    assert after.meta == with_digests(replace(PLAIN, margin=0.5), tensors | texts)
    for name, array in (tensors | texts).items():
        assert_array_equal(getattr(after, name), array, strict=True)
    after.check()


def test_an_update_takes_texts_out(path: Path) -> None:
    tensors = make_tensors("dense")
    save_weights(path, PLAIN, with_texts(tensors))
    after = update_weights(path, tensors=dict.fromkeys(general_texts.TENSORS))
    assert after.meta == with_digests(PLAIN, tensors)
    assert after.general_texts is None


def test_an_update_that_does_not_fit_changes_nothing(saved: Path) -> None:
    content = saved.read_bytes()
    with pytest.raises(WeightsError, match=r"text_starts must be \[5\] for 4 classes, got none"):
        update_weights(saved, tensors={"texts": normal(2, D)})
    assert saved.read_bytes() == content


def test_an_update_does_not_seal_damaged_pairs(saved: Path) -> None:
    damage(saved, "pair_rows")
    content = saved.read_bytes()
    with pytest.raises(WeightsError, match="tensor 'pair_rows' was edited or damaged"):
        update_weights(saved, margin=0.5)
    assert saved.read_bytes() == content


def test_all_metadata_comes_back(path: Path) -> None:
    tensors = with_texts(make_tensors("dense"))
    save_weights(path, META, tensors)
    assert load_weights(str(path)).meta == with_digests(META, tensors)


def test_general_texts_come_back_by_class(path: Path) -> None:
    tensors = with_texts(make_tensors("dense"))
    save_weights(path, META, tensors)
    found = load_weights(path).general_texts
    assert found is not None
    assert_array_equal(found.texts, tensors["texts"])
    rows = np.split(tensors["texts"], [2, 2, 2])
    for label_id, own in enumerate(CLASS_TEXTS):
        kinds, sentences, features = found.of_class(label_id)
        assert list(zip(kinds, sentences, strict=True)) == own
        assert_array_equal(features, rows[label_id])
    assert found.rows_by_kind() == [{"name": [0], "attribute": [1]}, {}, {}, {"synonym": [2]}]


def test_metadata_has_defaults(path: Path) -> None:
    meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={}, logit_scale=1)
    tensors = {"bank": normal(2, D), "name_offsets": np.array([0, 1], np.int32), "name_weight": np.ones(1, np.float32)}
    save_weights(path, meta, tensors)
    found = load_weights(path).meta
    assert found == meta
    assert (found.margin, found.digests, found.adapter) == (None, {}, {})
    assert (found.temperature, found.calibration, found.unknown_below) == (1.0, {}, None)


@pytest.mark.parametrize("kind", ["no pairs", "sparse"])
def test_the_format_is_the_documented_one(path: Path, kind: str) -> None:
    tensors = make_tensors(kind)
    save_weights(path, PLAIN, tensors)
    header, _ = split(path)
    told = header.pop("__metadata__")
    seal(path.with_name("sealed"), header_of(with_digests(PLAIN, tensors)), tensors)
    assert told == split(path.with_name("sealed"))[0]["__metadata__"]
    dtypes = {"F32": "float32", "F16": "float16", "I32": "int32", "I64": "int64"}
    assert {name: dtypes[entry["dtype"]] for name, entry in header.items()} == {
        name: str(array.dtype) for name, array in tensors.items()
    }


@pytest.mark.parametrize("name", MAPPED)
def test_large_tensors_are_mapped_and_read_only(path: Path, name: str) -> None:
    save_weights(path, WITH_ALL, with_all(make_tensors("dense")))
    array = getattr(load_weights(path), name)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert array.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_arrays_are_converted_to_the_types_of_the_format(path: Path) -> None:
    tensors = make_tensors("sparse")
    given = {
        name: np.asfortranarray(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))
        for name, array in tensors.items()
    }
    save_weights(path, PLAIN, given)
    found = load_weights(path)
    assert found.bank.flags.c_contiguous
    for name, array in tensors.items():
        assert_array_equal(getattr(found, name), array, strict=True)


def test_the_same_content_gives_the_same_bytes(path: Path) -> None:
    meta = replace(PLAIN, labels=("tab\t \x01\x1f\x7f", 'quote " \\ /', "büffel \u2028 フ", "😀 \b\f\r\n"))
    tensors = make_tensors("sparse")
    found = set()
    for _ in range(8):  # by chance alone, once in 24^7 runs
        save_weights(path, meta, tensors)
        found.add(path.read_bytes())
    assert len(found) == 1
    opened = load_weights(path)
    assert opened.meta.labels == meta.labels
    assert_array_equal(opened.bank, tensors["bank"])


def test_saving_replaces_the_file(saved: Path) -> None:
    tensors = make_tensors("dense")
    save_weights(saved, PLAIN, tensors)
    assert_array_equal(load_weights(saved).bank, tensors["bank"])
    assert list(saved.parent.iterdir()) == [saved]


def test_what_was_taken_out_in_memory_is_not_checked(saved: Path) -> None:
    replace(load_weights(saved), pair_rows=None, pair_starts=None, pair_others=None).check()


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_all_that_is_mapped_is_kept_by_updates(path: Path, kind: str) -> None:
    tensors = with_all(make_tensors(kind))
    save_weights(path, WITH_ALL, tensors)
    for found in (load_weights(path), update_weights(path, margin=0.5)):
        assert found.meta.digests == {name: sha256(tensors[name]) for name in MAPPED}
        for name, array in tensors.items():
            assert_array_equal(getattr(found, name), array, strict=True)
        found.check()


@pytest.mark.parametrize("name", MAPPED)
def test_damage_to_what_is_mapped_opens_and_is_found_by_the_check(path: Path, name: str) -> None:
    save_weights(path, WITH_ALL, with_all(make_tensors("dense")))
    damage(path, name)
    found = load_weights(path)
    with pytest.raises(WeightsError, match=f"tensor '{name}' was edited or damaged after export; export it again"):
        found.check()


def test_a_file_without_a_tensor_has_no_digest_of_it(path: Path) -> None:
    save_weights(path, PLAIN, with_pair_texts(make_tensors("dense")))
    save_weights(path, load_weights(path).meta, make_tensors("dense"))
    assert list(load_weights(path).meta.digests) == ["pair_rows"]


# the disk


@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "first time"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path, old: bool) -> None:
    resource = pytest.importorskip("resource")
    if old:
        save_weights(path, PLAIN, make_tensors("sparse"))
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert list(before) == ([path.name] if old else [])
    # A limit on the size of files fails as a full disk does: a write comes back short, the next with an error.
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from coder_engine import general_texts
from coder_engine.errors import WeightsError
from coder_engine.metadata import Metadata
from coder_engine.weights import save_weights
meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={{}}, logit_scale=1.0)
tensors = {{"bank": np.ones((2, 300_000)), "name_offsets": np.array([0, 1]), "name_weight": np.ones(1)}}
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))
try:
    save_weights(Path(sys.argv[1]), meta, tensors)
except WeightsError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written (")
    assert done.stdout.endswith("); free space or choose another --out\n")
    assert "File too large" in done.stdout
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_writer_that_stops_half_way_never_touches_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_half_way(tensors: dict[str, object], scratch: Path, metadata: dict[str, str]) -> None:
        Path(scratch).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(weights_module, "save_file", stop_half_way)
    with pytest.raises(WeightsError, match=r"cannot be written \(.*No space left on device\); free space"):
        save_weights(saved, PLAIN, make_tensors("dense"))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"cannot be written \(.*No such file.*\); free space or choose another --out"
    ):
        save_weights(tmp_path / "missing" / "w.safetensors", PLAIN, make_tensors("dense"))


def test_a_folder_in_the_way(path: Path) -> None:
    path.mkdir()
    with pytest.raises(WeightsError, match=r"cannot be written \(.*Is a directory"):
        save_weights(path, PLAIN, make_tensors("dense"))
    assert list(path.parent.iterdir()) == [path]


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


def test_an_open_file_is_not_copied(saved: Path) -> None:
    weights = load_weights(saved)
    for copying in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="open it again with load_weights"):
            copying(weights)


def test_a_file_that_is_replaced_while_it_is_opened(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = weights_module.open_mapped

    def late(path: Path, names: list[str], **options: str) -> object:
        save_weights(path, PLAIN, make_tensors("sparse"))
        return opening(path, names, **options)

    monkeypatch.setattr(weights_module, "open_mapped", late)
    with pytest.raises(WeightsError, match=r"was replaced while it was opened; open it again$"):
        load_weights(saved)


def test_too_many_open_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("coder_engine.mapped.os.dup", fail)
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
