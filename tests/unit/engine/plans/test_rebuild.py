"""Plans built anew from the .onnx beside them: for real, by TensorRT-RTX, on a machine without a GPU."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import EngineError, WeightsError
from coder_engine.files import sha256_of
from coder_engine.plans import rebuild as module
from coder_engine.plans.rebuild import rebuild_plan
from coder_engine.weights import check_belongs, load_weights, update_weights
from helpers_engine import write
from helpers_plans import write_weights

pytestmark = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx"
)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Where a plan would be: its graph and its weight file are there."""
    graph = write(tmp_path / "m.onnx")
    write_weights(tmp_path / "m.safetensors", graph)
    return tmp_path / "m.plan"


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_the_first_plan_of_a_machine(plan: Path) -> None:
    told: list[float] = []
    record = rebuild_plan(plan, progress=lambda done, phase: told.append(done))
    found = load_weights(plan.with_suffix(".safetensors"))
    assert found.meta.plans == {"m.plan": record.to_json()}
    assert found.meta.fidelity["plan"] is None
    assert (record.precision, record.max_batch) == ("fp16", 64)
    assert record.onnx_sha256 == found.meta.engine_files["m.onnx"] == sha256_of(plan.with_suffix(".onnx"))
    assert found.meta.engine_files["m.plan"] == sha256_of(plan)
    check_belongs(plan, found)
    assert told
    assert files(plan.parent) == {"m.onnx", "m.plan", "m.safetensors"}


def test_a_plan_that_does_not_fit(plan: Path) -> None:
    record = rebuild_plan(plan)
    foreign = {**record.to_json(), "library": "tensorrt", "version": "9.0", "gpu": "other", "max_batch": 3}
    update_weights(plan.with_suffix(".safetensors"), plans={"m.plan": foreign, "n.plan": foreign})
    anew = rebuild_plan(plan)
    assert anew == replace(record, max_batch=3)  # the batch somebody chose stays
    assert load_weights(plan.with_suffix(".safetensors")).meta.plans == {"m.plan": anew.to_json(), "n.plan": foreign}


def test_another_weight_file_and_the_one_beside(plan: Path) -> None:
    other = write_weights(plan.parent / "other.safetensors", plan.with_suffix(".onnx"))
    rebuild_plan(plan, weights=other)
    for path in (other, plan.with_suffix(".safetensors")):
        check_belongs(plan, load_weights(path))
    plan.with_suffix(".safetensors").unlink()
    rebuild_plan(plan, weights=other)
    assert files(plan.parent) == {"m.onnx", "m.plan", "other.safetensors"}


def test_an_edited_graph(plan: Path) -> None:
    graph = write(plan.with_suffix(".onnx"), scale=1.01)
    wanted = r"m\.onnx \(sha256 .*\) and .*m\.safetensors \(made for m\.onnx .*\) do not belong together"
    with pytest.raises(EngineError, match=wanted):
        rebuild_plan(plan)
    assert files(plan.parent) == {"m.onnx", "m.safetensors"}
    graph.unlink()
    with pytest.raises(
        EngineError, match=r"m\.onnx: no such file; a plan is rebuilt from the \.onnx that coder-export"
    ):
        rebuild_plan(plan)


def test_no_plan_asked_for(plan: Path) -> None:
    with pytest.raises(EngineError, match=r"m\.onnx: only plans are rebuilt, got \.onnx; m\.onnx is run as it is"):
        rebuild_plan(plan.with_suffix(".onnx"))


def test_no_weight_file(plan: Path) -> None:
    plan.with_suffix(".safetensors").unlink()
    with pytest.raises(WeightsError, match="no such weight file"):
        rebuild_plan(plan)


def test_a_build_or_an_update_that_fails_changes_nothing(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuild_plan(plan)
    before = {file.name: file.read_bytes() for file in plan.parent.iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise WeightsError("disk full")

    for name in ("build_plan", "update_weights"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(WeightsError, match="disk full"):
                rebuild_plan(plan)
        assert {file.name: file.read_bytes() for file in plan.parent.iterdir()} == before


def test_a_plan_that_cannot_be_moved_leaves_its_weight_files(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_weights(plan.parent / "other.safetensors", plan.with_suffix(".onnx"))
    before = {file.name: file.read_bytes() for file in plan.parent.iterdir()}
    record, real = rebuild_plan(plan), Path.replace
    for name, data in before.items():
        (plan.parent / name).write_bytes(data)
    plan.unlink()

    def build(graph: Path, scratch: Path, **_: Any) -> Any:
        scratch.write_bytes(b"a plan")
        return record

    def fails(self: Path, target: Path) -> Path:
        if Path(target).name == plan.name:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(module, "build_plan", build)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(
            EngineError, match=r"m\.plan: cannot be written with its weight file \(Input/output error\)"
        ):
            rebuild_plan(plan, weights=other)
    assert {file.name: file.read_bytes() for file in plan.parent.iterdir()} == before
    rebuild_plan(plan, weights=other)
    assert files(plan.parent) == {*before, "m.plan"}
    for path in (other, plan.with_suffix(".safetensors")):
        check_belongs(plan, load_weights(path))


def test_a_full_disk(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "build_plan", full)
    with pytest.raises(
        EngineError, match=r"m\.plan: cannot be written with its weight file \(No space left on device\); free"
    ):
        rebuild_plan(plan)
    assert files(plan.parent) == {"m.onnx", "m.safetensors"}
