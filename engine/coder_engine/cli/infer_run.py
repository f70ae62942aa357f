"""One run of coder-infer: find, predict, write, tell."""

from __future__ import annotations

import argparse
import itertools
import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from coder_engine.cli.command import OK, SOME_FAILED, say
from coder_engine.cli.engine_options import open_engine, weights_path
from coder_engine.cli.formats import Csv, Format, JsonLines, Table
from coder_engine.cli.infer_options import to_terminal
from coder_engine.cli.inputs import Inputs, Item
from coder_engine.cli.output import Output, OutputClosed, open_output
from coder_engine.cli.path_list import Pause
from coder_engine.cli.progress import Progress, building, terminal
from coder_engine.counts import count_of
from coder_engine.errors import ImageError
from coder_engine.places import check_text_place
from coder_engine.prediction import Prediction

if TYPE_CHECKING:
    from coder_engine.engine import Engine
    from coder_engine.explain import Explanation


def run(args: argparse.Namespace) -> int:
    """Do what the options ask for; gives the exit code.

    Raises:
        CoderError: it cannot be done.
    """
    check_text_place("--out", args.out, [args.engine, weights_path(args), *args.images])
    inputs = Inputs(args.images, recursive=args.recursive, null=args.null)
    items = inputs.with_pauses()
    if inputs.listed:  # an empty folder should not wait for the engine to load
        items = itertools.chain([next(items)], items)
    if args.rebuild:
        _rebuild(args)
    engine = open_engine(
        args,
        margin=args.margin,
        rerank=not args.no_rerank,
        adapter=not args.no_adapter,
        max_pixels=args.max_pixels,
        fast_decode=args.fast_decode,
    )
    if not args.quiet:
        _say(engine.description)
        _tell_of_rerank(args, engine)
    progress = Progress(None if to_terminal(args) else terminal(quiet=args.quiet))  # rows on a terminal are progress
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


def _tell_of_rerank(args: argparse.Namespace, engine: Engine) -> None:
    """That an option of the rerank has no effect, where an adapter ranks."""
    if engine.adapter is not None and (args.no_rerank or args.margin is not None):
        option = "--no-rerank" if args.no_rerank else "--margin"
        effect = f"the few-shot adapter ranks, without a rerank, so {option} changes no answer"
        _say(f"{effect}; --no-adapter goes without it")


def _rebuild(args: argparse.Namespace) -> None:
    from coder_engine.plans.rebuild import rebuild_plan

    with building(terminal(quiet=args.quiet), str(args.engine)) as progress:
        record = rebuild_plan(args.engine, weights=args.weights, progress=progress)
    if not args.quiet:
        _say(f"{args.engine}: built by {record}")


def _write(
    args: argparse.Namespace, engine: Engine, items: Iterable[Item | Pause], output: Output
) -> Iterator[Prediction]:
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


def _predictions(
    args: argparse.Namespace, engine: Engine, items: Iterable[Item | Pause]
) -> Generator[Prediction, None, None]:
    """Predictions for the paths. A list that pauses is answered up to there before more of it is waited for."""
    source = iter(items)
    for first in source:
        if not isinstance(first, Pause):
            run = itertools.takewhile(lambda item: not isinstance(item, Pause), source)
            yield from _without_a_pause(args, engine, itertools.chain([first], run))


def _without_a_pause(
    args: argparse.Namespace, engine: Engine, items: Iterable[Item | Pause]
) -> Generator[Prediction, None, None]:
    """Predictions for the paths, with the rows that had failed already back in their places."""
    failed: deque[tuple[int, Prediction]] = deque()
    read = 0

    def paths() -> Iterator[str]:
        nonlocal read
        for item in items:
            if isinstance(item, Prediction):
                failed.append((read, item))
            elif isinstance(item, str):
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
    return Table(engine.labels, shutil.get_terminal_size().columns if to_terminal(args) else None)


def _summary(progress: Progress, failed: int, inputs: Inputs) -> str:
    skipped = f"; skipped {inputs.left_out()}" if inputs.skipped else ""
    return f"{count_of(progress.done, 'image')}, {failed:,} failed, {progress.rate:.1f} images/s{skipped}"


def _say(text: str) -> None:
    say("coder-infer", text)
