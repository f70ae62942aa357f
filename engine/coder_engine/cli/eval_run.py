"""One run of coder-eval: open, fit, measure, tell."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from coder_engine.cli.command import OK, SOME_FAILED, say
from coder_engine.cli.engine_options import weights_path
from coder_engine.cli.eval_task import Opened, open_task
from coder_engine.cli.output import Output, OutputClosed, open_output
from coder_engine.cli.progress import rewrite, terminal
from coder_engine.counts import count_of
from coder_engine.errors import DataError
from coder_engine.evaluate import few_shot, zero_shot
from coder_engine.evaluate.answers import answers_of, measure
from coder_engine.evaluate.evaluation import (
    Evaluation,
    duplicate_notes,
    evaluate_zero_shot,
    without_support,
    without_test,
)
from coder_engine.evaluate.few_shot import FewShot
from coder_engine.evaluate.fitting import fit
from coder_engine.evaluate.labelled import Labelled
from coder_engine.evaluate.methods import FEW_SHOT, ZERO_SHOT
from coder_engine.evaluate.tables import render
from coder_engine.fewshot.adapter import ZERO_SHOT_SCALE
from coder_engine.fewshot.affinity import NORMS
from coder_engine.files import sha256_of
from coder_engine.places import check_text_place
from coder_engine.weights import Weights, update_weights

MARGIN = 0.2
"""Of the method "gated" where nobody chose one: the authors' are from 0.05 to 0.6."""


def run(args: argparse.Namespace) -> int:
    """Do what the options ask for; gives the exit code.

    Raises:
        CoderError: it cannot be done.
    """
    tell: Callable[[str], object] = (lambda _: None) if args.quiet else _say
    own = weights_path(args) if args.engine is not None or args.weights is not None else None
    for option, place in (("--out", args.out), ("--report", args.report)):
        check_text_place(option, place, [args.data, args.engine, own, args.support, args.val, args.texts])
    if args.out is not None and args.report is not None and os.path.realpath(args.out) == os.path.realpath(args.report):
        raise DataError(f"--out and --report are both {args.out}: one would replace the other; choose two places")
    with _open_report(args.report) as report:
        with open_output(args.out) as output:  # before the work: a place that cannot be written is told at once
            found = _evaluate(args, open_task(args, tell))
            with suppress(OutputClosed):
                output.write(render(found, args.format))
        if report is not None:
            from coder_engine.evaluate.report import render_report

            tell("making the report ...")  # its t-SNE takes up to a minute
            report.write(render_report(found, seed=args.seed))
    if report is not None:
        tell(f"report in {args.report}")
    for note in found.notes:  # last, where they are read
        tell(note)
    if found.failed:
        tell(f"{count_of(len(found.failed), 'image')} could not be read, the first: {found.failed[0][1]}")
    return SOME_FAILED if found.failed else OK


def _evaluate(args: argparse.Namespace, opened: Opened) -> Evaluation:
    task, tested = without_test(opened.task)
    task, supporting = without_support(task)
    opened = replace(opened, task=task)
    found = Evaluation(
        source=str(args.data),
        engine=opened.engine,
        labels=opened.labels,
        test=task.test,
        notes=(*opened.notes, *tested, *supporting, *duplicate_notes(task)),
        failed=tuple(opened.failed),
        weights=opened.weights,
        texts=task.texts,
    )
    if opened.weights is not None:
        found = _with_fits(args, opened, opened.weights, found)
    found = _with_zero_shot(args, opened, found)
    found = replace(found, few_shot=tuple(_few_shot(args, opened)))
    if found.few_shot and args.methods is None and task.texts is None and opened.weights is None:
        left_out = "no TIP-X, CODER-Adapter or spectral; --texts TEXTS.npz brings them"
        found = replace(found, notes=(*found.notes, f"there are no general texts: {left_out}"))
    if not (found.zero_shot or found.ablation or found.few_shot or found.fitted):
        raise DataError(
            f"{args.data}: nothing to measure; give --engine for zero-shot methods, "
            "or --shots with support images for few-shot methods"
        )
    return replace(found, made=_made(args, found)) if args.report or args.format == "json" else found


def _made(args: argparse.Namespace, found: Evaluation) -> dict[str, str]:
    """What somebody needs who finds the result a year later."""
    files = {"engine": args.engine, "weights": None if found.weights is None else found.weights.path}
    return {
        "command": args.command,
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        **{name: f"{path}, sha256 {sha256_of(path)}" for name, path in files.items() if path and path.is_file()},
        "images": f"{found.images:,}, sha256 {found.test.digest}",
    }


def _with_zero_shot(args: argparse.Namespace, opened: Opened, found: Evaluation) -> Evaluation:
    task, weights = opened.task, found.weights
    common = {"rounds": args.bootstrap, "seed": args.seed}
    if weights is None:
        asked = args.methods is not None and "clip" in args.methods
        if opened.class_features is None and asked:
            raise DataError(f"{args.data}: no array 'class_features' for --methods clip; or give --engine or --weights")
        if opened.class_features is None or not (asked or args.methods is None):
            return found
        logits = task.test.features @ opened.class_features.T
        answers = [answers_of(ZERO_SHOT["clip"], logits, ZERO_SHOT_SCALE)]
        measured = measure(answers, task.test.labels, task.classes, **common)
        return replace(found, answers=tuple(answers), zero_shot=tuple(measured))
    wanted = [name for name in args.methods or zero_shot.runnable(weights) if name in ZERO_SHOT]
    if not wanted and not args.texts_ablation:
        return found
    notes = list(found.notes)
    if args.methods is None and weights.texts is None:
        lacking = "no CLIP, VCD or few-shot by its texts" if task.texts is None else "no CLIP or VCD"
        notes.append(f"the weight file has no texts of its classes: {lacking} (coder-export --keep-texts keeps them)")
    margin = next(one for one in (args.margin, weights.meta.margin, MARGIN) if one is not None)
    result = evaluate_zero_shot(
        wanted,
        task.test,
        weights,
        margin=margin,
        with_ablation=args.texts_ablation,
        threads=opened.threads,
        **common,
    )
    if "gated" in wanted and _chosen_here(weights, margin, task.test):
        notes.append(
            f"the margin of {zero_shot.title_of('gated', margin)} was chosen on these same images: its row flatters "
            "it; measure it on other images"
        )
    if result.answered_by and weights.meta.temperature != 1:
        notes.append(
            f"ECE of {result.answered_by} is with the weight file's temperature {weights.meta.temperature:.3g}, as the "
            "engine answers; that of all other rows is without one"
        )
    return replace(found, notes=tuple(notes), **vars(result))


def _chosen_here(weights: Weights, margin: float, test: Labelled) -> bool:
    """Whether a margin is the weight file's, fitted to the very images that it is measured on."""
    return margin == weights.meta.margin and weights.meta.margin_record.get("data") == test.digest


def _few_shot(args: argparse.Namespace, opened: Opened) -> list[FewShot]:
    if not opened.task.supports:
        if named := [name for name in args.methods or () if name in FEW_SHOT]:
            raise DataError(
                f"{args.data}: no support for --methods {named[0]}; give --shots, and --support where it has none"
            )
        return []
    names = [name for name in args.methods or FEW_SHOT if name in FEW_SHOT]
    if args.methods is None and opened.task.texts is None:
        names = [name for name in names if name not in few_shot.OF_TEXTS]
    norms = NORMS if args.norm == "both" else (args.norm,)
    stream = terminal(quiet=args.quiet)
    advance: Callable[[str], object] = partial(rewrite, stream) if stream else lambda _: None
    found = few_shot.few_shot(names, opened.task, norms=norms, rounds=args.bootstrap, seed=args.seed, advance=advance)
    advance("")
    return found


def _with_fits(args: argparse.Namespace, opened: Opened, weights: Weights, found: Evaluation) -> Evaluation:
    """Fit and store what was asked for, before anything is measured with it."""
    fitted = fit(
        opened.task.test,
        weights,
        margin=args.fit_margin,
        temperature=args.fit_temperature,
        outside=opened.outside,
        false_accepts=args.false_accepts,
        threads=opened.threads,
    )
    if not fitted.changes:
        return found
    updated = update_weights(weights.path, since=weights, **fitted.changes)
    lines, notes = (*fitted.lines, f"stored in {weights.path}"), (*found.notes, *fitted.notes)
    return replace(found, weights=updated, fitted=lines, notes=notes)


def _open_report(path: Path | None) -> AbstractContextManager[Output | None]:
    """The report's file, opened before the work.

    Raises:
        CoderError: the [eval] extra is missing, or the file cannot be written.
    """
    if path is None:
        return nullcontext()
    from coder_engine.evaluate.extra import needs_extra

    with needs_extra("reports"):
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
    return open_output(str(path))


def _say(text: str) -> None:
    say("coder-eval", text)
