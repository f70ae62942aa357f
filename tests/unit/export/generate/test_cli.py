"""coder-texts as a command: one clear line and the right exit code, whatever is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coder_engine import __version__
from coder_engine.errors import ModelError
from coder_export.generate import generator
from coder_export.generate.cli import main
from coder_export.generate.config import TextsConfig
from coder_export.generate.pairs import PairChoice
from coder_export.textset import TextSet
from coder_export.textset_file import load_textset, save_textset
from llm_server import serving

Capture = pytest.CaptureFixture[str]
TEXTSET = TextSet(
    name="animals",
    labels=("cat", "elk"),
    texts=({"attribute": ("whiskers",), "synonym": ("tom",)}, {"attribute": ("broad antlers",)}),
    pairs={(0, 1): ("its size",), (1, 0): ("its antlers",)},
)


def run(capsys: Capture, *argv: object) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def stopped(capsys: Capture, *argv: object) -> tuple[object, str, str]:
    """Exit code and output of a command that argparse ends."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "labels.txt"
    path.write_text("crane\nwinch\n")
    return path


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    folder.mkdir()
    save_textset(TEXTSET, folder)
    return folder


def arguments(labels: Path, *more: object) -> list[object]:
    return ["--labels", labels, "--out", labels.parent / "out", "--model", "none", *more]


# usage


@pytest.mark.parametrize("command", [(), ("check",), ("show",)])
def test_help(command: tuple[str, ...], capsys: Capture) -> None:
    code, out, err = stopped(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {' '.join(['coder-texts', *command])} ")


def test_help_has_examples_and_exit_codes(capsys: Capture) -> None:
    out = stopped(capsys, "--help")[1]
    assert "coder-texts --labels birds.txt --out birds --llm gpt-4.1-mini --dry-run" in out
    assert "exit codes: 0 done, 1 could not run, 2 done but something is missing" in out


def test_version(capsys: Capture) -> None:
    assert stopped(capsys, "--version") == (0, f"coder-texts {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "the following arguments are required: --labels, --out"),
        (("--labels", "a", "--out", "b", "--expert", "wordnet"), "unrecognized arguments: --expert"),
        (("--labels", "a", "--out", "b", "--pairs", "few"), "--pairs takes all, none, top:K (K = 1, 2, ...) or seen:"),
        (("--labels", "a", "--out", "b", "--budget", "lots"), "--budget: wanted dollars or none, got 'lots'"),
        (("--labels", "a", "--out", "b", "--timeout", "long"), "argument --timeout: invalid float value: 'long'"),
        (("check",), "the following arguments are required: DIR|NAME"),
        (("show", "cifar10"), "the following arguments are required: --class"),
    ],
)
def test_wrong_usage_is_no_hole(argv: tuple[str, ...], said: str, capsys: Capture) -> None:
    code, out, err = stopped(capsys, *argv)
    assert (code, out) == (1, "")
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--kinds", "attribute,hats"), "kinds are attribute, analogous, synonym, pair, got 'hats'"),
        (("--kinds", ","), "kinds names none"),
        (("--budget", "0"), "budget must be more than 0 dollars"),
        (("--llm", "m", "--import", "a"), "an import asks no LLM"),
        (("--kinds", "pair"), "pair texts need an LLM"),
        (("--llm", "gpt-5"), "OPENAI_API_KEY is not set"),
        (("--llm", "m"), "OPENAI_API_KEY is not set"),
        (("--llm", "m", "--dry-run"), "no price is known for 'm'"),
        (("--import", "nowhere.json"), "nowhere.json"),
        (("--model", "ViT-B/61"), "no model is called"),
        (("--llm", "m", "--base-url", "http://x/v1", "--prices", "nowhere.json"), "--prices nowhere.json: cannot be"),
    ],
)
def test_what_cannot_run(
    options: tuple[str, ...], said: str, labels: Path, wordnet_folder: Path, capsys: Capture
) -> None:
    code, out, err = run(capsys, *arguments(labels, "--quiet", *options))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("coder-texts: ")
    assert said in err
    assert not (labels.parent / "out" / "labels.txt").exists()


def test_all_options_reach_the_run(labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    seen: list[TextsConfig] = []
    monkeypatch.setattr(
        generator, "generate", lambda config, report: seen.append(config) or generator.Outcome(textset=None)
    )
    words = """--kinds pair,attribute,analogous --domain sketch --pairs top:3 --max-pairs 9 --attributes 1 --analogues 2
        --pair-texts 3 --overwrite --dry-run --llm m --base-url http://x --budget none --prices p --model ViT-B/32
        --concurrency 4 --timeout 5 --tries 6 --attempts 7 --pretrained t --checkpoint c --threshold 0.5"""
    assert run(capsys, *arguments(labels, *words.split())) == (0, "", "")
    wanted: dict[str, Any] = {
        "kinds": ("pair", "attribute", "analogous"), "domain": "sketch", "pairs": PairChoice(how="top", nearest=3),
        "max_pairs": 9,
        "attributes": 1, "analogues": 2, "pair_texts": 3, "overwrite": True, "dry_run": True, "llm": "m",
        "base_url": "http://x", "budget": None, "prices": Path("p"), "concurrency": 4, "timeout": 5.0,
        "tries": 6, "attempts": 7, "model": "ViT-B/32", "pretrained": "t", "checkpoint": Path("c"), "threshold": 0.5,
    }  # fmt: skip
    assert seen == [TextsConfig(labels=labels, out=labels.parent / "out", **wanted)]
    assert run(capsys, *arguments(labels, "--import", "a", "--import", "b", "--import-form", "vcd"))[0] == 0
    assert (seen[1].imports, seen[1].import_form) == ((Path("a"), Path("b")), "vcd")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ModelError("no weights"), 1, "coder-texts: no weights\n"),
        (ValueError("no number"), 1, "coder-texts: no number\n"),
        (OSError(28, "No space left on device", "out/texts.jsonl"), 1, "out/texts.jsonl: No space left on device\n"),
        (OSError(28, "No space left on device"), 1, "coder-texts: text set: No space left on device\n"),
        (ImportError("No module named 'openai'"), 1, "'openai'; install what writes texts: pip install 'coder-engine["),
        (KeyboardInterrupt(), 130, "interrupted; replies are kept, the same command goes on from them\n"),
    ],
)
def test_what_ends_a_run(
    error: BaseException, code: int, said: str, labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def generate(config: TextsConfig, report: object) -> None:
        raise error

    monkeypatch.setattr(generator, "generate", generate)
    found, _, err = run(capsys, *arguments(labels))
    assert found == code
    assert said in err


def test_a_part_that_is_not_installed(labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "coder_export.generate.generator", None)
    code, _, err = run(capsys, *arguments(labels))
    assert code == 1
    assert "pip install 'coder-engine[texts,cpu]'" in err


# runs


def test_a_whole_set_is_done(labels: Path, wordnet_folder: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, *arguments(labels))
    assert (code, err) == (0, "")
    folder = labels.parent / "out"
    assert f"\nwrote {folder}: 2 classes, " in out
    assert out.endswith(f"next: coder-export --model ViT-B/16 --labels {folder / 'labels.txt'} --texts {folder}\n")


def test_a_set_with_holes_is_told_even_when_quiet(labels: Path, wordnet_folder: Path, capsys: Capture) -> None:
    labels.write_text("crane\nquarg\n")
    code, out, err = run(capsys, *arguments(labels, "--quiet"))
    assert (code, out) == (2, "")
    assert err == f"missing in {labels.parent / 'out'}:\n  quarg: not in WordNet\n"


def test_a_dry_run_is_done(labels: Path, wordnet_folder: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, *arguments(labels, "--llm", "gpt-4.1-mini", "--dry-run"))
    assert (code, err) == (0, "")
    assert re.search(
        r"4 general questions and 1 pairs: 5 calls to make, about [\d,]+ prompt and [\d,]+ completion tokens, about \$",
        out,
    )
    assert not (labels.parent / "out").exists()


def test_a_run_with_a_server(labels: Path, wordnet_folder: Path, capsys: Capture) -> None:
    with serving() as server:
        code, out, err = run(capsys, *arguments(labels, "--llm", "m", "--base-url", server.url))
    assert (code, err) == (0, "")
    assert "16 attribute, 12 analogous" in out


# check and show


def test_check(animals: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "check", animals)
    assert (code, err) == (0, "")
    assert out.endswith("Nothing is wrong.\n")
    (animals / "pairs.jsonl").write_text('{"class": "cat", "other": "elk", "text": "its size"}\n')
    code, out, _ = run(capsys, "check", animals)
    assert code == 2
    assert "one-sided (1)" in out


def test_a_check_is_as_wide_as_the_terminal(animals: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (animals / "texts.jsonl").write_text(json.dumps({"class": "cat", "kind": "attribute", "text": "an elk " * 40}))
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, run(capsys, "check", animals)[1].split("\n"))) <= 60


def test_check_for_machines(animals: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "check", animals, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["findings"], found["pairs_covered"]) == (0, True, [], 1)


def test_show(animals: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "show", animals, "--class", "elk")
    assert (code, err) == (0, "")
    assert "  a photo of an elk, which has broad antlers.\n" in out
    assert "  Because of its size, a cat is different from an elk." in out


def test_show_for_machines(animals: Path, capsys: Capture) -> None:
    found = json.loads(run(capsys, "show", animals, "--class", "cat", "--json")[1])
    assert found["sentences"]["synonym"] == ["a photo of a tom."]
    assert found["pairs"][0]["other"] == "elk"


@pytest.mark.parametrize("command", [("check",), ("show", "--class", "cat")])
def test_no_such_text_set(command: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, command[0], tmp_path / "nowhere", *command[1:])
    assert (code, out) == (1, "")
    assert err.startswith(f"coder-texts: {tmp_path / 'nowhere'}: neither a folder nor a shipped text set")


def test_no_such_class(animals: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "show", animals, "--class", "Elks")
    assert (code, out) == (1, "")
    assert "has no class 'Elks'; did you mean 'elk'?" in err


# output that is not read, or cannot be written


def test_a_full_disk_is_no_fault_of_the_text_set(
    animals: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["show", str(animals), "--class", "cat"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("coder-texts: cannot write to standard output (No space left on device)")
    assert err.count("\n") == 1


def test_a_terminal_that_lacks_a_character(animals: Path) -> None:
    texts = (animals / "texts.jsonl").read_text()
    (animals / "texts.jsonl").write_text(texts.replace("whiskers", "K\u00e4se"))
    command = [sys.executable, "-m", "coder_export.generate.cli", "show", str(animals), "--class", "cat"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"K\\xe4se" in done.stdout


def unread(*argv: object, stderr: bool = False) -> tuple[int, str]:
    """Exit code and errors of a command whose reader has gone: ``coder-texts ... | true``."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "coder_export.generate.cli", *map(str, argv)]
    try:
        done = subprocess.run(command, stdout=write, stderr=write if stderr else subprocess.PIPE, text=True)
    finally:
        os.close(write)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("command", [("check",), ("check", "--json"), ("show", "--class", "cat")])
def test_a_reader_that_has_seen_enough(command: tuple[str, ...], animals: Path) -> None:
    assert unread(command[0], animals, *command[1:]) == (0, "")


def test_a_check_that_nobody_reads_still_tells_of_faults(animals: Path) -> None:
    (animals / "pairs.jsonl").write_text('{"class": "cat", "other": "elk", "text": "its size"}\n')
    assert unread("check", animals) == (2, "")


@pytest.mark.parametrize("stderr", [False, True])
def test_a_run_that_nobody_reads_writes_its_set(stderr: bool, labels: Path) -> None:
    (labels.parent / "theirs.json").write_text('{"crane": ["a long arm"]}')
    code, err = unread(*arguments(labels, "--import", labels.parent / "theirs.json"), stderr=stderr)
    out = labels.parent / "out"
    assert (code, err) == (2, "" if stderr else f"missing in {out}:\n  winch: nothing in theirs.json\n")
    assert load_textset(out).texts[0] == {"attribute": ("which is a long arm",)}
