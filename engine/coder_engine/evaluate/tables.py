"""An evaluation as a table for people, and as JSON and csv for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coder_engine.counts import count_of
from coder_engine.evaluate.methods import ZERO_SHOT

if TYPE_CHECKING:
    from coder_engine.evaluate.answers import Measured
    from coder_engine.evaluate.evaluation import Evaluation
    from coder_engine.evaluate.few_shot import FewShot

MEASURED = ("top-1", "95%", "gain", "top-5", "macro", "ECE")
FORMATS = ("table", "json", "csv")
_CSV = ("part", "method", "norm", "shots", "top1", "low", "high", "top5", "macro", "calibration_error", "gain")


def render(found: Evaluation, form: str) -> str:
    """The whole evaluation in one of ``FORMATS``, ending in a line break."""
    if form == "json":
        return json.dumps(as_json(found), ensure_ascii=False, indent=1) + "\n"
    return as_csv(found) if form == "csv" else as_table(found)


def as_table(found: Evaluation) -> str:
    """Aligned columns, accuracies in percent, intervals of 95 %."""
    counts = f"{count_of(found.images, 'image')}, {count_of(len(found.labels), 'class')}"
    parts = [f"{found.source}: {counts}"]
    if found.zero_shot:
        parts.append(columns([["method", *MEASURED], *measured_rows(found.zero_shot)]))
    if found.ablation:
        parts.append(columns([["texts", *MEASURED], *measured_rows(found.ablation)]))
    if len(found.zero_shot) > 1 or found.ablation:
        parts.append(
            "gain: top-1 over that of the first row, with its 95% interval; ECE: calibration error. --help says what "
            "the rows are"
        )
    if found.rerank is not None:
        one = found.rerank
        parts.append(
            f"the rerank turned {one.better:,} wrong answers right and {one.worse:,} right ones wrong, and moved "
            f"{one.otherwise:,} between wrong classes; {one.coverage:.1%} of the candidate pairs have texts"
        )
    for heading, rows in few_shot_parts(found.few_shot):
        head, *cells = curve_rows(rows)
        parts.append(columns([[f"few-shot, {heading}" if heading else "few-shot", *head[1:]], *cells]))
    parts += found.fitted
    return "\n\n".join(parts) + "\n"


def as_json(found: Evaluation) -> dict[str, Any]:
    """Plain values; NaN, which JSON has not got, becomes null."""
    return {
        "source": found.source,
        "engine": found.engine,
        "images": found.images,
        "labels": list(found.labels),
        "notes": list(found.notes),
        "failed": [list(one) for one in found.failed],
        "zero_shot": [_json_measured(one) for one in found.zero_shot],
        "texts_ablation": [_json_measured(one) for one in found.ablation],
        "rerank": None if found.rerank is None else vars(found.rerank),
        "few_shot": [one.to_json() for one in found.few_shot],
        "fitted": list(found.fitted),
        "made": dict(found.made),
    }


def as_csv(found: Evaluation) -> str:
    """One row a method, set of texts, or method, norm and number of shots; shares from 0 to 1."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, lineterminator="\n")
    writer.writeheader()
    for part, rows in (("zero-shot", found.zero_shot), ("texts", found.ablation)):
        for one in rows:
            own = "adapter" if one.method == ZERO_SHOT["adapter"] else part
            row = {"part": own, "method": one.method, "top1": one.top_one, "top5": one.top_five, "macro": one.macro}
            row |= {"low": one.interval[0], "high": one.interval[1], "gain": one.gain[0]}
            writer.writerow(row | {"calibration_error": one.calibration_error})
    for few in found.few_shot:
        row = {"part": "few-shot", "method": few.method, "norm": few.norm, "shots": few.shots}
        writer.writerow(row | {"top1": few.accuracy, "low": few.interval[0], "high": few.interval[1]})
    return out.getvalue()


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, aligned: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def percent(share: float) -> str:
    """0.8575 -> 85.75; "-" for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def measured_rows(rows: Sequence[Measured]) -> list[list[str]]:
    """Cells of a table of methods: name, top-1, its interval, gain over the first, top-5, macro, ECE, in percent."""
    cells = []
    for one in rows:
        low, high = (percent(bound) for bound in one.interval)
        gain, least, most = (f"{100 * value:+.2f}" for value in one.gain)
        cells.append(
            [
                one.method,
                percent(one.top_one),
                f"{low} to {high}",
                "" if one is rows[0] else f"{gain} [{least}, {most}]",
                percent(one.top_five),
                percent(one.macro),
                percent(one.calibration_error),
            ]
        )
    return cells


def curve_rows(rows: Sequence[FewShot]) -> list[list[str]]:
    """Cells of a few-shot table: the shots, then a row a method."""
    shots = sorted({row.shots for row in rows})
    cells = [["", *(f"{n}-shot" for n in shots)]]
    for method in dict.fromkeys(row.method for row in rows):
        by_shots = {row.shots: row.short() for row in rows if row.method == method}
        cells.append([method, *(by_shots.get(n, "-") for n in shots)])
    return cells


def few_shot_parts(rows: Sequence[FewShot]) -> list[tuple[str, list[FewShot]]]:
    """(heading, rows) by norm; a method that has no norm is in each."""
    norms = list(dict.fromkeys(row.norm for row in rows if row.norm)) or [""]
    return [(f"{norm} norm" if norm else "", [row for row in rows if row.norm in (norm, "")]) for norm in norms if rows]


def _json_measured(one: Measured) -> dict[str, Any]:
    return {
        "method": one.method,
        "top1": one.top_one,
        "interval": list(one.interval),
        "top5": one.top_five,
        "macro": one.macro,
        "macro_interval": list(one.macro_interval),
        "gain": list(one.gain),
        "calibration_error": one.calibration_error,
        "by_class": [None if math.isnan(share) else share for share in one.by_class.tolist()],
        "confusion": one.confusion.tolist(),
    }
