"""coder-export as a command: one clear line and the right exit code, whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_export.cli import main


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "coder-export --model ViT-B/16 --labels labels.txt" in capsys.readouterr().out


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
        (("--margin", "2"), "margin must be a difference of probabilities"),
        (("--tolerance", "0"), "tolerance must be between 0 and 1"),
        (("--batch-size", "0"), "batch_size must be at least 1"),
        (("--model", "ViT-B/61"), "no model is called"),
        (("--texts", "nowhere"), "neither a folder nor a shipped text set"),
        (("--pretrained", "opnai"), "no pretrained tag or file"),
        (("--engine", "nowhere.onnx"), "nowhere.safetensors: no such weight file"),
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


def test_list_models(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("open_clip")
    code, out, _ = run(capsys, "--list-models")
    assert code == 0
    assert {"ViT-B-16", "RN50", "coder-tiny"} <= set(out.split())
