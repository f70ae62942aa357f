"""coder-export as a command: one clear line and the right exit code, whatever is wrong."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from coder_engine import CoderError, __version__
from coder_engine.cli.output import OutputClosed
from coder_export.cli import _parser, main
from coder_export.report import Report


class Broken(io.StringIO):
    """A standard output that takes nothing."""

    def __init__(self, fault: OSError) -> None:
        super().__init__()
        self._fault = fault

    def write(self, text: str) -> int:
        raise self._fault


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert out.startswith("usage: coder-export [-h]")
    assert "\n  coder-export --model ViT-B/16 --labels labels.txt\n      OpenAI's weights" in out
    assert max(map(len, out.splitlines())) <= 100


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"coder-export {__version__}\n"


def test_needs_model_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--model", "RN50")[::2] == (
        1,
        "coder-export: --model and --labels are needed; see coder-export --help\n",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no labels in it"),
        (b"cat\ncat\n", "stands on line 1 already"),
        (b"cat\n\ndog\n", "blank line"),
        (b"caf\xe9\n", "not UTF-8"),
        (b"\n".join(b"class %d" % i for i in range(100_000)), "100,000 lines, at most 50,000"),
    ],
)
def test_bad_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content)
    code, out, err = run(capsys, "--model", "coder-tiny", "--labels", labels, "--out", tmp_path / "m")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err
    assert str(labels) in err
    assert list(tmp_path.iterdir()) == [labels]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--margin", "2"), "coder-export: --margin must be a difference of probabilities"),
        (("--tolerance", "0"), "coder-export: --tolerance must be between 0 and 1"),
        (("--batch-size", "0"), "--batch-size must be at least 1"),
        (("--model", "ViT-B/61"), "no model is called"),
        (("--texts", "nowhere"), "neither a folder nor a shipped text set"),
        (("--pretrained", "opnai"), "no pretrained tag or file"),
        (
            ("--pretrained", "random", "--checkpoint", "x.pt"),
            "--pretrained random takes no file, got --checkpoint x.pt",
        ),
        (
            ("--engine", "e.onnx", "--precision", "fp16"),
            "coder-export: --precision is for an engine that is built, and e.onnx exists",
        ),
        (("--engine", "e.onnx", "--tolerance", "0.5"), "--tolerance is for an engine that is built, and e.onnx exists"),
        (("--engine", "e.onnx", "--min-cosine", "0.5"), "--min-cosine is for an engine that is built"),
        (("--engine", "e.onnx", "--min-agreement", "0.5"), "--min-agreement is for an engine that is built"),
        (("--engine", "e.onnx", "--verify-images", "p"), "--verify-images is for an engine that is built"),
        (("--engine", "e.plan", "--standalone"), "a standalone graph is made from an .onnx file, got --engine e.plan"),
        (("--engine", "nowhere.onnx"), "nowhere.onnx: no such engine file"),
        (("--engine", "e.onnx", "--max-batch", "8"), "--max-batch is for an engine that is built, and e.onnx exists"),
        (("--engine", "e.onnx", "--trt", "tensorrt"), "--trt is for an engine that is built, and e.onnx exists"),
        (("--engine", "e.onnx", "--calibrate-count", "40"), "--calibrate-count is for an engine that is built"),
        (("--seed", "3"), "--seed is of --pretrained random, got a tag; leave it out"),
        (("--max-batch", "8"), "--max-batch is for a plan; add --format plan, or leave it out"),
        (("--trt", "tensorrt"), "--trt is for a plan; add --format plan, or leave it out"),
        (("--allow-slow",), "--allow-slow is for --precision int8, got fp32 with it; leave it out"),
        (("--min-agreement", "0.5"), "--min-agreement is for a lower --precision, and fp32 is kept; leave it out"),
        (("--min-cosine", "0.5"), "--min-cosine is for a lower --precision, and fp32 is kept (--tolerance bounds it)"),
    ],
)
def test_wrong_options(
    tmp_path: Path,
    labels_file: Path,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, str],
    message: str,
) -> None:
    pytest.importorskip("open_clip")
    code, _, err = run(
        capsys, "--model", "coder-tiny", "--labels", labels_file, "--out", tmp_path / "m", "--quiet", *option
    )
    assert code == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_out_is_no_standalone_graph(labels_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--model", "coder-tiny", "--labels", labels_file, "--out", "x.standalone")
    assert code == 1
    assert "--out x.standalone: standalone graphs are called STEM.standalone.onnx; give another stem" in err


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_out_must_be_a_name(labels_file: Path, capsys: pytest.CaptureFixture[str], out: str) -> None:
    code, _, err = run(capsys, "--model", "coder-tiny", "--labels", labels_file, "--out", out)
    assert (code, err) == (
        1,
        f"coder-export: --out must name the files to write, got {out!r}; give a stem: --out birds\n",
    )


def test_wrong_usage_ends_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--nonsense"])
    assert caught.value.code == 1
    assert "coder-export: unrecognized arguments: --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError("only words"), "coder-export: m: only words\n"),
        (OSError(28, "No space left on device", "x.onnx"), "coder-export: x.onnx: No space left on device\n"),
        (
            OutputClosed(),
            "coder-export: nobody reads standard output any more; --quiet writes none\n",
        ),
        (
            ImportError("No module named 'onnxscript'"),
            "install the build side: pip install 'coder-engine[export,cpu]'\n",
        ),
        (KeyboardInterrupt(), "coder-export: interrupted\n"),
    ],
)
def test_no_more_is_claimed_than_is_known(
    monkeypatch: pytest.MonkeyPatch,
    labels_file: Path,
    capsys: pytest.CaptureFixture[str],
    fault: BaseException,
    said: str,
) -> None:
    pytest.importorskip("open_clip")

    def export(*_: object) -> None:
        raise fault

    monkeypatch.setattr("coder_export.pipeline.export", export)
    code, _, err = run(capsys, "--model", "coder-tiny", "--labels", labels_file, "--out", "m")
    assert code == (130 if isinstance(fault, KeyboardInterrupt) else 1)
    assert err.endswith(said)
    assert err.count("\n") == 1


_WAITING = """
import sys, time
from coder_export import pipeline
from coder_engine import CoderError, __version__
from coder_export.cli import _parser, main
from coder_export.report import Report
def waiting(*_, **__):
    print("waiting", flush=True)
    time.sleep(60)
pipeline.export_onnx = waiting
sys.exit(main(sys.argv[1:]))
"""


def test_a_terminated_run_leaves_nothing_behind(tmp_path: Path, labels_file: Path) -> None:
    pytest.importorskip("open_clip")
    words = ["--model", "coder-tiny", "--labels", labels_file, "--texts", "none", "--out", tmp_path / "m"]
    command = [sys.executable, "-c", _WAITING, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line == "waiting\n" for line in process.stdout)
        assert len(list(tmp_path.iterdir())) == 1
        time.sleep(0.5)  # until it waits: where Python cleans up, an interrupt is only written about
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "coder-export: interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt_rtx"])
def test_a_library_by_either_of_its_names(name: str, labels_file: Path) -> None:
    words = ["--model", "coder-tiny", "--labels", str(labels_file), "--format", "plan", "--trt", name]
    assert _parser().parse_args(words).trt == "tensorrt_rtx"


def test_list_models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip")
    there = ModuleType("transformers")
    there.__spec__ = ModuleSpec("transformers", None)
    monkeypatch.setitem(sys.modules, "transformers", there)
    code, out, _ = run(capsys, "--list-models")
    assert code == 0
    assert {"ViT-B-16", "RN50", "coder-tiny", "ViT-B-16-SigLIP"} <= set(out.split())


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
        (OSError(28, "No space left on device"), 1, "cannot write to standard output (No space left on device); make"),
    ],
)
def test_a_list_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: OSError, code: int, said: str
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.setattr(sys, "stdout", Broken(fault))
    assert main(["--list-models"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_line_that_cannot_be_written_is_no_fault_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(CoderError, match=r"^cannot write to standard output \(No space left .*redirect it$"):
        Report().say("wrote m.onnx")


def test_models_that_would_need_transformers_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, out, err = run(capsys, "--list-models")
    assert code == 0
    assert {"ViT-B-16", "coca_ViT-B-32"} <= set(out.split())
    assert not {"roberta-ViT-B-32", "ViT-B-16-SigLIP"} & set(out.split())
    assert re.fullmatch(r"coder-export: \d\d more need .*: pip install transformers\n", err)


def test_a_character_that_the_terminal_lacks_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Report().say("K\u00e4se")
    assert raw.getvalue() == b"K\\xe4se\n"
