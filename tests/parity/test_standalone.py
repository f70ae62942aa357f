"""The standalone graph against the kernels on drawn label sets, against the Engine on images, and from JavaScript."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("open_clip")

from coder_engine import Engine  # noqa: E402
from coder_engine.head import Head, Ranking  # noqa: E402
from coder_engine.images import read_rgb  # noqa: E402
from coder_engine.weightfile.metadata import Metadata  # noqa: E402
from coder_engine.weights import Weights, load_weights  # noqa: E402
from coder_export.report import Report  # noqa: E402
from coder_export.standalone import build_standalone, export_standalone  # noqa: E402
from coder_export.standalone_check import TOLERANCE, difference  # noqa: E402
from parity.cases import Case, cases, grid_case, unit_rows  # noqa: E402
from parity.collapsed import Collapsed, collapse  # noqa: E402

OUTPUTS = ["ids", "scores", "gaps"]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "standalone.mjs"
PREPROCESS = {"size": [1, 1], "interpolation": "bicubic", "resize_mode": "squash", "fill": 0}


# Drawn label sets: the image tower is one that reads numbers from pixels, so that any feature can be sent in.


def number_tower(width: int) -> onnx.ModelProto:
    """An engine whose features are its pixels' 24 bits as fixed-point numbers from -2 to 2: [B, 1, D, 3] -> [B, D]."""
    text = f"""
    <ir_version: 10, opset_import: ["": 18]>
    engine (uint8[batch,1,{width},3] pixels, float[rows,{width}] bank)
        => (float[batch,{width}] features, float[batch,rows] coder)
    <float[3] places = {{65536, 256, 1}}, float middle = {{8388608}}, float step = {{2.384185791015625e-07}},
     int64[2] axes = {{1, 3}}> {{
        numbers = Cast <to = 1> (pixels)
        placed = Mul (numbers, places)
        whole = ReduceSum <keepdims = 0> (placed, axes)
        centred = Sub (whole, middle)
        features = Mul (centred, step)
        columns = Transpose <perm = [1, 0]> (bank)
        coder = MatMul (features, columns)
    }}
    """
    model = onnx.parser.parse_model(text)
    onnx.helper.set_model_props(model, {"coder.tower": "numbers"})
    return model


def as_pixels(features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What ``number_tower`` reads as ``features``, rounded to its step."""
    whole = np.rint(features.astype(np.float64) * 2**22).astype(np.int64) + 2**23
    return np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=-1).astype(np.uint8)[:, None]


def weights_of(
    texts: Collapsed, *, scale: float = 100.0, temperature: float = 1.0, margin: float | None = None
) -> Weights:
    meta = Metadata(
        labels=tuple(f"class {i}" for i in range(len(texts.name_weight))),
        model="numbers",
        pretrained="none",
        tower="numbers",
        preprocess=PREPROCESS,
        logit_scale=scale,
        temperature=temperature,
        margin=margin,
    )
    return Weights(path=Path("drawn.safetensors"), meta=meta, **texts.__dict__)


def answers(
    weights: Weights, features: NDArray[np.float32], *, optimised: bool = True
) -> tuple[Ranking, list[NDArray[Any]]]:
    """The kernels' answer and the graph's, to the same numbers."""
    model = build_standalone(number_tower(weights.width), weights)
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = as_pixels(features)
    rounded = ((pixels.astype(np.int64) @ [65536, 256, 1])[:, 0] - 2**23).astype(np.float32) * np.float32(2**-22)
    ranking = Head(weights).rank(rounded, margin=weights.meta.margin)
    return ranking, session.run(OUTPUTS, {"pixels": pixels})


def check(weights: Weights, features: NDArray[np.float32]) -> int:
    """Hold every image's answer against the kernels'; returns how many near ties fell otherwise."""
    ranking, found = answers(weights, features)
    for image, answer in enumerate(zip(*found, strict=True)):
        assert difference(ranking, image, *answer) is None
    return int((found[0] != ranking.ids).any(axis=1).sum())


def drawn(case: Case) -> Weights:
    margin = None if case.margin < 0 else min(case.margin, 1.0)  # more, a weight file may not say
    texts = collapse(case.class_texts, case.pairs, case.layout)
    return weights_of(texts, scale=case.scale, temperature=case.temperature, margin=margin)


@settings(max_examples=60, deadline=None)
@given(case=cases(dyadic=False))
def test_random_texts(case: Case) -> None:
    if len(case.features):
        check(drawn(case), case.features)


@settings(max_examples=100, deadline=None)
@given(case=cases(dyadic=True))
def test_ties_fall_as_in_the_kernels(case: Case) -> None:
    # Coordinates are drawn up to 1 and sums are exact: whatever ties, ties on both sides.
    if not len(case.features):
        return
    ranking, (ids, scores, gaps) = answers(drawn(case), case.features)
    np.testing.assert_array_equal(ids, ranking.ids)
    np.testing.assert_array_equal(gaps, ranking.gaps)
    np.testing.assert_allclose(scores, ranking.scores, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layout", ["sparse", "dense", "none"])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6])
def test_few_classes(classes: int, layout: str) -> None:
    case = grid_case(classes, 9, "all", seed=classes, layout=layout)
    ranking, (ids, scores, gaps) = answers(drawn(case), case.features)
    assert ids.shape == scores.shape == gaps.shape == (9, min(5, classes))
    assert (ids.dtype, scores.dtype, gaps.dtype) == (np.int64, np.float32, np.float32)
    np.testing.assert_array_equal(ids, ranking.ids)
    np.testing.assert_array_equal(gaps, ranking.gaps)


def random_texts(classes: int, width: int, *, pairs: int | None, names: int, seed: int = 0) -> Collapsed:
    """A random label set: 1 to ``names`` names a class, all pairs (None) or so many of them."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, names + 1, classes)
    possible = classes * (classes - 1) // 2
    starts = others = None
    if pairs is not None:
        lower, higher = np.triu_indices(classes, 1)
        chosen = np.sort(rng.choice(possible, pairs, replace=False))
        starts = np.searchsorted(lower[chosen], np.arange(classes + 1)).astype(np.int64)
        others = higher[chosen].astype(np.int32)
    return Collapsed(
        bank=unit_rows(rng, classes + int(counts.sum()), width).astype(np.float32),
        name_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        name_weight=rng.uniform(0.1, 1, classes).astype(np.float32),
        pair_rows=unit_rows(rng, possible if pairs is None else pairs, width).astype(np.float16),
        pair_starts=starts,
        pair_others=others,
    )


@pytest.mark.parametrize(
    ("classes", "pairs", "names"),
    [(1000, None, 1), (1000, 15_000, 3), (300, 40_000, 1), (60, 1, 40), (60, 1769, 2), (60, 0, 2)],
)
def test_many_classes_names_and_pairs(classes: int, pairs: int | None, names: int) -> None:
    features = unit_rows(np.random.default_rng(1), 64, 64).astype(np.float32)
    weights = weights_of(random_texts(classes, 64, pairs=pairs, names=names))
    assert check(weights, features) == 0
    assert check(weights, features[:1]) == 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.02, 0.3, 1.0])
def test_margin_gates_the_same_images(margin: float, temperature: float) -> None:
    features = unit_rows(np.random.default_rng(2), 200, 16).astype(np.float32)
    weights = weights_of(random_texts(40, 16, pairs=None, names=2), scale=14.0, margin=margin, temperature=temperature)
    ranking, (_, _, gaps) = answers(weights, features)
    assert len(set(ranking.reranked.tolist())) == (2 if 0 < margin < 1 else 1)
    np.testing.assert_array_equal((gaps != 0).any(axis=1), ranking.reranked)
    assert check(weights, features) == 0


def test_margin_of_1_at_a_softmax_that_saturates() -> None:
    """The kernels take the lead in float64, where 1 - 1e-10 is below 1; in float32 it is not."""
    features = unit_rows(np.random.default_rng(2), 200, 16).astype(np.float32)
    weights = weights_of(random_texts(40, 16, pairs=None, names=2), scale=300.0, margin=1.0)
    ranking, (_, _, gaps) = answers(weights, features)
    assert (ranking.scores[ranking.reranked][:, 0] == 1).any()
    assert not ranking.reranked.all()
    np.testing.assert_array_equal((gaps != 0).any(axis=1), ranking.reranked)


@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("width", [17, 768])
def test_classes_with_equal_texts_tie_at_any_place(width: int, batch: int, optimised: bool) -> None:
    """A matmul may round equal columns differently: ONNX Runtime's does, where the bank is not laid out in advance."""
    rng = np.random.default_rng(3)
    classes, twins = 37, 18
    own = unit_rows(rng, classes - twins, width).astype(np.float32)
    own = np.concatenate([own, own[rng.permutation(classes - twins)[:twins]]])
    texts = Collapsed(
        bank=np.concatenate([own / 2, own]),
        name_offsets=np.arange(classes + 1, dtype=np.int32),
        name_weight=np.ones(classes, np.float32),
        pair_rows=None,
        pair_starts=None,
        pair_others=None,
    )
    features = own[rng.integers(classes - twins, classes, batch)] + rng.normal(0, 0.5 / width**0.5, (batch, width))
    ranking, (ids, _, _) = answers(weights_of(texts), features.astype(np.float32), optimised=optimised)
    best = np.take_along_axis(ranking.logits, ids[:, :2], axis=1)
    assert (best[:, 0] == best[:, 1]).all()
    np.testing.assert_array_equal(ids, ranking.ids)


# Real images, through coder-tiny.


@pytest.fixture(scope="module")
def graph(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("standalone") / "tiny.standalone.onnx"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    export_standalone(tiny, tiny.with_suffix(".safetensors"), path, pixels, Report(quiet=True))
    return path


def pixels_of(engine: Engine, paths: list[Path]) -> NDArray[np.uint8]:
    return np.stack([engine.preprocess(read_rgb(path)) for path in paths])


def hold_against_engine(graph: Path, tiny: Path, paths: list[Path], batch: int) -> tuple[int, float]:
    """How many ids differ at near ties, and the largest difference of a score or a gap."""
    engine = Engine(tiny, backend="onnxruntime", threads=1)
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    pixels = pixels_of(engine, paths)
    ranking = Head(load_weights(tiny.with_suffix(".safetensors"))).rank(engine.embed(pixels))
    parts = [session.run(OUTPUTS, {"pixels": pixels[i : i + batch]}) for i in range(0, len(pixels), batch)]
    ids, scores, gaps = map(np.concatenate, zip(*parts, strict=True))
    for image in range(len(pixels)):
        assert difference(ranking, image, ids[image], scores[image], gaps[image]) is None, paths[image]
    predictions = engine.predict(list(pixels))
    same = [
        (engine.labels[i], pytest.approx(score, abs=TOLERANCE))
        for i, score in zip(ids[:, 0], scores[:, 0], strict=True)
    ]
    near = int((ids != ranking.ids).any(axis=1).sum())
    assert near or [(item.label, item.score) for item in predictions] == same
    worst = max(np.abs(scores - ranking.scores).max(), np.abs(gaps - ranking.gaps).max())
    return near, float(worst)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_photographs(graph: Path, tiny: Path, photographs: list[Path], batch: int) -> None:
    near, worst = hold_against_engine(graph, tiny, photographs, batch)
    assert near == 0
    assert worst <= TOLERANCE


def test_labelled_images(graph: Path, tiny: Path, cifar_test: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(cifar_test.rglob("*.jpg"))
    near, worst = hold_against_engine(graph, tiny, paths, 64)
    with capsys.disabled():
        print(f" {len(paths)} images, {near} near ties, scores and gaps differ by at most {worst:.1e}", end="")
    assert near <= len(paths) // 500


# From another language.


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs the example in a folder with its packages: (graph, image) -> what it printed."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("the JavaScript example needs node and npm, which are not both installed")
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copy(EXAMPLE, folder)
    install = "npm install --ignore-scripts --no-audit --no-fund --fetch-retries=0 onnxruntime-node sharp"
    try:
        done = subprocess.run(install.split(), cwd=folder, capture_output=True, text=True, timeout=120)
        told = [line for line in done.stderr.splitlines() if "error" in line]
        reason = " ".join(told)[:200] or "no reason told" if done.returncode else ""
    except subprocess.TimeoutExpired:
        reason = "no answer within two minutes"
    if reason:
        shutil.rmtree(folder)
        pytest.skip(f"the JavaScript example's packages cannot be installed: {reason}")

    def run(graph: Path, image: Path) -> Any:
        command = ["node", EXAMPLE.name, os.fspath(graph), os.fspath(image)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run
    shutil.rmtree(folder)  # 300 MB, which pytest would keep


def test_javascript_gives_the_engines_answer(
    javascript: Any, graph: Path, tiny: Path, photographs: list[Path], tmp_path: Path
) -> None:
    engine = Engine(tiny, backend="onnxruntime", threads=1)
    for i, pixels in enumerate(pixels_of(engine, photographs[:2])):
        path = tmp_path / f"{i}.png"
        Image.fromarray(pixels).save(path)
        said, wanted = javascript(graph, path), engine.predict([pixels])[0]
        assert said["path"] == str(path)
        assert [item["label"] for item in said["top"]] == [item.label for item in wanted.top]
        numbers = [(item["score"], item["gap"]) for item in said["top"]]
        np.testing.assert_allclose(numbers, [(item.score, item.gap) for item in wanted.top], rtol=0, atol=TOLERANCE)


def test_javascript_resizes_photographs(javascript: Any, graph: Path, tiny: Path, photographs: list[Path]) -> None:
    engine = Engine(tiny, backend="onnxruntime", threads=1)
    for path in photographs[:3]:
        said, wanted = javascript(graph, path), engine.predict([path])[0]
        assert said["label"] == wanted.label
        assert said["score"] == pytest.approx(wanted.score, abs=0.05)
