"""Which precision an export ends in, what it says of that, and which images judge it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from coder_engine.backends.base import stored_precision
from coder_engine.errors import EngineError, ModelError
from coder_engine.preprocess import Preprocess
from coder_export import gate, narrow
from coder_export.collapse import GeneralRows
from coder_export.config import ExportConfig
from coder_export.narrow import Narrowed
from coder_export.photographs import image_files, read_pixels
from coder_export.report import Report

PREPROCESS = Preprocess(size=(32, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images in two sub-folders, and what is none."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(48):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    (root / "a" / "notes.txt").write_text("no image")
    (root / "b" / "broken.jpg").write_text("no image either")
    return root


@pytest.fixture
def fp32(small_vit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small_vit, tmp_path / "m.onnx"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_SECONDS", 0.01)


def run(fp32: Path, precision: str, **options: object) -> Narrowed:
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(6, 32)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    offsets = np.arange(4, dtype=np.int32)
    rows = GeneralRows(bank=bank, name_offsets=offsets, name_weight=np.ones(3, np.float32))
    config = ExportConfig(model="m", labels=Path("labels.txt"), precision=precision, **options)  # type: ignore[arg-type]
    return narrow.narrow(config, [fp32], PREPROCESS, rows, Report())


def test_int8_is_taken_and_told(fp32: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(fp32, "int8", calibrate=folder, allow_slow=True, min_cosine=0.9, min_agreement=0.5)
    assert stored_precision(fp32) == "int8"
    assert found.files == [fp32]
    assert found.refused == ()
    assert found.refusal is None
    taken = found.to_json()["precision"]
    assert (taken["precision"], taken["images"]) == ("int8", 12)
    assert set(taken["speedup"]) == {"1", "8"}
    said = capsys.readouterr().out
    assert "calibration: 36 in" in said
    assert "int8 against fp32: cosine >= 0.9" in said
    assert "times as fast as the fp32 file" in said
    assert sorted(path.name for path in fp32.parent.iterdir()) == ["m.onnx"]


def test_int8_that_costs_too_much_gives_way(fp32: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(fp32, "int8", calibrate=folder, min_cosine=0.99999)
    assert stored_precision(fp32) == "fp16"
    assert onnx.load(fp32).graph.initializer
    (refused,) = found.to_json()["refused"]
    assert refused["precision"] == "int8"
    assert refused["cosine"] < 0.99999
    assert refused["speedup"] is None, "a precision that is refused for its features is not timed"
    assert refused["reason"] == "wanted a cosine of at least 0.99999 (--min-cosine)"
    assert found.refusal == "asked for int8, got fp16 (int8: wanted a cosine of at least 0.99999 (--min-cosine))"
    assert "int8 is refused: cosine >= 0." in capsys.readouterr().out


def test_what_cannot_be_quantized_gives_way(fp32: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Too many bins for data range.")

    monkeypatch.setattr(narrow, "int8_copy", fail)
    found = run(fp32, "int8", calibrate=folder)
    assert stored_precision(fp32) == "fp16"
    assert found.refusal == "asked for int8, got fp16 (int8: it cannot be quantized (Too many bins for data range.))"
    assert found.to_json()["refused"][0]["cosine"] is None


def test_a_full_temporary_folder_is_no_fault_of_int8(fp32: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # where the quantizer itself writes
    monkeypatch.setattr("onnxruntime.quantization.quant_utils.onnx.save_model", fail)
    before = fp32.read_bytes()
    places = f"{tempfile.gettempdir()} and {fp32.parent}"
    wanted = rf"^int8: .* cannot be written to {places} \(No space left on device\); .*TMPDIR"
    with pytest.raises(EngineError, match=wanted):
        run(fp32, "int8", calibrate=folder)
    assert fp32.read_bytes() == before


def test_too_little_memory_is_no_fault_of_int8(fp32: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(narrow, "int8_copy", fail)
    with pytest.raises(EngineError, match=r"^int8: there is not enough memory to quantize the model; free some"):
        run(fp32, "int8", calibrate=folder)


def test_too_few_judges_for_the_first_class_are_told(
    fp32: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(fp32, "int8", calibrate=folder, allow_slow=True, min_cosine=0.9)
    assert (
        "12 images of yours judge, too few for the first class to count (--min-agreement), as 32"
        in capsys.readouterr().out
    )
    run(fp32, "bf16", verify_images=folder)
    assert "too few for the first class" not in capsys.readouterr().out


def test_slow_int8_gives_way(fp32: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "speedup", lambda *args: {"1": 0.5, "8": 0.9})
    before = fp32.read_bytes()
    found = run(fp32, "int8", calibrate=folder, min_agreement=0.5)
    assert fp32.read_bytes() == before, "fp16 is slower yet on a CPU"
    assert [(loss.speedup, reason[:37]) for loss, reason in found.refused] == [
        ({"1": 0.5, "8": 0.9}, "it is not faster on this machine (--a")
    ]
    assert str(found.refusal).startswith("asked for int8, got fp32 (int8: it is not faster on this machine (--allow-")


def test_fp32_remains_where_nothing_passes(fp32: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fp32.read_bytes()
    found = run(fp32, "bf16", min_cosine=1.0)
    assert fp32.read_bytes() == before
    assert [loss.precision for loss, _ in found.refused] == ["bf16", "fp16"]
    assert found.to_json()["precision"] == {"precision": "fp32"}
    assert "the engine stays in fp32" in capsys.readouterr().out


def test_agreement_counts_on_ones_own_images(fp32: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = gate.PrecisionLoss(precision="bf16", cosine=1.0, agreement=0.5, images=48)
    monkeypatch.setattr(narrow, "measure_loss", lambda *args: low)
    found = run(fp32, "bf16", verify_images=folder)
    assert "--min-agreement" in found.refused[0][1]
    assert run(fp32, "bf16").refused == (), "of eight photographs of other things it does not"


def test_images_that_judge_do_not_calibrate(folder: Path) -> None:
    config = ExportConfig(model="m", labels=Path("l"), precision="int8", calibrate=folder)
    calibration, judges = narrow._images(config, PREPROCESS, Report(quiet=True))
    assert (len(calibration), len(judges.pixels)) == (36, 12)
    assert not {image.tobytes() for image in calibration} & {image.tobytes() for image in judges.pixels}
    with pytest.raises(ModelError, match=r": 0 readable images to calibrate int8 on, besides 48 that judge"):
        narrow._images(
            ExportConfig(model="m", labels=Path("l"), precision="int8", calibrate=folder, verify_images=folder),
            PREPROCESS,
            Report(quiet=True),
        )


def test_too_few_images(fp32: Path, folder: Path) -> None:
    wanted = r"^.*/a: 18 readable images .* besides 6 that judge the result; wanted at least 32, better 256: give a"
    with pytest.raises(ModelError, match=wanted):
        run(fp32, "int8", calibrate=folder / "a")
    with pytest.raises(ModelError, match=r"nowhere: no such folder; give one with images in it$"):
        run(fp32, "int8", calibrate=folder / "nowhere")


def test_image_files_mixes_sub_folders_and_is_always_the_same(folder: Path) -> None:
    found = image_files(folder)
    assert len(found) == 49
    assert found == image_files(folder)
    assert {path.parent.name for path in found[:8]} == {"a", "b"}
    assert len(read_pixels(found, PREPROCESS, most=100)) == 48
    assert read_pixels([], PREPROCESS, most=4).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, r"^int8 is calibrated on your own images: give --calibrate DIR, .* some 256 or more"),
        ({"calibrate": Path("d")}, r"^--calibrate is for --precision int8, got fp32 with it; leave one of them out$"),
        (
            {"precision": "int8", "calibrate": Path("d"), "calibrate_count": 31},
            "^--calibrate-count must be at least 32 images, got 31",
        ),
        ({"min_agreement": 0.0}, r"^--min-agreement must be above 0 and at most 1, got 0\.0$"),
        ({"min_cosine": 1.5}, r"^--min-cosine must be above 0 and at most 1, got 1\.5$"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportConfig(model="m", labels=Path("labels.txt"), **options)  # type: ignore[arg-type]
