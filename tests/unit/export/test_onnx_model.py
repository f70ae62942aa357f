"""Real exports: dynamic batch and bank, no trace of the machine, equal files for equal models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from coder_engine import Engine, ModelError  # noqa: E402
from coder_engine.backends.onnxruntime import open_session  # noqa: E402
from coder_export.config import ExportConfig  # noqa: E402
from coder_export.engine_graph import EngineGraph  # noqa: E402
from coder_export.model import open_model  # noqa: E402
from coder_export.onnx_model import export_onnx  # noqa: E402
from coder_export.pipeline import export  # noqa: E402
from coder_export.report import Report  # noqa: E402

LARGE = ("coca_ViT-B-32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")


@pytest.mark.parametrize("model", ["RN50", "ViT-B/32", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_export_of(model: str, tmp_path: Path, labels_file: Path, photographs: list[Path]) -> None:
    config = ExportConfig(model=model, pretrained="random", labels=labels_file, texts="none", out=tmp_path / "m")
    export(config, Report(quiet=True))  # refuses by itself what differs from torch
    engine = Engine(config.engine_path)
    found = engine.predict(photographs[:3])
    assert [len(prediction.top) for prediction in found] == [5, 5, 5]
    assert engine.embed(photographs[:1]).shape == (
        1,
        open_session(config.engine_path, threads=1).get_outputs()[0].shape[1],
    )


class Pooled(torch.nn.Module):
    """A tower that gives its tokens beside the features, as CoCa's does, or fails."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self._fails, self.proj = fails, torch.nn.Parameter(torch.eye(3))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._fails:
            raise NotImplementedError("no such operator\nand more")
        return images.mean(dim=(2, 3)) @ self.proj, images


def graph_of(fails: bool) -> EngineGraph:
    preprocess = SimpleNamespace(size=(8, 8))
    made = SimpleNamespace(name="a model", visual=Pooled(fails), mean=(0.0,) * 3, std=(1.0,) * 3, preprocess=preprocess)
    return EngineGraph(made).eval()  # type: ignore[arg-type]


def test_a_tower_that_gives_more_than_features(tmp_path: Path) -> None:
    graph = graph_of(fails=False)
    export_onnx(graph, tmp_path / "m.onnx", width=3, tower="t")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    (features,) = open_session(tmp_path / "m.onnx", threads=1).run(
        ["features"], {"pixels": pixels, "bank": np.zeros((1, 3), np.float32)}
    )
    wanted = pixels.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(features, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


def test_a_tower_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"a model: its image tower cannot be written as ONNX \(.+\); choose another"
    ) as caught:
        export_onnx(graph_of(fails=True), tmp_path / "m.onnx", width=3, tower="t")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_both_axes_are_dynamic(tiny: Path) -> None:
    session = open_session(tiny, threads=1)
    rng = np.random.default_rng(0)
    for batch, rows in ((1, 1), (3, 7), (8, 500)):
        pixels = rng.integers(0, 256, (batch, 64, 64, 3), np.uint8)
        bank = rng.standard_normal((rows, 128), np.float32)
        features, coder = session.run(["features", "coder"], {"pixels": pixels, "bank": bank})
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(coder, features @ bank.T, atol=1e-5)


def test_file_says_nothing_of_the_machine_and_is_reproducible(tiny: Path, tmp_path: Path) -> None:
    clip = open_model("coder-tiny")
    again = tmp_path / "again.onnx"
    assert export_onnx(EngineGraph(clip).eval(), again, width=128, tower=clip.tower()) == [again]
    content = again.read_bytes()
    assert content == tiny.read_bytes()
    assert b".py" not in content
    assert b"coder_export" not in content


def test_layer_norm_is_one_operator(tmp_path: Path) -> None:
    clip = open_model("ViT-S-32-alt", "random")
    export_onnx(EngineGraph(clip).eval(), tmp_path / "vit.onnx", width=256, tower="t")
    kinds = {node.op_type for node in onnx.load(tmp_path / "vit.onnx").graph.node}
    assert "LayerNormalization" in kinds


def test_weights_past_two_gigabytes_lie_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels_file: Path, photographs: list[Path]
) -> None:
    monkeypatch.setattr("coder_export.onnx_model._EXTERNAL_BYTES", 1_000_000)
    config = ExportConfig(model="coder-tiny", labels=labels_file, out=tmp_path / "big")
    export(config, Report(quiet=True))
    data = tmp_path / "big.onnx.data"
    assert data.stat().st_size > 1_000_000
    assert Engine(config.engine_path).predict(photographs[:1])[0].label is not None
    with data.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\xff" * 8)
    from coder_engine import EngineError

    with pytest.raises(EngineError, match=r"big\.onnx\.data .*do not belong together"):
        Engine(config.engine_path)
