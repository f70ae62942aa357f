"""Files that an export would write over: those it reads, those of others, those of another engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip")

from safetensors.numpy import save_file

from coder_engine import ModelError, WeightsError
from coder_engine.weights import FORMAT_VERSION, load_weights, update_weights
from coder_export import tiny
from coder_export.config import ExportConfig
from coder_export.pipeline import export
from coder_export.report import Report
from coder_export.targets import check_targets, left_behind


def config(tmp_path: Path, **options: object) -> ExportConfig:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    return ExportConfig(**{"model": "coder-tiny", "labels": labels, "out": tmp_path / "model", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["checkpoint", "pretrained"])
def test_a_checkpoint_of_the_weight_files_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = Path("model.safetensors")
    shutil.copy(tiny.WEIGHTS, weights)
    before = weights.read_bytes()
    given = weights if option == "checkpoint" else str(weights)
    with pytest.raises(
        ModelError, match=r"model\.safetensors: would replace what it is made from; choose another --out"
    ):
        export(config(tmp_path, **{option: given}), Report(quiet=True))
    assert weights.read_bytes() == before


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.plan", "model.standalone.onnx"])
def test_files_of_other_programs_stay(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    options = {"format": "plan"} if name.endswith("plan") else {"standalone": True}
    if not name.endswith("safetensors"):
        path.write_bytes(b"\x08\x07 somebody else's")
    else:
        save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ModelError, match=rf"{name}: is there, and no whole file of coder-export; move it"):
        check_targets(config(tmp_path, **options))
    path.write_bytes(b"")  # holds nothing
    check_targets(config(tmp_path, **options))
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match=rf"{name}: is a folder where a file is to be written; choose another --out"):
        check_targets(config(tmp_path, **options))


def test_ones_own_files_are_replaced(tiny: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"model{suffix}")
    check_targets(config(tmp_path))


def test_an_export_writes_over_its_own_weight_file_only(tiny: Path, tmp_path: Path) -> None:
    export(config(tmp_path, engine=tiny), Report(quiet=True))
    before = (tmp_path / "model.safetensors").read_bytes()
    wanted = (
        r"model\.safetensors: is the weight file of tiny\.onnx, and would be made for .*model\.onnx; choose another"
    )
    with pytest.raises(ModelError, match=wanted):
        export(config(tmp_path), Report(quiet=True))
    assert (tmp_path / "model.safetensors").read_bytes() == before
    shutil.copy(tiny, tmp_path / "model.onnx")  # renamed together
    check_targets(config(tmp_path))
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "tiny.safetensors").write_bytes(before)
    for options in ({}, {"precision": "fp16"}, {"format": "plan", "precision": "fp16"}, {"format": "cuda"}):
        check_targets(config(tmp_path, out=tmp_path / "tiny", **options))  # the engine's own name


def test_a_weight_file_that_no_engine_can_open_is_replaced(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole = tiny.with_suffix(".safetensors").read_bytes()
    path.write_bytes(whole.replace(f'"format_version":"{FORMAT_VERSION}"'.encode(), b'"format_version":"9"'))
    with pytest.raises(WeightsError, match="9"):
        load_weights(path)
    check_targets(config(tmp_path))


def test_weights_outside_the_graph_of_an_earlier_export_are_told(tiny: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"model{suffix}")
    data = tmp_path / "model.onnx.data"
    assert left_behind(config(tmp_path)) == []
    data.write_bytes(b"of a larger model")
    told = f"{data} is older than this export, and the new engine does not read it; delete it"
    assert left_behind(config(tmp_path)) == [told]
    assert left_behind(config(tmp_path, engine=tiny)) == []
    update_weights(tmp_path / "model.safetensors", engine_files={"model.onnx": "0", data.name: "1"})
    assert left_behind(config(tmp_path)) == []


def test_files_of_an_earlier_export_are_told(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, plan = tmp_path / "model.standalone.onnx", tmp_path / "model.plan"
    export(config(tmp_path, engine=tiny, standalone=True), Report(quiet=True))
    assert capsys.readouterr().err == ""
    export(config(tmp_path, engine=tiny), Report(quiet=True))
    standalone = f"{graph} is of an earlier export and keeps its labels; delete it, or export with --standalone"
    assert capsys.readouterr().err == f"warning: {standalone}\n"
    plan.write_bytes(b"a plan")
    assert left_behind(config(tmp_path)) == [
        standalone,
        f"{plan} is older than this export, and the new weight file is not for it; "
        "delete it, or export with --format plan",
    ]
    assert left_behind(config(tmp_path, format="plan", precision="fp16")) == [standalone]
    graph.write_bytes(b"somebody else's")
    plan.unlink()
    assert left_behind(config(tmp_path)) == []


def test_the_weight_file_of_another_engine_stays(tiny: Path, tmp_path: Path) -> None:
    for stem in ("birds", "model"):
        for suffix in (".onnx", ".safetensors"):
            shutil.copy(tiny.with_suffix(suffix), tmp_path / f"{stem}{suffix}")
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"\0")  # another engine
    with pytest.raises(
        ModelError, match=r"model\.safetensors: is the weight file of .*model\.onnx, and would be made for"
    ):
        export(config(tmp_path, engine=tmp_path / "birds.onnx"), Report(quiet=True))
    (tmp_path / "finches.safetensors").symlink_to("model.safetensors")
    with pytest.raises(ModelError, match=r"finches\.safetensors: is the weight file of .*model\.onnx, and would"):
        check_targets(config(tmp_path, engine=tmp_path / "birds.onnx", out=tmp_path / "finches"))
    shutil.copy(tmp_path / "birds.onnx", tmp_path / "model.onnx")  # the same engine by another name
    check_targets(config(tmp_path, engine=tmp_path / "birds.onnx"))
