"""coder-eval: labelled images or features -> how good CLIP, VCD, CODER and few-shot adapters are on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from coder_engine.cli.command import guarded
from coder_engine.cli.eval_options import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run coder-eval; returns its exit code. Wrong usage and --help end in SystemExit, as argparse does."""
    args = parse(argv)
    kept = "" if args.no_cache else "; features computed so far are kept"
    return guarded("coder-eval", lambda: _run(args), interrupted=f"interrupted{kept}")


def _run(args: argparse.Namespace) -> int:
    from coder_engine.cli.eval_run import run  # late: --help needs nothing that may be missing

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
