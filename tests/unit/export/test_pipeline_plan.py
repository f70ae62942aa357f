"""coder-export --format plan, with TensorRT-RTX: three files or none, typed as asked, recorded."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

import onnx

from coder_engine.errors import BackendError, EngineError, ModelError
from coder_engine.files import sha256_of
from coder_engine.plans.build import parse
from coder_engine.plans.library import Log, open_library
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import check_belongs, load_weights
from coder_export import on_device, pipeline, plan
from coder_export.cli import _config, _parser, main
from coder_export.config import ExportConfig
from coder_export.pipeline import export
from coder_export.precision import typed_copy
from coder_export.report import Report
from helpers_plans import Turned

pytestmark = pytest.mark.skipif(
    not find_spec("tensorrt_rtx"), reason="tensorrt_rtx is not installed: pip install tensorrt-rtx"
)


def config(folder: Path, labels: Path, **options: Any) -> ExportConfig:
    plain = {"model": "coder-tiny", "labels": labels, "out": folder / "m.5", "format": "plan", "trt": "tensorrt_rtx"}
    return ExportConfig(**{**plain, "precision": "fp16", "max_batch": 4, "texts": "none", **options})


@pytest.fixture
def exported(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of coder-tiny as it was exported before, which saves most of the time of an export."""

    def written(graph: Any, path: Path, **_: Any) -> list[Path]:
        shutil.copy(tiny, path)
        return [path]

    monkeypatch.setattr(pipeline, "export_onnx", written)


@pytest.mark.usefixtures("exported")
def test_three_files_that_belong_together(
    tmp_path: Path, labels_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(config(tmp_path, labels_file), Report())
    names = {"m.5.onnx", "m.5.plan", "m.5.safetensors"}
    assert {file.name for file in tmp_path.iterdir()} == names
    built, graph = tmp_path / "m.5.plan", tmp_path / "m.5.onnx"
    weights = load_weights(tmp_path / "m.5.safetensors")
    assert weights.meta.engine_files == {file.name: sha256_of(file) for file in (graph, built)}
    check_belongs(built, weights)
    assert weights.meta.plans == {
        "m.5.plan": {
            "library": "tensorrt_rtx",
            "version": open_library("tensorrt_rtx").__version__,
            "gpu": None,
            "compute_capability": None,
            "max_batch": 4,
            "precision": "fp16",
            "onnx_sha256": sha256_of(graph),
        }
    }
    said = capsys.readouterr().out
    assert "built by TensorRT-RTX" in said
    assert ("the plan was built, but not run: " in said) == (weights.meta.fidelity["plan"] is None)
    assert f"next: coder-infer IMAGES --engine {built}" in said
    labels = tmp_path / "other.txt"
    labels.write_text("cat\ndog\n")
    export(
        ExportConfig(model="coder-tiny", labels=labels, texts="none", engine=built, out=tmp_path / "o"),
        Report(quiet=True),
    )
    other = load_weights(tmp_path / "o.safetensors")
    assert other.meta.plans == weights.meta.plans  # so that the plan can be opened with it
    check_belongs(built, other)


@pytest.mark.usefixtures("exported")
def test_a_plan_is_held_against_torch_where_it_runs(
    tmp_path: Path, labels_file: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_plan(path: Path, *, threads: int, device: str, meta: Metadata) -> Turned:
        assert device == "cuda"
        assert meta.engine_files[path.name] == sha256_of(path)
        assert path.name in meta.plans
        return Turned(tiny, angle)

    monkeypatch.setattr(on_device, "open_backend", open_plan)
    angle = 0.1  # cosine 0.995
    with pytest.raises(
        ModelError, match=r"the plan does not compute what torch does: cosine 0\.995\d+, wanted at least"
    ):
        export(config(tmp_path, labels_file), Report(quiet=True))
    assert list(tmp_path.iterdir()) == []
    angle = 0.01
    export(config(tmp_path, labels_file), Report(quiet=True))
    found = load_weights(tmp_path / "m.5.safetensors").meta.fidelity["plan"]
    assert found == {"cosine": pytest.approx(0.99995, abs=1e-6), "by": "a GPU"}


@pytest.mark.usefixtures("exported")
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, labels_file: Path, monkeypatch: Any) -> None:
    def fail(graph: Path, path: Path, **_: Any) -> None:
        path.write_bytes(b"half a plan")
        raise EngineError("no")

    monkeypatch.setattr(plan, "build_plan", fail)
    with pytest.raises(EngineError, match="no"):
        export(config(tmp_path, labels_file), Report(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_told_before_the_work(tmp_path: Path, labels_file: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(pipeline, "open_model", lambda *_, **__: pytest.fail("the model was opened"))
    with pytest.raises(BackendError, match=r"TensorRT is not installed .*pip install 'coder-engine\[tensorrt\]'"):
        export(config(tmp_path, labels_file, trt="tensorrt"), Report(quiet=True))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_types_are_as_asked(precision: str, small_vit: Path, tmp_path: Path) -> None:
    """What TensorRT makes of the graph: products low, norms, softmax and the interface in fp32."""
    graph = tmp_path / "m.onnx"
    model = onnx.load(small_vit)
    onnx.save(model if precision == "fp32" else typed_copy(model, precision), graph)
    trt = open_library("tensorrt_rtx")
    log = Log(trt)
    builder = trt.Builder(log.logger)
    network, _parser = parse(trt, builder, log, graph)
    low = {"fp32": trt.float32, "fp16": trt.float16, "bf16": trt.bfloat16}[precision]
    layers = [network.get_layer(i) for i in range(network.num_layers)]

    def types(*kinds: Any) -> set[Any]:
        return {layer.get_output(0).dtype for layer in layers if layer.type in kinds}

    kind = trt.LayerType
    products = [layer for layer in layers if layer.type == kind.MATRIX_MULTIPLY and layer.get_output(0).name != "coder"]
    assert len(products) >= 8
    assert {layer.get_output(0).dtype for layer in products} == {low, *({trt.float32} if precision == "fp32" else ())}
    assert types(kind.SOFTMAX, kind.NORMALIZATION, kind.REDUCE) == {trt.float32}
    ends = [network.get_output(i) for i in range(network.num_outputs)]
    assert {(end.name, end.dtype) for end in ends} == {("features", trt.float32), ("coder", trt.float32)}


@pytest.mark.parametrize(
    ("options", "precision"), [([], "fp32"), (["--format", "plan"], "fp16"), (["--format", "cuda"], "fp16")]
)
def test_the_precision_unless_asked(options: list[str], precision: str) -> None:
    asked = ["--model", "m", "--labels", "l", *options]
    assert _config(_parser().parse_args(asked)).precision == precision
    assert _config(_parser().parse_args([*asked, "--precision", "fp32"])).precision == "fp32"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "trt"}, "^--format must be one of onnx, cuda, plan, got 'trt'"),
        ({"max_batch": 0}, "^--max-batch must be from 1 to 4096, got 0"),
        ({"max_batch": 10**9}, "^--max-batch must be from 1 to 4096, got 1000000000"),
        ({"engine": Path("e.onnx")}, r"^--format plan builds an engine, and --engine e\.onnx reuses one; leave one"),
        (
            {"standalone": True},
            "standalone graphs run anywhere, so they are fp32; got --precision fp16 with --standalone; give",
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(Path(), Path("labels.txt"), **options)


def test_an_unknown_builder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--model", "m", "--labels", "l", "--format", "plan", "--trt", "tvm"])
    assert "invalid choice: 'tvm'" in capsys.readouterr().err
