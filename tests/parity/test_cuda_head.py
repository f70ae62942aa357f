"""The CUDA head against the oracle, as the CPU kernels are held in ``test_kernels_oracle``; needs a GPU.

Features are of unit length here, since the CUDA head divides each by its length. On the grid that means rows of one
1 or of four halves: sums stay exact, and ids, logits, gaps and duels must equal the oracle's to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from numpy.typing import NDArray

from helpers_cuda import Stream, require_cuda
from parity.cases import Case, cases, grid_case, kinds, one_to_one, unit_rows
from parity.collapsed import Collapsed, collapse
from parity.compare import Answer, blank, check_exactly, check_image

_cuda = require_cuda()
examples = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
everywhere = pytest.mark.parametrize("pairs", ["device", "host"])


@pytest.fixture(scope="module")
def stream() -> Iterator[Stream]:
    found = Stream()
    yield found
    found.close()


def read(head: Any, case: Case) -> Answer:
    answer = blank(case, 0)  # the coder stays on the device
    outputs = {name: buffer for name, buffer in answer._asdict().items() if name not in ("coder", "logits")}
    head.results(len(case.features), case.places, **outputs)
    head.logits(len(case.features), answer.logits)
    return answer


def enqueue(head: Any, case: Case, features: int, stream: Stream) -> None:
    switches = {
        "scale": case.scale,
        "temperature": case.temperature,
        "margin": case.margin,
        "rerank": case.rerank,
        "top": case.places,
    }
    head.enqueue(features, len(case.features), stream.handle, **switches)


def run(case: Case, weights: Collapsed, stream: Stream, pairs: str = "auto") -> Answer:
    head = _cuda.Head(_cuda.Weights(*weights.arguments(), pairs=pairs), max_batch=max(1, len(case.features)))
    enqueue(head, case, stream.put(case.features), stream)
    stream.wait()
    return read(head, case)


def unit_grid(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Rows of one +-1, or of four +-1/2 where they fit: [count, width]."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, width), np.float32)
    for row in rows:
        places = 4 if width >= 4 and rng.random() < 0.7 else 1
        row[rng.choice(width, places, replace=False)] = rng.choice([-1.0, 1.0], places) / np.sqrt(places)
    return rows


def on_grid(case: Case, seed: int = 0) -> Case:
    return replace(case, features=unit_grid(*case.features.shape, seed))


@everywhere
@examples
@given(case=cases(dyadic=False))
def test_random_features(stream: Stream, pairs: str, case: Case) -> None:
    weights = collapse(case.class_texts, case.pairs, case.layout)
    answer = run(case, weights, stream, pairs)
    near = sum(check_image(case, weights, answer, i) for i in range(len(case.features)))
    event("ids differ at a near tie" if near else "ids equal")


@everywhere
@examples
@given(case=cases(dyadic=True))
def test_exact_grids(stream: Stream, pairs: str, case: Case) -> None:
    case = on_grid(case)
    check_exactly(case, run(case, collapse(case.class_texts, case.pairs, case.layout), stream, pairs))


@pytest.mark.parametrize("layout", ["sparse", "dense"])
@pytest.mark.parametrize("mode", ["all", "one-sided", "none"])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6])
def test_few_classes(stream: Stream, classes: int, mode: str, layout: str) -> None:
    case = on_grid(grid_case(classes, 9, mode, seed=classes, layout=layout))
    check_exactly(case, run(case, collapse(case.class_texts, case.pairs, layout), stream))


def random_case(images: int, width: int = 64, classes: int = 12) -> Case:
    rng = np.random.default_rng(4)
    return Case(
        features=unit_rows(rng, images, width).astype(np.float32),
        class_texts=[kinds(rng, unit_rows, width, dyadic=False) for _ in range(classes)],
        pairs=one_to_one(rng, unit_rows, classes, width, "all"),
        places=classes,
    )


@pytest.mark.parametrize("width", [64, 520])
def test_an_image_has_the_same_answer_alone_and_in_a_batch(stream: Stream, width: int) -> None:
    case = random_case(40, width)
    weights = collapse(case.class_texts, case.pairs, "dense")
    together = run(case, weights, stream)
    for count in (1, 8, 9):
        part = run(replace(case, features=case.features[40 - count :]), weights, stream)
        for name, buffer in part._asdict().items():
            np.testing.assert_array_equal(getattr(together, name)[40 - count :], buffer, err_msg=name)


def test_near_ties_are_rare(stream: Stream) -> None:
    case = random_case(300)
    weights = collapse(case.class_texts, case.pairs, "dense")
    answer = run(case, weights, stream)
    differ = sum(check_image(case, weights, answer, i) for i in range(300))
    assert differ <= 6, f"{differ} of 300 images differ from the oracle at near ties"


@pytest.mark.parametrize("margin", [-1.0, 0.0, 0.01, 0.05, 2.0, float("inf")])
def test_gate(stream: Stream, margin: float) -> None:
    case = on_grid(grid_case(6, 9, "all", seed=4, scale=0.1, margin=margin))
    check_exactly(case, run(case, collapse(case.class_texts, case.pairs, "sparse"), stream))


def test_no_images(stream: Stream) -> None:
    case = grid_case(7, 0, "all", seed=0)
    assert run(case, collapse(case.class_texts, case.pairs, "sparse"), stream).ids.shape == (0, 7)


@pytest.mark.parametrize("images", [1, 20])
def test_a_graph_ranks_what_the_features_then_hold(stream: Stream, images: int) -> None:
    case = random_case(2 * images)
    first, second = (replace(case, features=half) for half in np.split(case.features, 2))
    weights = collapse(case.class_texts, case.pairs, "dense")
    wanted = run(second, weights, stream)
    head = _cuda.Head(_cuda.Weights(*weights.arguments()), max_batch=images)
    features = stream.put(first.features)
    graph = stream.record(lambda: enqueue(head, first, features, stream))
    for features_now in (first, second):
        stream.put(features_now.features, at=features)
        stream.launch(graph)
        stream.wait()
    for name, buffer in read(head, second)._asdict().items():
        np.testing.assert_array_equal(buffer, getattr(wanted, name), err_msg=name)


def test_the_first_bad_image_is_named(stream: Stream) -> None:
    case = random_case(9)
    case.features[[3, 7], 5] = np.nan
    weights = collapse(case.class_texts, case.pairs, "dense")
    with pytest.raises(RuntimeError, match=r"image row 3 cannot be ranked: its feature holds a NaN"):
        run(case, weights, stream)
    case.features[3] = 0.5
    with pytest.raises(RuntimeError, match=r"image row 3 cannot be ranked: its feature has length 4, wanted 1"):
        run(case, weights, stream)


def test_refusals(stream: Stream) -> None:
    case = random_case(3)
    weights = collapse(case.class_texts, case.pairs, "dense")
    there = _cuda.Weights(*weights.arguments())
    assert (there.classes, there.width, there.pairs_on) == (12, 64, "device")
    assert there.classes + there.names == len(weights.bank)
    head = _cuda.Head(there, max_batch=3)
    assert head.max_batch == 3
    with pytest.raises(ValueError, match=r"features must be an address of device memory"):
        enqueue(head, case, case.features.ctypes.data, stream)
    with pytest.raises(ValueError, match=r"batch must be from 0 to max_batch = 3, got 4"):
        enqueue(head, random_case(4), stream.put(case.features), stream)
    with pytest.raises(ValueError, match=r"last call ranked 0 images with n = 0, asked for 3 with n = 12"):
        read(head, case)
    with pytest.raises(ValueError, match=r"pairs must be 'auto', 'device' or 'host', got 'disk'"):
        _cuda.Weights(*weights.arguments(), pairs="disk")


def test_too_large_a_batch_says_so() -> None:
    classes = 400_000  # coder rows of 65,536 images would take 210 GB
    offsets, weight = np.arange(classes + 1, dtype=np.int32), np.ones(classes, np.float32)
    there = _cuda.Weights(np.ones((2 * classes, 1), np.float32), offsets, weight, None, None, None)
    with pytest.raises(RuntimeError, match=r"out of memory .*; use a smaller max_batch"):
        _cuda.Head(there, max_batch=65536)


@pytest.mark.parametrize("max_batch", [0, 65537])
def test_a_number_of_images_out_of_range(max_batch: int) -> None:
    there = _cuda.Weights(*collapse(random_case(3).class_texts, {}, "none").arguments())
    with pytest.raises(ValueError, match="max_batch must be from 1 to 65536"):
        _cuda.Head(there, max_batch=max_batch)


def test_heads_share_their_weights(stream: Stream) -> None:
    case = random_case(20)
    weights = collapse(case.class_texts, case.pairs, "dense")
    there = _cuda.Weights(*weights.arguments())
    heads = [_cuda.Head(there, max_batch=20) for _ in range(2)]
    del there
    wanted = run(case, weights, stream)
    features = stream.put(case.features)
    for head in heads:
        enqueue(head, case, features, stream)
    stream.wait()
    for head in heads:
        np.testing.assert_array_equal(read(head, case).ids, wanted.ids)
