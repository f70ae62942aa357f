"""coder-texts: class names in, a text set out, by an LLM, by WordNet, or from other people's texts."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from coder_engine.cli.command import OK, SOME_FAILED, guarded, parser_of
from coder_engine.cli.output import Output, OutputClosed, encodable
from coder_engine.errors import CoderError
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import KINDS
from coder_export.generate.imports.forms import FORMS
from coder_export.generate.pairs import PairChoice

_EXAMPLES = """
examples:
  coder-texts --labels birds.txt --out birds --llm gpt-4.1-mini --dry-run
      what it would ask and cost; OPENAI_API_KEY holds the key
  coder-texts --labels birds.txt --out birds --llm gpt-4.1-mini --budget 2
      writes birds/; killed or failed, the same command goes on where it was
  coder-texts --labels birds.txt --out birds --llm qwen3 --base-url http://localhost:11434/v1 --pairs top:6
      by a local server (Ollama, vLLM, llama.cpp, ...)
  coder-texts --labels fields.txt --out fields --llm gpt-4.1 --domain "satellite photo" --pairs seen:tiles/
      pairs that are really confused on your images, most frequent first
  coder-texts --labels birds.txt --out birds --model none
      by WordNet alone: no LLM, and no network where WordNet's files are
  coder-texts --labels birds.txt --out birds --import descriptors.json --import cupl.json
      other people's texts
  coder-texts check birds
  coder-texts show birds --class wren
"""
_EXIT = "exit codes: 0 done, 1 could not run, 2 done but something is missing, 130 interrupted (replies are kept)"
_CHECK_EXIT = "exit codes: 0 nothing is wrong, 1 could not run, 2 something is"
_COLUMNS = 100
"""Of what is no terminal."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 could not, 2 done with holes, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    command = {"check": _check, "show": _show}.get(argv[0] if argv else "")
    kept = "interrupted; replies are kept, the same command goes on from them"
    return guarded(
        "coder-texts", lambda: _run(command, argv[1:]) if command else _run(_generate, argv), interrupted=kept
    )


def _run(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """A command's exit code; whatever stops it becomes a CoderError."""
    try:
        return command(argv)
    except ImportError as err:
        raise CoderError(f"{err}; install what writes texts: pip install 'coder-engine[texts,cpu]'") from err
    except ValueError as err:
        raise CoderError(str(err)) from err
    except OSError as err:
        raise CoderError(f"{err.filename or 'text set'}: {err.strerror}") from err


def _generate(argv: list[str]) -> int:
    args = vars(_parser().parse_args(argv))
    quiet = args.pop("quiet")
    config = TextsConfig(**{**args, "imports": tuple(args["imports"])})
    # Imported late: torch takes seconds, and --help and wrong arguments should not.
    from coder_export.generate.generator import generate
    from coder_export.generate.patience import PatientReport
    from coder_export.generate.summary import missing, summary

    report = PatientReport(quiet=quiet)
    outcome = generate(config, report)
    if outcome.textset is None:
        return OK
    for line in summary(outcome.textset, config):
        report.say(line)
    if not outcome.missing:
        return OK
    _print("\n".join(missing(outcome.missing, config.out)), sys.stderr)
    return SOME_FAILED


def _check(argv: list[str]) -> int:
    parser = parser_of("coder-texts check", "What a text set has, and what is wrong with it.", epilog=_CHECK_EXIT)
    parser.add_argument("textset", metavar="DIR|NAME", help="a text set's folder, or a shipped one's name")
    model = "lengths are measured for its text tower, 'none' leaves them out (default: %(default)s)"
    parser.add_argument("--model", default=TextsConfig.model, metavar="NAME", help=model)
    parser.add_argument("--json", action="store_true", help="everything, for machines")
    args = parser.parse_args(argv)
    from coder_export.generate.check.on_disk import check_file

    found = check_file(args.textset, args.model)
    _print(
        json.dumps(found.to_json(), ensure_ascii=False, indent=2) if args.json else found.table(_columns()), sys.stdout
    )
    return OK if found.ok else SOME_FAILED


def _show(argv: list[str]) -> int:
    parser = parser_of("coder-texts show", "All texts of one class.", epilog="")
    parser.add_argument("textset", metavar="DIR|NAME", help="a text set's folder, or a shipped one's name")
    parser.add_argument("--class", dest="label", required=True, metavar="X", help="the class")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_args(argv)
    from coder_export.generate.check.opened import open_given
    from coder_export.generate.check.show import class_json, show_class

    textset = open_given(args.textset)
    data = class_json(textset, args.label)
    _print(json.dumps(data, ensure_ascii=False, indent=2) if args.json else show_class(textset, args.label), sys.stdout)
    return OK


def _columns() -> int:
    return shutil.get_terminal_size(fallback=(_COLUMNS, 24)).columns


def _print(text: str, stream: TextIO) -> None:
    """As far as anybody reads it: ``head`` or a pager may have seen enough."""
    encodable(stream)
    with suppress(OutputClosed):
        Output(stream).write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    description = f"{__doc__} Also: coder-texts check DIR, coder-texts show DIR --class X."
    parser = parser_of("coder-texts", description, epilog=f"{_EXAMPLES}\n{_EXIT}")
    add = parser.add_argument
    add("--labels", type=Path, required=True, metavar="FILE", help="one class name a line")
    add("--out", type=Path, required=True, metavar="DIR", help="the text set; what it holds of other kinds stays")
    add("--quiet", action="store_true", help="print errors only")
    _add_what(parser.add_argument_group("what to write"))
    _add_expert(parser.add_argument_group("expert"))
    _add_server(parser.add_argument_group("the LLM's server"))
    _add_clip(parser.add_argument_group("CLIP's text space"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--kinds", type=_kinds, metavar="K,...", help=f"of {', '.join(KINDS)} (default: all that the expert can)")
    domain = 'what the pictures are, "satellite photo" (default: %(default)s)'
    add("--domain", default=TextsConfig.domain, metavar="TEXT", help=domain)
    pairs = "all, none, top:K (the K nearest of each class), seen:FOLDER (default: all up to 20 classes, else top:8)"
    add("--pairs", type=_pairs, metavar="WHICH", help=pairs)
    add("--max-pairs", type=int, metavar="N", help="the N most needed pairs at most")
    _number(group, "--attributes", "attribute texts a class")
    _number(group, "--analogues", "analogous classes a class")
    _number(group, "--pair-texts", "texts of each class of a pair")
    add("--overwrite", action="store_true", help="replace texts written or changed by hand, too")
    add("--dry-run", action="store_true", help="say what would be asked and cost, and stop")


def _add_expert(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--llm", metavar="MODEL", help="ask this model; without one, WordNet writes the texts")
    files = "texts of VCD, CuPL or CODER, or WaffleCLIP's words; may be given again"
    add("--import", dest="imports", type=Path, action="append", default=[], metavar="FILE", help=files)
    add("--import-form", choices=FORMS, help="what the files are (default: seen from their content)")
    theirs = "their class names in order, where a file has lists without names"
    add("--import-labels", type=Path, metavar="FILE", help=theirs)


def _add_server(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--base-url", metavar="URL", help="any server with OpenAI's protocol (default: OPENAI_BASE_URL, else OpenAI)")
    budget = "most dollars that this run may spend, or none (default: %(default)g)"
    add("--budget", type=_budget, default=TextsConfig.budget, metavar="USD", help=budget)
    add("--prices", type=Path, metavar="FILE", help='{"model": [$/M prompt tokens, $/M completion tokens]}')
    _number(group, "--concurrency", "calls at once")
    _number(group, "--timeout", "seconds a call may take; more for a model that thinks long", kind=float, metavar="S")
    _number(group, "--tries", "tries a call, where the server fails; 3 at most where it is too slow")
    _number(group, "--attempts", "replies a question, where they are bad")


def _add_clip(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    model = "judges analogues, senses and nearest pairs; 'none' goes without (default: %(default)s)"
    add("--model", default=TextsConfig.model, metavar="NAME", help=model)
    add("--pretrained", metavar="TAG|FILE", help="as for coder-export")
    add("--checkpoint", type=Path, metavar="FILE", help="as for coder-export")
    _number(group, "--threshold", "cosine above which an analogue is another class", kind=float, metavar="X")


def _number(
    group: argparse._ArgumentGroup, option: str, what: str, *, kind: Callable[[str], float] = int, metavar: str = "N"
) -> None:
    """An option with the default of its field in TextsConfig."""
    default = getattr(TextsConfig, option.removeprefix("--").replace("-", "_"))
    group.add_argument(option, type=kind, default=default, metavar=metavar, help=f"{what} (default: {default:g})")


def _kinds(text: str) -> tuple[str, ...]:
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())


def _pairs(text: str) -> PairChoice:
    try:
        return PairChoice.parse(text)
    except ValueError as err:  # of which argparse would tell nothing but that it was one
        raise argparse.ArgumentTypeError(str(err)) from err


def _budget(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"wanted dollars or none, got {text!r}") from err


if __name__ == "__main__":
    sys.exit(main())
