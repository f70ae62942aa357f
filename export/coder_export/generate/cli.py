"""coder-texts: class names in, a text set out, by an LLM, by WordNet, or from other people's texts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from coder_engine import __version__
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
      by WordNet alone: no LLM, no network
  coder-texts --labels birds.txt --out birds --import descriptors.json --import cupl.json
      other people's texts
  coder-texts check birds
  coder-texts show birds --class wren
"""
_EXIT = "exit codes: 0 done, 1 could not run, 2 done but something is missing, 130 interrupted (replies are kept)"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 could not, 2 done with holes, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    commands = {"check": _check, "show": _show}
    try:
        if argv[:1] and argv[0] in commands:
            return commands[argv[0]](argv[1:])
        return _generate(argv)
    except (CoderError, ValueError) as err:
        return _failed(str(err))
    except ImportError as err:
        return _failed(f"{err}; install what writes texts: pip install 'coder-engine[texts,cpu]'")
    except BrokenPipeError:  # the reader, `head` or a pager, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        return _failed(f"{err.filename or 'text set'}: {err.strerror}")
    except KeyboardInterrupt:
        print("coder-texts: interrupted; replies are kept, the same command goes on from them", file=sys.stderr)
        return 130


def _generate(argv: list[str]) -> int:
    args = vars(_parser().parse_args(argv))
    quiet = args.pop("quiet")
    config = TextsConfig(**{**args, "imports": tuple(args["imports"])})
    # Imported late: torch takes seconds, and --help and wrong arguments should not.
    from coder_export.generate.generator import generate
    from coder_export.generate.summary import missing, summary
    from coder_export.report import Report

    report = Report(quiet=quiet)
    outcome = generate(config, report)
    if outcome.textset is None:
        return 0
    for line in summary(outcome.textset, config.out):
        report.say(line)
    if not outcome.missing:
        return 0
    print("\n".join(missing(outcome.missing, config.out)), file=sys.stderr)
    return 2


def _check(argv: list[str]) -> int:
    parser = _Parser(prog="coder-texts check", description="What a text set has, and what is wrong with it.")
    parser.add_argument("textset", metavar="DIR|NAME", help="a text set's folder, or a shipped one's name")
    parser.add_argument("--json", action="store_true", help="everything, for machines")
    args = parser.parse_args(argv)
    from coder_export.generate.summary import check_file

    found = check_file(args.textset)
    print(json.dumps(found.to_json(), ensure_ascii=False, indent=2) if args.json else found.table())
    return 0 if found.ok else 2


def _show(argv: list[str]) -> int:
    parser = _Parser(prog="coder-texts show", description="All texts of one class.")
    parser.add_argument("textset", metavar="DIR|NAME", help="a text set's folder, or a shipped one's name")
    parser.add_argument("--class", dest="label", required=True, metavar="X", help="the class")
    parser.add_argument("--json", action="store_true", help="for machines")
    args = parser.parse_args(argv)
    from coder_export.generate.check.show import class_json, show_class
    from coder_export.shipped import open_textset

    textset = open_textset(args.textset)
    if args.json:
        print(json.dumps(class_json(textset, args.label), ensure_ascii=False, indent=2))
    else:
        print(show_class(textset, args.label))
    return 0


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends in 1: 2, argparse's own, says here that something is missing."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _failed(message: str) -> int:
    print(f"coder-texts: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="coder-texts",
        description=f"{__doc__} Also: coder-texts check DIR, coder-texts show DIR --class X.",
        epilog=_EXAMPLES + "\n" + _EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"coder-texts {__version__}")
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
    add("--domain", default="photo", metavar="TEXT", help='what the pictures are, "satellite photo" (default: photo)')
    pairs = "all, none, top:K (the K nearest of each class), seen:FOLDER (default: all up to 20 classes, else top:8)"
    add("--pairs", type=_pairs, metavar="WHICH", help=pairs)
    add("--max-pairs", type=int, metavar="N", help="the N most needed pairs at most")
    add("--attributes", type=int, default=8, metavar="N", help="attribute texts a class (default: 8)")
    add("--analogues", type=int, default=6, metavar="N", help="analogous classes a class (default: 6)")
    add("--pair-texts", type=int, default=4, metavar="N", help="texts of each class of a pair (default: 4)")
    add("--overwrite", action="store_true", help="replace texts written or changed by hand, too")
    add("--dry-run", action="store_true", help="say what would be asked and cost, and stop")


def _add_expert(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--llm", metavar="MODEL", help="ask this model")
    add("--expert", choices=("llm", "wordnet"), help="default: llm where --llm is given, else wordnet")
    files = "texts of VCD, CuPL or CODER, or WaffleCLIP's words; may be given again"
    add("--import", dest="imports", type=Path, action="append", default=[], metavar="FILE", help=files)
    add("--import-form", choices=FORMS, help="what the files are (default: seen from their content)")
    theirs = "their class names in order, where a file has lists without names"
    add("--import-labels", type=Path, metavar="FILE", help=theirs)


def _add_server(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--base-url", metavar="URL", help="any server with OpenAI's protocol (default: OPENAI_BASE_URL, else OpenAI)")
    add("--budget", type=_budget, default=10.0, metavar="USD", help="most dollars to spend, or none (default: 10)")
    add("--prices", type=Path, metavar="FILE", help='{"model": [$/M prompt tokens, $/M completion tokens]}')
    add("--concurrency", type=int, default=16, metavar="N", help="calls at once (default: 16)")
    add("--timeout", type=float, default=120.0, metavar="S", help="seconds a call may take (default: 120)")
    add("--tries", type=int, default=8, metavar="N", help="tries a call, where the server fails (default: 8)")
    add("--attempts", type=int, default=3, metavar="N", help="replies a question, where they are bad (default: 3)")


def _add_clip(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    model = "judges analogues, senses and nearest pairs; 'none' goes without (default: ViT-B/16)"
    add("--model", default="ViT-B/16", metavar="NAME", help=model)
    add("--pretrained", metavar="TAG|FILE", help="as for coder-export")
    add("--checkpoint", type=Path, metavar="FILE", help="as for coder-export")
    add("--threshold", type=float, default=0.9, metavar="X", help="cosine above which an analogue is another class")


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
