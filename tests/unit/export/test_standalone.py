"""What the standalone graph says of itself and what is refused; tests/parity holds its answers to the Engine's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("open_clip")

from coder_engine import Engine, EngineError, ModelError, WeightsError  # noqa: E402
from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from coder_engine.head import Ranking  # noqa: E402
from coder_engine.weights import Weights, load_weights  # noqa: E402
from coder_export import standalone  # noqa: E402
from coder_export.cli import main  # noqa: E402
from coder_export.config import ExportConfig  # noqa: E402
from coder_export.onnx_model import save_graph  # noqa: E402
from coder_export.report import Report  # noqa: E402
from coder_export.standalone import build_standalone, export_standalone  # noqa: E402
from coder_export.standalone_check import compare, difference  # noqa: E402


@pytest.fixture(scope="module")
def weights(tiny: Path) -> Weights:
    return load_weights(tiny.with_suffix(".safetensors"))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)


def test_graph_is_standard_and_names_its_classes(tiny: Path, weights: Weights) -> None:
    model = build_standalone(onnx.load(tiny), weights)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [item.version for item in model.opset_import] == [18]
    assert [item.name for item in model.graph.input] == ["pixels"]
    assert [item.name for item in model.graph.output] == ["ids", "scores", "gaps"]
    facts = {item.key: item.value for item in model.metadata_props}
    assert facts["coder.standalone"] == "1"
    assert json.loads(facts["coder.labels"]) == list(weights.meta.labels)
    assert json.loads(facts["coder.preprocess"]) == dict(weights.meta.preprocess)
    assert (facts["coder.model"], facts["coder.pretrained"]) == ("coder-tiny", weights.meta.pretrained)


def test_labels_of_any_script_stay_readable(tiny: Path, weights: Weights) -> None:
    labels = ("büffel", 'a "quoted" one', "フクロウ", *weights.meta.labels[3:])
    other = dataclasses.replace(weights, meta=dataclasses.replace(weights.meta, labels=labels))
    facts = {item.key: item.value for item in build_standalone(onnx.load(tiny), other).metadata_props}
    assert "フクロウ" in facts["coder.labels"]
    assert json.loads(facts["coder.labels"]) == list(labels)


def test_pair_rows_stay_halves(tiny: Path, weights: Weights) -> None:
    model = build_standalone(onnx.load(tiny), weights)
    halves = [item for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT16]
    assert [list(item.dims) for item in halves] == [[45, 128]]


def test_weights_of_another_tower_are_refused(tiny: Path, weights: Weights) -> None:
    other = dataclasses.replace(weights, meta=dataclasses.replace(weights.meta, tower="other"))
    with pytest.raises(
        WeightsError, match=r"safetensors \(from coder-tiny, .*different image towers; export the labels"
    ):
        build_standalone(onnx.load(tiny), other)


def test_an_adapter_does_not_fit_into_it(tiny: Path, weights: Weights) -> None:
    keys, owners = np.zeros((4, weights.width), np.float32), np.zeros(4, np.int32)
    other = dataclasses.replace(weights, adapter_keys=keys, adapter_labels=owners, adapter_mean=keys[0])
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: has a few-shot adapter, .*; export the labels anew"):
        build_standalone(onnx.load(tiny), other)
    with pytest.raises(
        ValueError,
        match=r"standalone .* no few-shot adapter; got --support photos with --standalone; leave one of them",
    ):
        ExportConfig(model="coder-tiny", labels=Path("labels.txt"), standalone=True, support=Path("photos"))


def test_weights_past_two_gigabytes_lie_beside(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: NDArray[np.uint8]
) -> None:
    monkeypatch.setattr("coder_export.onnx_model._EXTERNAL_BYTES", 1_000_000)
    path = tmp_path / "big.standalone.onnx"
    export_standalone(tiny, tiny.with_suffix(".safetensors"), path, pixels, Report(quiet=True))
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, path.name + ".data"]
    assert path.stat().st_size < 1_000_000 < (tmp_path / f"{path.name}.data").stat().st_size
    assert open_session(path, threads=1).run(["ids"], {"pixels": pixels})[0].shape == (8, 5)


def test_no_place_to_write(tiny: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(EngineError, match=rf"^{tmp_path}/m\.onnx: cannot be written \(No space left .*; free space"):
        save_graph(build_standalone(onnx.load(tiny), weights), tmp_path / "m.onnx")


def test_graph_that_answers_otherwise_is_refused_and_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: NDArray[np.uint8]
) -> None:
    def wrong(engine: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
        meta = dataclasses.replace(weights.meta, logit_scale=90.0)
        return build_standalone(engine, dataclasses.replace(weights, meta=meta))

    monkeypatch.setattr(standalone, "build_standalone", wrong)
    with pytest.raises(ModelError, match=r"does not answer as the engine does: scores .*, wanted .*photograph 0 of 1"):
        export_standalone(tiny, tiny.with_suffix(".safetensors"), tmp_path / "m.onnx", pixels, Report(quiet=True))
    assert not list(tmp_path.iterdir())


def test_near_ties_are_counted_once_an_image(
    tiny: Path, weights: Weights, tmp_path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = save_graph(build_standalone(onnx.load(tiny), weights), tmp_path / "m.onnx")
    assert compare(path, tiny, weights, pixels) == 0
    swapped = dataclasses.replace(weights, meta=dataclasses.replace(weights.meta, labels=weights.meta.labels[::-1]))
    [path] = save_graph(build_standalone(onnx.load(tiny), swapped), tmp_path / "n.onnx")
    assert compare(path, tiny, weights, pixels) == 0  # labels are no part of the answer
    monkeypatch.setattr("coder_export.standalone_check.TOLERANCE", float("inf"))
    meta = dataclasses.replace(weights.meta, margin=0.0)
    [path] = save_graph(build_standalone(onnx.load(tiny), dataclasses.replace(weights, meta=meta)), tmp_path / "o.onnx")
    assert 0 < compare(path, tiny, weights, pixels) <= len(pixels)


# One image of three candidates among four classes; logits 0.4, 0.3, 0.2 and 0.2.
IDS, SCORES, GAPS = [1, 0, 2], [0.3, 0.4, 0.2], [0.5, 0.1, -0.6]


def ranking(**changes: object) -> Ranking:
    content = {
        "logits": np.array([[0.4, 0.3, 0.2, 0.2 - 1e-6]], np.float32),
        "ids": np.array([IDS], np.int32),
        "scores": np.array([SCORES], np.float32),
        "gaps": np.array([GAPS], np.float32),
        "duels": np.zeros((1, 3, 3), np.float32),
        "reranked": np.array([True]),
    }
    return Ranking(**{**content, **changes})  # type: ignore[arg-type]


def told(ids: list[int], scores: list[float], gaps: list[float], of: Ranking | None = None) -> str | None:
    return difference(of or ranking(), 0, np.array(ids), np.array(scores, np.float32), np.array(gaps, np.float32))


def test_differences_that_are_none() -> None:
    assert told(IDS, SCORES, GAPS) is None
    assert told(IDS, [0.300009, 0.4, 0.2], [0.5, 0.100009, -0.6]) is None
    assert told([1, 0, 3], SCORES, GAPS) is None  # 3 is as good a third candidate as 2


@pytest.mark.parametrize(
    ("ids", "scores", "gaps", "message"),
    [
        (IDS, [0.30002, 0.4, 0.2], GAPS, r"scores \[.*\], wanted \["),
        (IDS, SCORES, [0.5, 0.10002, -0.6], r"gaps \[.*\], wanted \["),
        (IDS, SCORES, [float("nan"), 0.1, -0.6], r"gaps \[nan.*\], wanted \["),
        ([0, 1, 2], [0.4, 0.3, 0.2], [0.1, 0.5, -0.6], r"ids \[0, 1, 2\], wanted \[1, 0, 2\]"),
        ([1, 3, 2], SCORES, GAPS, r"ids \[1, 3, 2\], wanted \[1, 0, 2\]"),
    ],
)
def test_differences_are_told(ids: list[int], scores: list[float], gaps: list[float], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(told(ids, scores, gaps))


def test_near_ties_may_change_places() -> None:
    near = ranking(gaps=np.array([[0.3, 0.3 - 1e-6, -0.6]], np.float32))
    assert told([0, 1, 2], [0.4, 0.3, 0.2], [0.3, 0.3, -0.6], near) is None
    by_logit = ranking(gaps=np.zeros((1, 3), np.float32), reranked=np.array([False]))
    assert told([0, 1, 2], [0.4, 0.3, 0.2], [0, 0, 0], by_logit) == "ids [0, 1, 2], wanted [1, 0, 2]"


def test_command_writes_it_for_an_engine_that_exists(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("truck\ncat\n", encoding="utf-8")
    words = ["--model", "coder-tiny", "--labels", labels, "--engine", tiny, "--out", tmp_path / "m", "--standalone"]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "standalone graph against Engine: the same answers on 8 photographs\n" in said
    assert f"wrote {tmp_path / 'm.standalone.onnx'} (" in said
    session = open_session(tmp_path / "m.standalone.onnx", threads=1)
    assert json.loads(session.get_modelmeta().custom_metadata_map["coder.labels"]) == ["truck", "cat"]
    assert [item.shape for item in session.get_outputs()] == [["batch", 2]] * 3
    with pytest.raises(EngineError, match="a standalone graph holds its texts"):
        Engine(tmp_path / "m.standalone.onnx", weights=tmp_path / "m.safetensors", backend="onnxruntime")


def test_it_is_fp32() -> None:
    with pytest.raises(ValueError, match=r"standalone graphs .* fp32; got --precision fp16 with --standalone; give"):
        ExportConfig(model="coder-tiny", labels=Path("labels.txt"), standalone=True, precision="fp16")
