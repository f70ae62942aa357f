"""The precision gate: every reason to refuse, and that nothing else is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from coder_engine.errors import BackendError
from coder_export import gate
from coder_export.collapse import GeneralRows
from coder_export.gate import PrecisionLoss, measure_int8, speedup
from coder_export.quantize import int8_copy


def loss(**changes: object) -> PrecisionLoss:
    values = {"precision": "int8", "cosine": 0.99, "agreement": 0.98, "images": 100, **changes}
    return PrecisionLoss(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (loss(), None),
        (loss(cosine=0.97), r"^wanted a cosine of at least 0\.98 \(--min-cosine\)$"),
        (loss(cosine=float("nan")), "^its features are not finite$"),
        (loss(problem="it does not compile"), "^it does not compile$"),
        (loss(agreement=0.9), r"^wanted the first class the same on at least 97\.0% \(--min-agreement\)$"),
        (loss(agreement=0.95, images=32), None),  # two of 32, where one is expected
        (loss(agreement=0.95, images=1000), "--min-agreement"),
        (loss(speedup={"1": 0.9, "8": 1.0}), r"^it is not faster on this machine \(--allow-slow"),
        (loss(speedup={"1": 0.9, "8": 1.1}), None),
    ],
)
def test_reasons(found: PrecisionLoss, said: str | None) -> None:
    reason = found.fault(cosine=0.98, agreement=0.97)
    if said is None:
        assert reason is None
    else:
        assert reason is not None
        assert re.search(said, reason)


def test_what_does_not_count() -> None:
    assert loss(agreement=0.0).fault(cosine=0.98, agreement=None) is None
    assert loss(speedup={"1": 0.5}).fault(cosine=0.98, agreement=None, slow=True) is None


def test_json_has_no_nan() -> None:
    assert json.loads(json.dumps(loss(cosine=float("nan")).to_json(), allow_nan=False))["cosine"] is None


@pytest.fixture(scope="module")
def rows() -> GeneralRows:
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(6, 32)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    offsets = np.arange(4, dtype=np.int32)
    return GeneralRows(bank=bank, name_offsets=offsets, name_weight=np.ones(3, np.float32))


def test_int8_is_measured_in_every_runtime(
    small_vit: Path, tmp_path: Path, rows: GeneralRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    onnx.save(int8_copy(small_vit, pixels), tmp_path / "low.onnx")
    found = measure_int8(small_vit, tmp_path / "low.onnx", pixels, rows)
    assert 0.98 < found.cosine < 1 - 1e-6
    assert found.images == 40
    assert "int8" in found.runtime
    monkeypatch.setattr(gate, "_SECONDS", 0.01)
    times = speedup(small_vit, tmp_path / "low.onnx", pixels[:2])
    assert set(times) == {"1", "8"}
    assert min(times.values()) > 0

    class Broken(gate.OnnxRuntimeCpu):
        def _open(self, threads: int, precision: str) -> None:
            raise BackendError("a shape it cannot infer")

    monkeypatch.setattr(gate, "_runtimes", lambda: [gate.OnnxRuntimeCpu, Broken])
    broken = measure_int8(small_vit, tmp_path / "low.onnx", pixels, rows)
    assert broken.problem == "ONNX Runtime does not run it: a shape it cannot infer"
    assert broken.agreement == 0
