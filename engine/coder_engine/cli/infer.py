"""coder-infer: images -> predictions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from coder_engine.cli.command import guarded
from coder_engine.cli.infer_options import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run coder-infer; returns its exit code. Wrong usage and --help end in SystemExit, as argparse does."""
    args = parse(argv)
    lost = f"; {args.out} was not written" if args.out else ""
    return guarded("coder-infer", lambda: _run(args), interrupted=f"interrupted{lost}")


def _run(args: argparse.Namespace) -> int:
    from coder_engine.cli.infer_run import run  # late: --help needs nothing that may be missing

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
