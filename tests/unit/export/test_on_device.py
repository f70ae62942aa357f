"""What OpenVINO makes of an engine, beside torch: told where it is near, warned of where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from coder_engine.backends import Unavailable
from coder_engine.errors import EngineError
from coder_export import on_device
from coder_export.engine_graph import EngineGraph
from coder_export.on_device import check_on_cpu
from coder_export.report import Report

RIGHT = np.random.default_rng(0).standard_normal((8, 4), np.float32)
RIGHT /= np.linalg.norm(RIGHT, axis=1, keepdims=True)
PIXELS = np.zeros((8, 2, 2, 3), np.uint8)


def graph(pixels: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    assert (pixels.dtype, tuple(bank.shape)) == (torch.uint8, (1, 4))
    return torch.from_numpy(RIGHT), bank


class OpenVino:
    """Stands for the backend; its features turn by ``angle``."""

    angle = 0.0
    width = 4
    description = "OpenVINO, CPU, bf16, 2 threads"

    def __init__(self, path: Path, *, threads: int) -> None:
        assert threads >= 1

    @classmethod
    def require(cls) -> str:
        return "OpenVINO"

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        right = RIGHT[: len(pixels)]
        aside = np.roll(right, 1, axis=1)
        aside -= (aside * right).sum(axis=1, keepdims=True) * right
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        turned: NDArray[np.float32] = np.cos(self.angle) * right + np.sin(self.angle) * aside
        return turned

    def close(self) -> None:
        pass


def check(monkeypatch: pytest.MonkeyPatch, precision: str = "fp32", **changes: Any) -> dict[str, Any] | None:
    monkeypatch.setattr(on_device, "OpenVinoCpu", type("Changed", (OpenVino,), changes))
    return check_on_cpu(Path("engine.onnx"), precision, cast(EngineGraph, graph), PIXELS, Report())


def test_near(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(monkeypatch, angle=0.04)
    assert found is not None
    assert found["cosine"] == pytest.approx(np.cos(0.04), abs=1e-6)
    assert found["by"] == OpenVino.description
    out, err = capsys.readouterr()
    assert out == "torch against OpenVINO: cosine >= 0.999200 (OpenVINO, CPU, bf16, 2 threads)\n"
    assert err == ""


@pytest.mark.parametrize(("precision", "instead"), [("fp32", "--precision fp32"), ("fp16", "--backend onnxruntime")])
def test_far(precision: str, instead: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(monkeypatch, precision, angle=0.1)
    assert found is not None
    assert found["cosine"] < 0.999
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: OpenVINO, which comes first on CPUs, gives features with a cosine of only 0.995004")
    assert err.endswith(f"give coder-infer {instead}\n")


def refuse(*_: object, **__: object) -> None:
    raise EngineError("engine.onnx: no such operator")


def test_an_engine_that_it_does_not_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(monkeypatch, __init__=refuse) is None
    assert check(monkeypatch, encode=refuse) is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(
        "does not run it (engine.onnx: no such operator); give coder-infer --backend onnx" in line for line in lines
    )


def test_without_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object) -> None:
        raise Unavailable("not installed", "OpenVINO is not installed")

    assert check(monkeypatch, require=missing) is None
    assert capsys.readouterr() == ("", "")
