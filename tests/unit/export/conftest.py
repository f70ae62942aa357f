"""A small ViT of random weights: every operator of a large one, exported in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="session")
def small_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine graph of a small ViT with random weights."""
    import open_clip

    from coder_export.engine_graph import EngineGraph
    from coder_export.model import open_model
    from coder_export.onnx_model import export_onnx

    folder = tmp_path_factory.mktemp("vit")
    (folder / "small-vit.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "small-vit.json")
    clip = open_model("small-vit", "random")
    export_onnx(EngineGraph(clip).eval(), folder / "vit.onnx", width=32, tower="t")
    return folder / "vit.onnx"
