"""coder-export --format cuda on a machine without a GPU: what is written, what is checked, what is refused and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

from coder_engine import EngineError, ModelError
from coder_engine.backends import Unavailable
from coder_engine.backends.base import is_fused, stored_precision
from coder_engine.plans.rebuild import rebuild_plan
from coder_engine.weights import load_weights
from coder_export import on_device, pipeline
from coder_export.config import ExportConfig
from coder_export.pipeline import export
from coder_export.report import Report
from helpers_plans import Turned

pytestmark = pytest.mark.usefixtures("small_vit")  # which makes the model known


def config(folder: Path, labels: Path, **options: Any) -> ExportConfig:
    plain = {"model": "small-vit", "pretrained": "random", "labels": labels, "out": folder / "m", "texts": "none"}
    return ExportConfig(**{**plain, "format": "cuda", "precision": "fp16", **options})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, labels_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    export(config(folder, labels_file), Report(quiet=True))
    return folder / "m.onnx"


def test_what_is_written(exported: Path) -> None:
    assert sorted(file.name for file in exported.parent.iterdir()) == ["m.onnx", "m.safetensors"]
    assert is_fused(exported)
    assert stored_precision(exported) == "fp16"
    fidelity = load_weights(exported.with_suffix(".safetensors")).meta.fidelity
    assert fidelity["cuda"] is None  # not run here
    assert fidelity["precision"]["precision"] == "fp16"
    assert fidelity["cosine"] > 0.99999  # in fp32, against torch


def test_it_is_told_that_it_has_not_run(tmp_path: Path, labels_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(config(tmp_path, labels_file), Report())
    assert "the engine was built, but not run: no NVIDIA driver" in capsys.readouterr().out


def test_it_is_held_against_torch_where_it_runs(
    tmp_path: Path, labels_file: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    angle = 0.1
    monkeypatch.setattr(on_device, "open_backend", lambda path, **_: Turned(exported, angle))
    with pytest.raises(ModelError, match=r"the engine does not compute what torch does: cosine 0\.99\d+, wanted at"):
        export(config(tmp_path, labels_file), Report(quiet=True))
    assert list(tmp_path.iterdir()) == []
    angle = 0.01
    export(config(tmp_path, labels_file), Report(quiet=True))
    found = load_weights(tmp_path / "m.safetensors").meta.fidelity["cuda"]
    assert found == {"cosine": pytest.approx(0.99995, abs=1e-5), "by": "a GPU"}


def test_one_that_the_runtime_does_not_load_is_not_kept(
    tmp_path: Path, labels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **_: Any) -> None:
        raise EngineError("cannot load it")

    monkeypatch.setattr(on_device, "open_backend", fail)
    with pytest.raises(EngineError, match="cannot load it"):
        export(config(tmp_path, labels_file), Report(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_a_standalone_graph_may_come_with_the_engine_that_replaces_it(labels_file: Path, exported: Path) -> None:
    options = {"format": "onnx", "precision": "fp32", "standalone": True, "out": exported.with_suffix("")}
    pipeline._check_paths(config(exported.parent, labels_file, **options), ("cat",))


def test_where_fp16_is_refused_it_is_fp32(
    tmp_path: Path, labels_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(config(tmp_path, labels_file, min_cosine=1.0), Report(quiet=True))
    assert stored_precision(tmp_path / "m.onnx") == "fp32"
    assert is_fused(tmp_path / "m.onnx")
    assert "asked for fp16, got fp32 (fp16: " in capsys.readouterr().err
    refused = load_weights(tmp_path / "m.safetensors").meta.fidelity["refused"]
    assert [one["precision"] for one in refused] == ["fp16"]  # its operators are there in no bf16


def test_towers_are_refused_before_the_texts(
    tmp_path: Path, labels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pipeline, "embed_texts")
    with pytest.raises(ModelError, match=r"^coder-tiny: --format cuda is for ViTs of plain blocks"):
        export(config(tmp_path, labels_file, model="coder-tiny", pretrained=None), Report(quiet=True))


def test_an_adapter_needs_the_gpu_before_the_texts(
    tmp_path: Path, labels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pipeline, "embed_texts")
    monkeypatch.setattr(pipeline, "find_images", lambda *_: None)
    with pytest.raises(Unavailable, match="no NVIDIA driver"):
        export(config(tmp_path, labels_file, support=tmp_path), Report(quiet=True))


def test_neither_a_standalone_graph_nor_a_plan_comes_of_it(tmp_path: Path, labels_file: Path, exported: Path) -> None:
    options = {"engine": exported, "standalone": True, "format": "onnx", "precision": "fp32"}
    with pytest.raises(EngineError, match=r"m\.onnx: made for NVIDIA GPUs .*, and a standalone graph runs anywhere"):
        export(config(tmp_path, labels_file, **options), Report(quiet=True))
    with pytest.raises(EngineError, match=r"m\.onnx: made for ONNX Runtime \(--format cuda\), no plan can be"):
        rebuild_plan(exported.with_suffix(".plan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "bf16"}, "^--format cuda is in fp16 or fp32, got --precision bf16 with it; leave one of them"),
        ({"standalone": True}, "^standalone graphs run anywhere, got --format cuda with --standalone; leave one of"),
        ({"engine": Path("e.onnx")}, r"^--format cuda builds an engine, and --engine e\.onnx reuses one; leave one"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(Path(), Path("labels.txt"), **options)
