"""coder-infer: images -> predictions."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from coder_engine.cli.command import OK, SOME_FAILED, Parser, guarded, say
from coder_engine.cli.inputs import Inputs, Item
from coder_engine.cli.progress import Progress, building
from coder_engine.cli.writers import FORMATS, Csv, Format, JsonLines, Output, OutputClosed, Table, open_output
from coder_engine.errors import CoderError, ImageError
from coder_engine.images import MAX_PIXELS
from coder_engine.prediction import Prediction

if TYPE_CHECKING:
    from coder_engine.engine import Engine
    from coder_engine.explain import Explanation

EPILOG = """\
examples:
  coder-infer photos/ --engine model.onnx                       a folder, as a table
  coder-infer photos/ --engine model.onnx --recursive | jq .    sub-folders too, as JSON lines
  coder-infer 'photos/**/*.png' --engine model.onnx --out found.csv
  find . -name '*.jpg' -print0 | coder-infer - --null --engine model.onnx
  coder-infer cat.jpg --engine model.onnx --explain             which texts and duels decided
  coder-infer photos/ --engine model.plan --rebuild             TensorRT, built for the GPU of this machine

exit codes: 0 all well, 1 the command could not run, 2 some images failed, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run coder-infer; returns its exit code. Wrong usage and --help end in SystemExit, as argparse does."""
    args = _parse(argv)
    lost = f"; {args.out} was not written" if args.out else ""
    return guarded("coder-infer", lambda: _run(args), interrupted=f"interrupted{lost}")


def load_engine(args: argparse.Namespace) -> Engine:
    """The engine the options ask for.

    Raises:
        CoderError: it cannot be opened, or an option does not suit it.
    """
    from coder_engine.engine import Engine

    try:
        return Engine(
            args.engine,
            weights=args.weights,
            backend=args.backend,
            device=args.device,
            precision=args.precision,
            threads=args.threads,
            margin=args.margin,
            rerank=not args.no_rerank,
            adapter=not args.no_adapter,
            max_pixels=args.max_pixels,
            fast_decode=args.fast_decode,
        )
    except ValueError as err:
        raise CoderError(str(err)) from err


def _rebuild(args: argparse.Namespace) -> None:
    from coder_engine.plans.rebuild import rebuild_plan

    with building(sys.stderr if sys.stderr.isatty() and not args.quiet else None, args.engine) as progress:
        record = rebuild_plan(args.engine, weights=args.weights, progress=progress)
    if not args.quiet:
        _say(f"{args.engine}: built by {record}")


def _run(args: argparse.Namespace) -> int:
    inputs = Inputs(args.images, recursive=args.recursive, null=args.null)
    items: Iterator[Item] = iter(inputs)
    if inputs.listed:  # an empty folder should not wait for the engine to load
        items = itertools.chain([next(items)], items)
    if args.rebuild:
        _rebuild(args)
    engine = load_engine(args)
    if not args.quiet:
        _say(engine.description)
    progress = Progress(sys.stderr if _shows_progress(args) else None)
    failed = 0
    try:
        with open_output(args.out) as output:
            for found in _write(args, engine, items, output):
                progress.advance(inputs.total)
                failed += found.error is not None
    except OutputClosed:
        pass
    finally:
        progress.clear()
    if not args.quiet:
        _say(_summary(progress, failed, inputs))
    return SOME_FAILED if failed else OK


def _write(args: argparse.Namespace, engine: Engine, items: Iterable[Item], output: Output) -> Iterator[Prediction]:
    """Predict and write; gives back each prediction once it is written."""
    form = _format(args, engine)
    output.write(form.header())
    with closing(_predictions(args, engine, items)) as rows:
        for found in rows:
            wanted = args.explain and found.error is None
            output.write(form.row(found, _explanation(engine, found) if wanted else None))
            yield found
            if args.fail_fast and found.error is not None:
                break
    output.write(form.footer())


def _predictions(args: argparse.Namespace, engine: Engine, items: Iterable[Item]) -> Generator[Prediction, None, None]:
    """Predictions for the paths, with the rows that had failed already back in their places."""
    failed: deque[tuple[int, Prediction]] = deque()
    read = 0

    def paths() -> Iterator[str]:
        nonlocal read
        for item in items:
            if isinstance(item, Prediction):
                failed.append((read, item))
            else:
                read += 1
                yield item

    stream = engine.predict_stream(
        paths(),
        batch_size=args.batch_size,
        workers=args.workers,
        top=args.top,
        unknown_below=args.unknown_below,
    )
    try:
        for done, found in enumerate(stream):
            while failed and failed[0][0] <= done:
                yield failed.popleft()[1]
            yield found
    finally:
        if isinstance(stream, Generator):
            stream.close()
    yield from (row for _, row in failed)


def _explanation(engine: Engine, found: Prediction) -> Explanation | ImageError:
    try:
        return engine.explain(found.path)
    except ImageError as err:  # changed since it was predicted
        return err


def _format(args: argparse.Namespace, engine: Engine) -> Format:
    if args.format == "jsonl":
        return JsonLines()
    if args.format == "csv":
        return Csv(min(args.top, len(engine.labels)))
    return Table(engine.labels, shutil.get_terminal_size().columns if _to_terminal(args) else None)


def _to_terminal(args: argparse.Namespace) -> bool:
    return args.out is None and sys.stdout.isatty()


def _shows_progress(args: argparse.Namespace) -> bool:
    """Where rows run down the same terminal, they are the progress."""
    return sys.stderr.isatty() and not args.quiet and not _to_terminal(args)


def _summary(progress: Progress, failed: int, inputs: Inputs) -> str:
    skipped = f"; skipped {inputs.left_out()}" if inputs.skipped else ""
    images = "1 image" if progress.done == 1 else f"{progress.done:,} images"
    return f"{images}, {failed:,} failed, {progress.rate:.1f} images/s{skipped}"


def _say(text: str) -> None:
    say("coder-infer", text)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from coder_engine import __version__

        print(f"coder-infer {__version__}")
        parser.exit(OK)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
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
    return "table" if args.explain or _to_terminal(args) else "jsonl"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="coder-infer",
        description="Classify images with an engine file, without PyTorch.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="files, folders, quoted patterns; - for a list on stdin")
    add("--engine", required=True, metavar="FILE", help="engine file that coder-export made")
    add("--weights", "--labels-from", metavar="FILE", help="weight file (default: engine's .safetensors)")
    add("--rebuild", action="store_true", help="first build the .plan anew for this machine, from the .onnx beside it")
    add("--version", nargs=0, action=_Version, help="print the version and leave")
    _add_input_options(parser.add_argument_group("images"))
    _add_method_options(parser.add_argument_group("method"))
    _add_output_options(parser.add_argument_group("output"))
    _add_speed_options(parser.add_argument_group("speed"))
    return parser


def _add_input_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--recursive", "-r", action="store_true", help="go into sub-folders")
    add("--null", action="store_true", help="the list on stdin is separated by NUL, not by lines")
    add("--max-pixels", type=_count, default=MAX_PIXELS, metavar="N", help="refuse larger ones (%(default)s)")
    add("--fail-fast", action="store_true", help="stop at the first image that fails")


def _add_method_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--top", type=_count, default=5, metavar="N", help="classes listed an image (%(default)s)")
    add(
        "--unknown-below",
        type=_fraction,
        metavar="P",
        help="mark answers less probable as unknown; 0: none (default: the weight file's threshold, if it has one)",
    )
    add("--no-adapter", action="store_true", help="go without the weight file's few-shot adapter")
    rerank = group.add_mutually_exclusive_group()
    rerank.add_argument("--no-rerank", action="store_true", help="stop after stage 1")
    gate = "rerank only where the best two probabilities are closer than this"
    rerank.add_argument("--margin", type=_fraction, metavar="M", help=gate)


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--format", choices=FORMATS, help="default: table on a terminal, else jsonl; *.csv: csv")
    add("--out", metavar="FILE", help="write there; the file appears when all is done")
    add("--explain", action="store_true", help="say with each row which texts and duels decided (table, jsonl)")
    add("--quiet", "-q", action="store_true", help="only errors on stderr")


def _add_speed_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--backend",
        default="auto",
        metavar="NAME",
        help="tensorrt, openvino, onnxruntime (default: the best that works)",
    )
    add("--device", default="auto", metavar="NAME", help="cpu, cuda (default: the best that works)")
    add(
        "--precision",
        default="auto",
        metavar="NAME",
        help="bf16, fp32, or what the engine was exported in (default: the fastest)",
    )
    add("--batch-size", type=_count, default=8, metavar="N", help="images run at once (%(default)s)")
    add("--threads", type=_count, metavar="N", help="CPU threads (default: the usable CPUs)")
    add("--workers", type=_count, metavar="N", help="decoding threads (default: as --threads)")
    fast = "decode large JPEGs smaller, at least twice the model's size: changes pixels, and so scores"
    add("--fast-decode", action="store_true", help=fast)


def _checked(kind: Callable[[str], float], wanted: str, fits: Callable[[float], bool], text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return value


def _count(text: str) -> int:
    return int(_checked(int, "a whole number, at least 1", lambda value: value >= 1, text))


def _fraction(text: str) -> float:
    return _checked(float, "a number from 0 to 1", lambda value: 0 <= value <= 1, text)


if __name__ == "__main__":
    sys.exit(main())
