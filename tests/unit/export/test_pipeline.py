"""The stages together: what is written, what is said, and that a refusal leaves nothing behind."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import onnx
import onnxruntime

from coder_engine import Engine, EngineError, ModelError, TextsError, WeightsError
from coder_engine.cli.output import OutputClosed
from coder_engine.weights import check_belongs, load_weights, save_weights
from coder_export import pipeline
from coder_export.config import ExportConfig
from coder_export.pipeline import export
from coder_export.precision import mark
from coder_export.report import Report


def config(tmp_path: Path, labels: Path, **options: object) -> ExportConfig:
    return ExportConfig(**{"model": "coder-tiny", "labels": labels, "out": tmp_path / "m", **options})  # type: ignore[arg-type]


def write_labels(folder: Path, *names: str) -> Path:
    path = folder / "labels.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def test_shipped_set_that_covers_the_labels_is_used_and_said(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, "truck", "cat", "dog")
    export(config(tmp_path, labels, engine=tiny), Report())
    said = capsys.readouterr().out
    assert "covered by the shipped text set 'cifar10'" in said
    assert f"next: coder-infer IMAGES --engine {tiny} --weights {tmp_path / 'm.safetensors'}" in said
    meta = load_weights(tmp_path / "m.safetensors").meta
    assert (meta.labels, meta.texts["pairs"]) == (("truck", "cat", "dog"), 3)


def test_the_domain_of_a_shipped_set_is_said(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = write_labels(tmp_path, "forest", "river", "highway")
    export(config(tmp_path, labels, engine=tiny), Report())
    assert "the shipped text set 'eurosat' (satellite photo): using it" in capsys.readouterr().out


def test_without_texts_it_works_and_says_what_is_missing(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, "cat", "astronaut")
    export(config(tmp_path, labels, engine=tiny), Report())
    assert "class names only, which is plain CLIP" in capsys.readouterr().out
    weights = load_weights(tmp_path / "m.safetensors")
    assert weights.pair_rows is None
    assert (weights.bank[:2] == 0).all()
    assert weights.name_weight.tolist() == [1, 1]


def test_names_that_are_one_text_to_the_tokenizer_are_told(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, "t-shirt", "cat 5", "cat", "cat5", "t - shirt")
    export(config(tmp_path, labels, engine=tiny), Report(quiet=True))
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("labels.txt: ")[2].partition(": one text to the tok")[0] for line in told] == [
        "'t-shirt', 't - shirt'",
        "'cat 5', 'cat5'",
    ]


def test_kept_texts_are_said_to_be_too_many(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write_labels(tmp_path, "truck", "cat")
    export(config(tmp_path, labels, engine=tiny, keep_texts=True), Report())
    assert "are not kept" not in capsys.readouterr().out
    assert load_weights(tmp_path / "m.safetensors").pair_texts is not None
    monkeypatch.setattr("coder_export.texts.MAX_KEPT", 8)
    export(config(tmp_path, labels, engine=tiny, keep_texts=True), Report())
    assert "are not kept" not in capsys.readouterr().out
    monkeypatch.setattr("coder_export.texts.MAX_KEPT", 7)
    export(config(tmp_path, labels, engine=tiny, keep_texts=True), Report())
    assert "the 8 one-to-one texts are not kept, only up to 7 are" in capsys.readouterr().out
    weights = load_weights(tmp_path / "m.safetensors")
    assert weights.pair_texts is None
    assert weights.texts is not None


def test_a_file_of_another_kind_is_told(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = write_labels(tmp_path, "0 cat", "1 dog")
    export(config(tmp_path, labels, engine=tiny, texts="none"), Report(quiet=True))
    assert capsys.readouterr().err.startswith(f"warning: {labels}: every line begins with its number; a label file has")
    export(config(tmp_path, write_labels(tmp_path, "cat", "dog"), engine=tiny, texts="none"), Report(quiet=True))
    assert capsys.readouterr().err == ""


def test_labels_swap_without_touching_the_engine(tiny: Path, tmp_path: Path, photographs: list[Path]) -> None:
    labels = write_labels(tmp_path, "ship", "cat")
    export(config(tmp_path, labels, engine=tiny), Report(quiet=True))
    engine = Engine(tiny)
    engine.use_labels(tmp_path / "m.safetensors")
    assert engine.labels == ("ship", "cat")
    assert [len(prediction.top) for prediction in engine.predict(photographs[:2])] == [2, 2]
    assert Engine(tiny, weights=tmp_path / "m.safetensors").labels == ("ship", "cat")


def test_the_engine_s_own_weight_file_is_never_replaced(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write_labels(tmp_path, "ship", "cat")
    before = tiny.with_suffix(".safetensors").read_bytes()
    monkeypatch.chdir(tiny.parent)
    for engine, out in ((tiny, tiny.with_suffix("")), (tiny, Path("tiny")), (Path("tiny.onnx"), tiny)):
        with pytest.raises(ValueError, match=r"tiny\.safetensors: would replace .* own weight file.*another --out"):
            export(config(tmp_path, labels, engine=engine, out=out), Report(quiet=True))
    assert tiny.with_suffix(".safetensors").read_bytes() == before


def test_what_is_said_at_the_end_can_be_typed(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine, labels = tmp_path / "x,y z.onnx", write_labels(tmp_path, "cat")
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), engine.with_suffix(suffix))
    export(config(tmp_path, labels, engine=engine, texts="none"), Report())
    said = capsys.readouterr().out
    assert shlex.split(said.splitlines()[-1])[4] == str(engine)
    assert "\n1 class: 1 name; 0 of 0 pairs\n" in said
    assert re.search(r"wrote .*m\.safetensors \(\d\.\d kB\)\n", said)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_precision_that_is_refused_is_told_last(
    tmp_path: Path, labels_file: Path, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    options = {"texts": "none", "precision": "bf16", "min_cosine": 1.0}
    export(config(tmp_path, labels_file, **options), Report(quiet=quiet))
    assert capsys.readouterr().err.splitlines()[-1] == (
        "warning: asked for bf16, got fp32 (bf16: wanted a cosine of at least 1.0 (--min-cosine); "
        "fp16: wanted a cosine of at least 1.0 (--min-cosine))"
    )


def test_a_reader_that_stops_leaves_a_pair_that_belongs_together(
    tiny: Path, tmp_path: Path, labels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"m{suffix}")

    def say(self: Report, line: str) -> None:
        if line.startswith("wrote"):
            raise OutputClosed

    monkeypatch.setattr(Report, "say", say)
    with pytest.raises(OutputClosed):
        export(config(tmp_path, labels_file, texts="none"), Report(quiet=True))
    weights = load_weights(tmp_path / "m.safetensors")
    assert weights.meta.texts["name"] == "class names only"
    check_belongs(tmp_path / "m.onnx", weights)


def test_engine_of_another_model_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path, "ship", "cat")
    with pytest.raises(ModelError, match=r"made from coder-tiny \(cifar10\), got coder-tiny \(random\); give the same"):
        export(config(tmp_path, labels, engine=tiny, pretrained="random"), Report(quiet=True))


def test_an_engine_of_the_same_name_and_other_weights(tiny: Path, tmp_path: Path) -> None:
    labels, engine = write_labels(tmp_path, "ship", "cat"), tmp_path / "old.onnx"
    shutil.copy(tiny, engine)
    weights = load_weights(tiny.with_suffix(".safetensors"))
    for versions, said in (
        (weights.meta.versions, "from other weights of coder-tiny \\(cifar10\\) than these"),
        ({**weights.meta.versions, "torch": "1.0"}, "or by another library: torch 1.0, here [2-9]"),
    ):
        meta = dataclasses.replace(weights.meta, tower="other", versions=versions)
        tensors = {name: value for name, value in vars(weights).items() if isinstance(value, np.ndarray)}
        save_weights(engine.with_suffix(".safetensors"), meta, tensors)
        with pytest.raises(ModelError, match=said):
            export(config(tmp_path, labels, engine=engine), Report(quiet=True))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"verify_images": Path("nodir")}, ModelError, "nodir: no such folder"),
        ({"verify_images": Path("empty")}, ModelError, "empty: no image in it; give a folder of photographs"),
        ({"precision": "int8", "calibrate": Path("nodir")}, ModelError, "nodir: no such folder"),
        ({"precision": "int8", "calibrate": Path("empty")}, ModelError, "empty: no image in it"),
        ({"engine": Path("no.onnx")}, EngineError, r"no\.onnx: no such engine file"),
        ({"engine": Path("edited.onnx")}, EngineError, "do not belong together"),
        (
            {"engine": Path("half.onnx"), "standalone": True},
            EngineError,
            r"half\.onnx is in fp16, and a standal",
        ),
        ({"checkpoint": Path("no.pt")}, ModelError, r"no\.pt: no such checkpoint file"),
        ({"out": Path("sealed/m")}, ModelError, r"sealed: cannot be written to \(.*\); free space or choose another"),
    ],
)
def test_wrong_paths_are_told_before_the_work(
    tiny: Path,
    tmp_path: Path,
    labels_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "sealed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "edited.onnx").write_bytes(tiny.read_bytes() + b"\0")
    half = onnx.load(tiny)
    mark(half, "fp16")
    onnx.save(half, tmp_path / "half.onnx")
    shutil.copy(tiny.with_suffix(".safetensors"), tmp_path / "edited.safetensors")
    real = tempfile.TemporaryFile

    def scratch(**at: Any) -> Any:
        if Path(at["dir"]).name == "sealed":  # root may write anywhere
            raise PermissionError(13, "Permission denied")
        return real(**at)

    monkeypatch.setattr(tempfile, "TemporaryFile", scratch)
    monkeypatch.setattr("coder_export.pipeline.embed_texts", lambda *_: pytest.fail("texts were encoded"))
    with pytest.raises(error, match=said):
        export(config(tmp_path, labels_file, **options), Report(quiet=True))


def test_fidelity_gate_refuses_and_leaves_nothing(tmp_path: Path, labels_file: Path) -> None:
    with pytest.raises(ModelError, match="does not compute what torch does"):
        export(config(tmp_path, labels_file, tolerance=1e-12), Report(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_links_go_on_leading_to_the_files(tiny: Path, tmp_path: Path, labels_file: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    links = [tmp_path / f"m{suffix}" for suffix in (".onnx", ".safetensors", ".standalone.onnx")]
    for link in links:
        link.symlink_to(store / link.name)
    export(config(tmp_path, labels_file, texts="none", standalone=True), Report(quiet=True))
    assert all(link.is_symlink() for link in links)
    assert sorted(file.name for file in store.iterdir()) == sorted(link.name for link in links)
    check_belongs(store / "m.onnx", load_weights(tmp_path / "m.safetensors"))
    assert len(Engine(tmp_path / "m.onnx").labels) == len(labels_file.read_text().splitlines())


def test_fidelity_is_stored(tiny: Path) -> None:
    fidelity = load_weights(tiny.with_suffix(".safetensors")).meta.fidelity
    assert fidelity["batches"] == [1, 3, 8]
    assert 0 < fidelity["features"] < 1e-5
    assert fidelity["cosine"] > 0.99999


def test_the_gpu_build_of_onnx_runtime_is_enough(
    tiny: Path, tmp_path: Path, labels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is the same, its package is onnxruntime-gpu."""
    installed = pipeline.version

    def version(package: str) -> str:
        if package == "onnxruntime":
            raise PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(pipeline, "version", version)
    config = ExportConfig(model="coder-tiny", labels=labels_file, texts="none", out=tmp_path / "other", engine=tiny)
    export(config, Report(quiet=True))
    assert load_weights(config.weights_path).meta.versions["onnxruntime"] == onnxruntime.__version__


def test_text_set_that_misses_a_label(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, "cat", "zebra")
    with pytest.raises(TextsError, match=r"no texts for 1 of 2 labels \(zebra\)"):
        export(config(tmp_path, labels, texts="cifar10"), Report(quiet=True))


def test_no_such_output_folder(tmp_path: Path, labels_file: Path) -> None:
    with pytest.raises(ModelError, match="no such folder to write to"):
        export(config(tmp_path, labels_file, out=tmp_path / "nowhere" / "m"), Report(quiet=True))


def test_one_sided_pairs_are_left_out_and_counted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    labels = write_labels(folder, "cat", "dog", "ship")
    rows = [("cat", "dog"), ("dog", "cat"), ("ship", "dog")]
    lines = [f'{{"class": "{a}", "other": "{b}", "text": "its look"}}' for a, b in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    export(config(tmp_path, labels, texts=str(folder), engine=tiny), Report())
    assert "texts in one direction only: 1 pair" in capsys.readouterr().out
    weights = load_weights(tmp_path / "m.safetensors")
    assert weights.pair_starts is not None
    assert (weights.pair_starts.tolist(), weights.pair_others.tolist()) == ([0, 1, 1, 1], [1])


def test_long_text_is_an_error_or_cut_and_counted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, "cat", "very " * 90 + "long name")
    with pytest.raises(TextsError, match=r"1 of 2 texts exceed the model's 77 tokens.*--on-long truncate"):
        export(config(tmp_path, labels, engine=tiny), Report(quiet=True))
    export(config(tmp_path, labels, engine=tiny, on_long="truncate"), Report())
    assert "1 texts were cut" in capsys.readouterr().out


_FULL_DISK = """
import resource, signal, sys
from coder_export.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
sys.exit(main(sys.argv[2:]))
"""


def fails_for_want_of_room(out: Path, labels: Path, room: int, *options: str) -> str:
    """The error line of an export to ``out`` where no file may have more bytes than ``room``."""
    words = ["--model", "coder-tiny", "--labels", str(labels), "--texts", "cifar10", "--out", str(out / "m"), *options]
    command = [sys.executable, "-c", _FULL_DISK, str(room), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_full_disk_leaves_no_half_written_artefact(tmp_path: Path, labels_file: Path) -> None:
    assert fails_for_want_of_room(tmp_path, labels_file, 2_000_000).startswith(
        f"coder-export: {tmp_path}/m.onnx: cannot be written"
    )
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_pair_that_was_there(tiny: Path, tmp_path: Path, labels_file: Path) -> None:
    before = {f"m{suffix}": tiny.with_suffix(suffix).read_bytes() for suffix in (".onnx", ".safetensors")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    said = fails_for_want_of_room(tmp_path, labels_file, 2_000_000, "--precision", "fp16")
    assert said.startswith(f"coder-export: {tmp_path}/m.onnx: cannot be written")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_full_disk_at_the_standalone_graph_leaves_the_pair(tiny: Path, tmp_path: Path, labels_file: Path) -> None:
    said = fails_for_want_of_room(tmp_path, labels_file, tiny.stat().st_size + 1000, "--standalone")
    assert said.startswith(f"coder-export: {tmp_path}/m.standalone.onnx: cannot be written")
    assert {file.name for file in tmp_path.iterdir()} == {"m.onnx", "m.safetensors"}
    check_belongs(tmp_path / "m.onnx", load_weights(tmp_path / "m.safetensors"))


def test_edited_engine_and_foreign_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    engine = tmp_path / "tiny.onnx"
    engine.write_bytes(tiny.read_bytes() + b"\0")
    weights = tiny.with_suffix(".safetensors")
    with pytest.raises(EngineError, match=r"tiny\.onnx \(sha256 .*tiny\.safetensors .*do not belong together"):
        Engine(engine, weights=weights)
    with pytest.raises(WeightsError, match="no such weight file"):
        Engine(engine)
