"""Other labels for a plan that runs: when the GPU ranks by them, and what memory they take."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import pytest

from coder_engine import BackendError, Engine
from coder_engine.backends.cuda_memory import alone
from coder_engine.weights import update_weights
from helpers_engine import images
from helpers_trt import FakeEngine


@pytest.fixture
def other(plan: Path) -> Path:
    """The same texts under other labels."""
    path = plan.with_name("other.safetensors")
    path.write_bytes(plan.with_suffix(".safetensors").read_bytes())
    update_weights(path, labels=("a", "b", "c", "d"))
    return path


def test_other_labels(plan: Path, other: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    room = []
    for path in (other, plan.with_suffix(".safetensors"), other):
        found.use_labels(path)
        found.warm_up((1, 2))
        gc.collect()
        room.append(engine.cuda.room)
    assert {one.label for one in found.predict(images(8)[:2])} <= set("abcd")
    assert head.Weights.made == 4  # one copy for each time
    assert room[1] == room[2]  # those of before are gone
    assert engine.contexts == 2  # and the plan's contexts serve them all


def test_closing_lets_go_of_the_labels_too(plan: Path, engine: FakeEngine, head: Any) -> None:
    made: list[weakref.ref[Any]] = []

    class Watching(head.Weights):  # type: ignore[misc, name-defined]
        def __init__(self, *arrays: Any) -> None:
            super().__init__(*arrays)
            made.append(weakref.ref(self))

    head.Weights = Watching
    found = Engine(plan)
    assert [texts() is None for texts in made] == [False]
    found.close()
    gc.collect()
    assert [texts() is None for texts in made] == [True]
    with pytest.raises(BackendError, match="this engine was closed"):
        found.predict(images(1))


def test_until_the_labels_are_on_the_gpu_the_cpu_ranks(
    plan: Path, other: Path, engine: FakeEngine, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Engine(plan)
    go, make = Event(), head.Weights.__init__

    def slowly(self: Any, *arrays: Any) -> None:
        assert go.wait(60)
        make(self, *arrays)

    monkeypatch.setattr(head.Weights, "__init__", slowly)
    found.embed(images(5))  # a first run would wait for the copy
    found.use_labels(other)
    made = head.Head.made
    assert "; head on the CPU until its texts are on the GPU" in found.description
    early = found.predict(images(5))
    assert head.Head.made == made
    go.set()
    found.warm_up()
    assert "; head on the GPU" in found.description
    late = found.predict(images(5))
    assert head.Head.made == made + 1
    assert [one.label for one in early] == [one.label for one in late]


def test_labels_make_room_before_others_come(plan: Path, other: Path, engine: FakeEngine, head: Any) -> None:
    found = Engine(plan)
    room = []

    class Watching(head.Weights):  # type: ignore[misc, name-defined]
        def __init__(self, *arrays: Any) -> None:
            room.append(engine.cuda.room)
            super().__init__(*arrays)

    before = engine.cuda.room
    head.Weights = Watching
    found.use_labels(other)
    found.warm_up()
    assert room == [before + 1000 + 100]  # the old texts and the buffers of their head are gone


def test_old_labels_are_freed_beside_the_caller(plan: Path, other: Path, engine: FakeEngine, head: Any) -> None:
    """Freeing waits for the device, and may not be while another thread captures."""
    freed: list[tuple[bool, bool]] = []

    class Watching(head.Weights):  # type: ignore[misc, name-defined]
        def __del__(self) -> None:
            freed.append((current_thread() is main_thread(), alone._is_owned()))  # type: ignore[attr-defined]
            super().__del__()

    head.Weights = Watching
    found = Engine(plan)
    found.predict(images(1))
    found.use_labels(other)
    found.warm_up()
    assert freed == [(False, True)]
