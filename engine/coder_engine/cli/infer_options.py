"""The options of coder-infer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from coder_engine.cli.command import fraction, parser_of, whole
from coder_engine.cli.engine_options import add_engine_options
from coder_engine.cli.formats import FORMATS
from coder_engine.pixels.formats import MAX_PIXELS

EPILOG = """\
examples:
  coder-infer photos/ --engine model.onnx                       a folder, on a terminal as a table
  coder-infer photos/ --engine model.onnx --recursive | jq .    sub-folders too, as JSON lines
  coder-infer 'photos/**/*.png' --engine model.onnx --out found.csv
  find . -name '*.jpg' -print0 | coder-infer - --null --engine model.onnx
  coder-infer cat.jpg --engine model.onnx --explain             which texts and duels decided
  coder-infer photos/ --engine model.plan --rebuild             TensorRT, built for this GPU

exit codes: 0 all well, 1 the command could not run, 2 some images failed, 130 interrupted
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked and with defaults filled in. Wrong usage and --help end in SystemExit, as argparse does."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.format is None:
        args.format = _default_format(args)
    if args.explain and args.format == "csv":
        parser.error("--explain has no place in a csv; use --format jsonl or table")
    if args.null and "-" not in args.images:
        parser.error("--null is for a list on standard input; pass - for the images")
    return args


def _default_format(args: argparse.Namespace) -> str:
    if args.out is not None and args.out.lower().endswith(".csv"):
        return "csv"
    return "table" if args.explain or to_terminal(args) else "jsonl"


def _parser() -> argparse.ArgumentParser:
    description = "Classify images with an engine file, without PyTorch."
    parser = parser_of("coder-infer", description, epilog=EPILOG)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="files, folders, quoted patterns; - for a list on stdin")
    rebuild = "first build the .plan anew for this machine, from the .onnx beside it"
    add_engine_options(parser).add_argument("--rebuild", action="store_true", help=rebuild)
    _add_input_options(parser.add_argument_group("images"))
    _add_method_options(parser.add_argument_group("method"))
    _add_output_options(parser.add_argument_group("output"))
    _add_speed_options(parser.add_argument_group("speed"))
    return parser


def _add_input_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--recursive", "-r", action="store_true", help="go into sub-folders")
    add("--null", action="store_true", help="the list on stdin is separated by NUL, not by lines")
    add("--max-pixels", type=whole, default=MAX_PIXELS, metavar="N", help="refuse larger ones (%(default)s)")
    add("--fail-fast", action="store_true", help="stop at the first image that fails")


def _add_method_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--top", type=whole, default=5, metavar="N", help="classes listed an image (%(default)s)")
    add(
        "--unknown-below",
        type=fraction,
        metavar="P",
        help="mark answers less probable as unknown; 0: none (default: the weight file's threshold, if it has one)",
    )
    add("--no-adapter", action="store_true", help="go without the weight file's few-shot adapter")
    rerank = group.add_mutually_exclusive_group()
    rerank.add_argument("--no-rerank", action="store_true", help="stop after stage 1")
    gate = "rerank only where the best two probabilities are closer than this"
    rerank.add_argument("--margin", type=fraction, metavar="M", help=gate)


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--format", choices=FORMATS, help="default: table on a terminal or with --explain, else jsonl; *.csv: csv")
    add("--out", metavar="FILE", help="write there; the file appears when all is done")
    add("--explain", action="store_true", help="say with each row which texts and duels decided (table, jsonl)")
    add("--quiet", "-q", action="store_true", help="only errors on stderr")


def _add_speed_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--batch-size", type=whole, default=8, metavar="N", help="images run at once (%(default)s)")
    add("--workers", type=whole, metavar="N", help="decoding threads (default: as --threads)")
    fast = "decode large JPEGs smaller, at least twice the model's size: changes pixels, and so scores"
    add("--fast-decode", action="store_true", help=fast)


def to_terminal(args: argparse.Namespace) -> bool:
    """Whether the rows go to a terminal."""
    return args.out is None and sys.stdout.isatty()
