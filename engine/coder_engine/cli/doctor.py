"""coder-doctor: what this machine has, what conflicts, what to install."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from coder_engine.cli.command import OK, guarded, parser_of
from coder_engine.cli.output import OutputClosed, open_output
from coder_engine.doctor.engine_file import EngineFile, examine
from coder_engine.doctor.facts import Facts, find_facts
from coder_engine.doctor.report import COLUMNS, as_json, as_text
from coder_engine.doctor.todo import exit_code

EPILOG = """\
examples:
  coder-doctor                          what is here and what to install
  coder-doctor --engine model.onnx      is the engine whole, and what here runs it
  coder-doctor --json | jq .todo

exit codes: 0 something here can run engines (with --engine: that engine), 1 nothing can, or
packages conflict, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run coder-doctor; returns its exit code. Wrong usage and --help end in SystemExit, as argparse does."""
    args = _parser().parse_args(argv)
    return guarded("coder-doctor", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    facts = find_facts()
    engine = examine(args.engine, args.weights) if args.engine else None
    text = json.dumps(as_json(facts, engine), indent=2) + "\n" if args.json else _text(facts, engine)
    try:
        with open_output(None) as output:
            output.write(text)
    except OutputClosed:
        return OK
    return exit_code(facts, engine)


def _text(facts: Facts, engine: EngineFile | None) -> str:
    columns = min(COLUMNS, shutil.get_terminal_size().columns) if sys.stdout.isatty() else COLUMNS
    return as_text(facts, engine, columns=columns)


def _parser() -> argparse.ArgumentParser:
    description = "Say what this machine has to run and make engines with, what conflicts, and what to install."
    parser = parser_of("coder-doctor", description, epilog=EPILOG)
    add = parser.add_argument
    add("--engine", type=Path, metavar="FILE", help="check this engine, too, and run it once with every backend")
    add("--weights", type=Path, metavar="FILE", help="its weight file (default: the .safetensors beside it)")
    add("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
