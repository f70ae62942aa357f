"""The Engine's own behaviour: images in, answers out; they are held against the oracle in tests/parity."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coder_engine import BackendError, Engine, EngineError, ImageError
from coder_engine.weights import update_weights


def test_repr_says_which_engine_it_is(tiny: Path) -> None:
    with Engine(tiny, backend="onnxruntime", device="cpu", threads=1) as engine:
        wanted = rf"<Engine {re.escape(str(tiny))}: ONNX Runtime \S+, CPU, fp32, 1 thread; coder-tiny .*10 classes, .*>"
        assert re.fullmatch(wanted, repr(engine))


def test_every_kind_of_image_gives_the_same_answer(engine: Engine, photographs: list[Path]) -> None:
    path = photographs[0]
    picture = Image.open(path).convert("RGB")
    kinds = [str(path), path, path.read_bytes(), picture, np.asarray(picture)]
    first, *others = engine.predict(kinds)
    assert all((item.label, item.top) == (first.label, first.top) for item in others)
    assert [item.path for item in (first, *others)] == [str(path), str(path), None, None, None]


def test_array_batch_is_taken_as_it_is_or_resized(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    exact = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    wide = rng.integers(0, 256, (2, 50, 90, 3), np.uint8)
    assert len(engine.predict(exact)) == 3
    np.testing.assert_array_equal(engine.embed(exact), engine._backend.encode(exact))
    assert engine.embed(wide).shape == (2, 128)


@pytest.mark.parametrize("batch", [np.zeros((2, 3, 64, 64), np.float32), np.zeros((64, 64, 3), np.uint8)])
def test_wrong_arrays(engine: Engine, batch: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match=r"batch must be uint8 \[B, H, W, 3\], got (float32|uint8) .*before normalisation"
    ):
        engine.predict(batch)


@pytest.mark.parametrize("batch", ["cat.png", b"bytes", Path("cat.png"), 7])
def test_a_single_image_is_no_batch(engine: Engine, batch: object) -> None:
    with pytest.raises(TypeError, match=r"batch must be a sequence of images .*put it into a list"):
        engine.predict(batch)


def test_empty_batch(engine: Engine) -> None:
    assert engine.predict([]) == []
    assert engine.embed([]).shape == (0, 128)
    assert engine.predict(np.zeros((0, 64, 64, 3), np.uint8)) == []


def test_bad_image_never_ends_a_batch(engine: Engine, photographs: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    batch = [photographs[0], empty, b"no image", photographs[1], tmp_path / "none.jpg"]
    found = engine.predict(batch)
    assert [item.error.kind if item.error else None for item in found] == [
        None,
        "empty",
        "not-an-image",
        None,
        "missing",
    ]
    assert found[3].top == engine.predict([photographs[1]])[0].top
    assert list(engine.predict_stream(batch, batch_size=2)) == found
    with pytest.raises(ImageError, match="0 bytes"):
        engine.embed([empty])


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_crop_of_nothing_is_an_image_that_cannot_be_read(engine: Engine, size: tuple[int, int]) -> None:
    whole, nothing = Image.new("RGB", (9, 9)), Image.new("RGB", size)
    found = list(engine.predict_stream(iter([whole, nothing, whole])))
    assert [item.error.kind if item.error else None for item in found] == [None, "empty", None]
    error = engine.predict([nothing])[0].error
    assert error is not None
    assert error.message == f"PIL image: {size[0]} x {size[1]} pixels, wanted at least 1 x 1; leave it out"


def test_the_path_of_a_prediction_is_the_file_s(engine: Engine, photographs: list[Path]) -> None:
    with os.scandir(photographs[0].parent) as entries:
        entry = next(one for one in entries if one.name == photographs[0].name)
    assert engine.predict([entry])[0].path == str(photographs[0])


def test_a_strip_that_cannot_be_resized_is_named(engine: Engine, tmp_path: Path) -> None:
    Image.new("L", (60_000, 1)).save(tmp_path / "strip.png")
    error = engine.predict([tmp_path / "strip.png"])[0].error
    assert error is not None
    assert error.kind == "too-large"
    assert error.message.startswith(f"{tmp_path / 'strip.png'}: 60000 x 1 pixels would become")


def test_stream_equals_predict_and_is_lazy(engine: Engine, photographs: list[Path]) -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield photographs[len(taken) % len(photographs)]

    stream = engine.predict_stream(endless(), batch_size=2)
    got = [next(stream) for _ in range(5)]
    stream.close()
    assert len(taken) < 20
    wanted = engine.predict([photographs[i % len(photographs)] for i in range(1, 6)])
    assert [item.label for item in got] == [item.label for item in wanted]


def test_result_does_not_depend_on_the_batch(engine: Engine, photographs: list[Path]) -> None:
    together = engine.predict(photographs)
    for path, item in zip(photographs, together, strict=True):
        alone = engine.predict([path])[0]
        assert alone.label == item.label
        np.testing.assert_allclose([c.score for c in alone.top], [c.score for c in item.top], atol=1e-5)


def test_top(engine: Engine, photographs: list[Path]) -> None:
    full = engine.predict(photographs[:1], top=99)[0]
    assert sorted(item.label for item in full.top) == sorted(engine.labels)
    assert sum(item.score for item in full.top) == pytest.approx(1, abs=1e-5)
    assert [item.gap for item in full.top[5:]] == [0.0] * 5
    assert engine.predict(photographs[:1], top=1)[0].top == full.top[:1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"top": 0}, "top must be a whole number, at least 1, got 0"),
        ({"top": 2.5}, "top must be a whole number, at least 1, got 2.5"),
        ({"unknown_below": 1.5}, "unknown_below must be a probability, 0 to 1, got 1.5"),
        ({"unknown_below": "0.5"}, "unknown_below must be a probability, 0 to 1, got '0.5'"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, at least 1, got 2.5"),
        ({"batch_size": None}, "batch_size must be a whole number, at least 1, got None"),
        ({"workers": "3"}, "workers must be a whole number, at least 1, got '3'"),
    ],
)
def test_wrong_options(engine: Engine, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.predict_stream([], **option)
    if option.keys().isdisjoint(("batch_size", "workers")):
        with pytest.raises(ValueError, match=message):
            engine.predict([], **option)


def test_unknown(engine: Engine, photographs: list[Path]) -> None:
    score = engine.predict(photographs[:1])[0].score
    assert score is not None
    assert [
        engine.predict(photographs[:1], unknown_below=limit)[0].unknown
        for limit in (score * 0.9, min(1.0, score * 1.1))
    ] == [False, True]


def test_stage_one_only_and_gate(tiny: Path, photographs: list[Path]) -> None:
    plain = Engine(tiny, rerank=False).predict(photographs)
    assert not any(item.reranked for item in plain)
    assert all(list(item.top) == sorted(item.top, key=lambda c: -c.score) for item in plain)
    assert not any(item.reranked for item in Engine(tiny, margin=0.0).predict(photographs))
    assert all(item.reranked for item in Engine(tiny, margin=1.0).predict(photographs))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"margin": 2.0}, "margin must be"),
        ({"threads": 0}, "threads must be"),
        ({"max_pixels": 0}, "max_pixels must be a whole number, at least 1, got 0"),
        ({"max_pixels": "a"}, "max_pixels must be a whole number, at least 1, got 'a'"),
        ({"backend": "cuda"}, "backend must be"),
    ],
)
def test_wrong_constructor_options(tiny: Path, option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(tiny, **option)


def test_whole_numbers_of_numpy(tiny: Path, photographs: list[Path]) -> None:
    (found,) = Engine(tiny, max_pixels=np.int64(10)).predict(photographs[:1])
    assert found.error is not None
    assert found.error.kind == "too-large"


def test_no_such_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such engine file"):
        Engine(tmp_path / "none.onnx")


def test_explanation_adds_up(engine: Engine, photographs: list[Path]) -> None:
    explanation = engine.explain(photographs[0])
    prediction = engine.predict([photographs[0]])[0]
    assert explanation.label == prediction.label
    for label, total in explanation.sums:
        signed = [d.gap if d.label == label else -d.gap for d in explanation.duels if label in (d.label, d.other)]
        assert sum(signed) == pytest.approx(total, abs=1e-6)
    assert f"{explanation.label}, the answer: o = " in str(explanation)
    assert explanation.hint == ""


def test_every_number_of_an_explanation_is_the_sum_of_its_texts(engine: Engine, photographs: list[Path]) -> None:
    for photograph in photographs:
        found = engine.explain(photograph, texts=99)
        assert found.reranked
        for one in found.classes:
            assert sum(part.share for part in one.parts) == pytest.approx(one.o, abs=1e-5)
            assert one.rest == pytest.approx(0, abs=1e-5)
            assert all(one.label in part.text for part in one.parts if part.kind == "attribute")
        for duel in found.duels:
            shares = sum(part.share for part in (*duel.parts, *duel.other_parts))
            assert shares + duel.rest == pytest.approx(duel.gap, abs=1e-9)
            assert duel.rest == pytest.approx(0, abs=1e-4)  # what float16 rounds off
            assert {duel.label in part.text and duel.other in part.text for part in duel.parts} == {True}


def test_an_explanation_knows_the_engines_own_switches(tiny: Path, photographs: list[Path]) -> None:
    assert Engine(tiny, rerank=False).explain(photographs[0]).no_rerank == "it is switched off"
    assert "not less than the margin 0" in Engine(tiny, margin=0.0).explain(photographs[0]).no_rerank


def test_description(engine: Engine) -> None:
    assert "ONNX Runtime" in engine.description
    assert "coder-tiny (cifar10); 10 classes, 45 pairs" in engine.description


def test_features_are_classified_as_their_images(tiny: Path, photographs: list[Path]) -> None:
    engine = Engine(tiny)
    features = engine.embed(photographs)
    by_image = engine.predict(photographs, top=3, unknown_below=0.9)
    by_features = engine.predict_features(features, top=3, unknown_below=0.9)
    assert [dataclasses.replace(prediction, path=None) for prediction in by_image] == by_features


def test_features_of_another_shape_or_length_are_refused(tiny: Path) -> None:
    engine = Engine(tiny)
    for call in (engine.predict_features, engine.stage_one):
        for features in (np.zeros((2, 3), np.float32), np.zeros(256, np.float32), np.zeros((1, 256)), [[0.5, 0.5]]):
            with pytest.raises(ValueError, match=r"features must be float32 \[B, \d+\], got"):
                call(features)
        long = np.zeros((3, engine.embed([]).shape[1]), np.float32)
        long[:, 0] = 1, 1.005, 10
        with pytest.raises(ValueError, match="features must have length 1, got 10 in row 2; divide each row"):
            call(long)
        assert len(call(long[:2])) == 2
        long[2, 0] = 1e30  # whose square no float32 holds
        with pytest.raises(ValueError, match=r"features must have length 1, got 1e\+30 in row 2"):
            call(long)
        for value in (np.nan, np.inf):
            with pytest.raises(EngineError, match="NaN"):
                call(np.full_like(long, value))


def test_another_process_opens_it_anew(
    tiny: Path, tmp_path: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.safetensors"
    shutil.copy(tiny.with_suffix(".safetensors"), other)
    update_weights(other, margin=0.5)
    monkeypatch.chdir(tiny.parent)
    engine = Engine(tiny.name, threads=1, rerank=False)
    engine.use_labels(other)
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(attrgetter("description"), engine).result() == engine.description
        assert pool.submit(engine.predict, photographs).result() == engine.predict(photographs)


def test_a_closed_engine_says_so(tiny: Path, photographs: list[Path]) -> None:
    with Engine(tiny) as engine:
        features = engine.embed(photographs[:1])
    with pytest.raises(BackendError, match="this engine was closed; open it again"):
        engine.predict(photographs)
    engine.close()
    assert len(engine.predict_features(features)) == 1  # takes no encoder


def test_one_image_at_a_time_is_answered_before_the_next_is_read(engine: Engine, photographs: list[Path]) -> None:
    read = []
    stream = engine.predict_stream((read.append(path) or path for path in photographs), batch_size=1)
    for done, _ in enumerate(stream, start=1):
        assert len(read) == done
    assert len(read) == len(photographs)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 3), (2, 4)])
def test_all_workers_decode_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, batch_size: int, workers: int
) -> None:
    together = threading.Barrier(workers, timeout=20)
    tried = engine._tried
    monkeypatch.setattr(engine, "_tried", lambda image: together.wait() < 0 or tried(image))
    black = [np.zeros((64, 64, 3), np.uint8)] * workers
    assert len(list(engine.predict_stream(black, batch_size=batch_size, workers=workers))) == workers


@pytest.mark.parametrize("workers", [0, -1])
def test_wrong_workers(engine: Engine, workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers must be a whole number, at least 1, got {workers}"):
        engine.predict_stream([], workers=workers)


def test_warm_up_prepares_the_sizes_to_come(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.device == "cpu"
    ran: list[tuple[int, ...]] = []
    encode = engine._backend.encode
    monkeypatch.setattr(engine._backend, "encode", lambda pixels: ran.append(pixels.shape) or encode(pixels))
    engine.warm_up((1, 3))
    assert ran == [(1, 64, 64, 3), (3, 64, 64, 3)]
    with pytest.raises(ValueError, match="batch sizes must be at least 1"):
        engine.warm_up((0,))
