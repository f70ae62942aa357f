"""An evaluation as one HTML file: plots inline, thumbnails inline, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

import numpy as np
from numpy.typing import NDArray

from coder_engine import __version__
from coder_engine.counts import count_of
from coder_engine.errors import ImageError
from coder_engine.evaluate import plots
from coder_engine.evaluate.answers import Answers, Measured
from coder_engine.evaluate.evaluation import Evaluation
from coder_engine.evaluate.methods import RERANKING, ZERO_SHOT
from coder_engine.evaluate.project import Projection, project
from coder_engine.evaluate.reliability import reliability
from coder_engine.evaluate.tables import MEASURED, curve_rows, few_shot_parts, measured_rows, percent
from coder_engine.evaluate.zero_shot import title_of
from coder_engine.head import Head, Ranking
from coder_engine.images import read_rgb
from coder_engine.weights import Weights

WORST = 12
_THUMBNAIL = 128
_MOST_ROWS = 60


def render_report(found: Evaluation, *, seed: int = 0) -> str:
    """The whole report, HTML.

    Args:
        found: an evaluation.
        seed: of the t-SNE.

    Raises:
        DataError: the [eval] extra is not installed.
    """
    sections = [
        _zero_shot(found),
        _few_shot(found),
        _classes(found),
        _projection(found, seed),
        _worst(found),
        _notes(found),
        _made(found),
    ]
    body = "\n".join(section for section in sections if section)
    template = Template(resources.files("coder_engine.evaluate").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"coder-eval: {found.source}"),
        source=escape(found.source),
        engine=escape(found.engine or "features from a file"),
        images=f"{found.images:,}",
        classes=f"{len(found.labels):,}",
        version=escape(__version__),
        body=body,
    )


def _zero_shot(found: Evaluation) -> str:
    parts = []
    if found.zero_shot:
        parts += [
            _figure(plots.accuracy_bars(found.zero_shot), _say(found.zero_shot)),
            _measured("method", found.zero_shot),
        ]
    if found.rerank is not None:
        one = found.rerank
        parts.append(
            f"<p>The rerank turned <b>{one.better:,}</b> wrong answers right and <b>{one.worse:,}</b> right ones "
            f"wrong, and moved {one.otherwise:,} from one wrong class to another. {one.coverage:.1%} of the candidate "
            "pairs have one-to-one texts.</p>"
        )
    if found.ablation:
        parts.append("<h3>As the texts come in</h3>")
        parts += [
            _figure(plots.accuracy_bars(found.ablation), _say(found.ablation)),
            _measured("texts", found.ablation),
        ]
    if found.zero_shot:
        shown, measured = _shown(found)
        bins = reliability(shown.confidence, shown.first == found.test.labels)
        caption = (
            f"Reliability of {measured.method}: calibration error {percent(measured.calibration_error)} % over 15 bins."
        )
        parts.append("<h3>Do the scores mean what they say?</h3>")
        parts.append(_figure(plots.reliability(bins, measured.method, measured.calibration_error), caption))
    stored = any(one.method == ZERO_SHOT["adapter"] for one in found.zero_shot)
    return _section("Zero-shot, and the stored adapter" if stored else "Zero-shot", parts)


def _few_shot(found: Evaluation) -> str:
    level = next((one.top_one for one in found.zero_shot if one.method == ZERO_SHOT["coder"]), None)
    parts, figures = [], []
    for heading, rows in few_shot_parts(found.few_shot):
        said = "; ".join(f"{row.method} {row.shots}-shot {percent(row.accuracy)} %" for row in rows)
        svg = plots.curves(rows, level=level, title=heading)
        figures.append(_figure(svg, f"Few-shot accuracy, {heading}" if heading else "Few-shot accuracy", alt=said))
        head, *cells = curve_rows(rows)
        parts.append(_table([heading or "method", *head[1:]], [[escape(cell) for cell in row] for row in cells]))
    return _section("Few-shot", [f'<div class="pair">{"".join(figures)}</div>', *parts] if figures else [])


def _classes(found: Evaluation) -> str:
    if not found.zero_shot:
        return ""
    _, measured = _shown(found)
    shares = measured.by_class
    order = [i for i in np.argsort(shares, kind="stable") if not np.isnan(shares[i])]
    counts = measured.confusion
    rows = []
    for i in order[:_MOST_ROWS]:
        off = counts[i].copy()
        off[i] = 0
        taken = f"{escape(found.labels[int(off.argmax())])} ({off.max():,})" if off.any() else ""
        rows.append([escape(found.labels[i]), percent(float(shares[i])), f"{counts[i].sum():,}", taken])
    worst = ", ".join(f"{found.labels[i]} {percent(float(shares[i]))} %" for i in order[:3])
    more = f"<p>The {_MOST_ROWS} weakest of {len(order):,} classes.</p>" if len(order) > _MOST_ROWS else ""
    table = _table(["class", "accuracy, %", "images", "most often taken for"], rows)
    figure = _figure(
        plots.confusion(counts, found.labels), f"Confusion of {measured.method}. Weakest classes: {worst}."
    )
    return _section("By class", [figure, more, f'<div class="scroll">{table}</div>'])


def _projection(found: Evaluation, seed: int) -> str:
    if found.texts is None or found.images < 10:
        return ""
    views: list[Projection] = project(found.test, found.texts, seed=seed)
    titles = [f"{one.title}, silhouette {one.silhouette:+.3f}" for one in views]
    svg = plots.scatter([one.points for one in views], titles, views[0].labels, found.labels)
    caption = (
        f"t-SNE of {len(views[0].labels):,} images, coloured by class, as in the paper's Figure 5: "
        + "; ".join(titles)
        + ". A higher silhouette means tighter, better separated classes in the space itself, before t-SNE."
    )
    return _section("Image features against CODER", [_figure(svg, caption)])


def _worst(found: Evaluation) -> str:
    if not found.answers or not found.test.paths or found.weights is None:
        return ""
    shown, _ = _shown(found)
    wrong = np.flatnonzero(shown.first != found.test.labels)
    rows = wrong[np.argsort(-shown.confidence[wrong], kind="stable")][:WORST]
    ranking = _ranked(found, found.weights, shown, rows)
    cards = [_card(found, shown, int(row), ranking, i) for i, row in enumerate(rows)]
    text = "<p>The wrong answers that were given with the highest scores; wrong labels show up here first.</p>"
    return _section("The most confident errors", [text, f'<div class="cards">{"".join(cards)}</div>'] if cards else [])


def _ranked(found: Evaluation, weights: Weights, shown: Answers, rows: NDArray[np.int64]) -> Ranking:
    """Some of the images with the duels that a method had: none of a method, or under a gate, that does not rerank."""
    gate = found.margin
    gated = gate is not None and shown.method == title_of("gated", gate)
    rerank = gated or shown.method in {ZERO_SHOT[name] for name in RERANKING}
    return Head(weights).rank(found.test.features[rows], margin=gate if gated else None, rerank=rerank)


def _card(found: Evaluation, shown: Answers, row: int, ranking: Ranking, place: int) -> str:
    path, labels = found.test.paths[row], found.labels
    answer, truth = int(shown.first[row]), int(found.test.labels[row])
    said = f"{labels[answer]}, {shown.confidence[row]:.0%}"
    lines = []
    ids = ranking.ids[place, : ranking.gaps.shape[1]].tolist()
    if ranking.reranked[place] and answer in ids:
        mine = ids.index(answer)
        for other, gap in zip(ids, ranking.duels[place, mine].tolist(), strict=True):
            if other != answer:
                verb = "beats" if gap > 0 else "loses to" if gap < 0 else "has no duel with"
                mark = " class='truth'" if other == truth else ""
                lines.append(f"<li{mark}>{verb} {escape(labels[other])} {gap:+.4f}</li>")
    return (
        f'<figure class="card"><img alt="{escape(f"{labels[truth]} taken for {labels[answer]}")}" '
        f'src="{_thumbnail(path)}"><figcaption><b>{escape(said)}</b><br>labelled {escape(labels[truth])}'
        f'<ul>{"".join(lines)}</ul><span class="path">{escape(path)}</span></figcaption></figure>'
    )


def _thumbnail(path: str) -> str:
    """A data URL; of one transparent pixel where the image is gone since it was read."""
    try:
        image = read_rgb(path)
    except ImageError:
        return "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    image = image.copy()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _notes(found: Evaluation) -> str:
    lines = [*found.fitted, *found.notes]
    if found.failed:
        lines.append(f"{count_of(len(found.failed), 'image')} could not be read: {found.failed[0][1]}")
    return _section("Notes", [f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"] if lines else [])


def _made(found: Evaluation) -> str:
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in found.made.items()]
    return _section("How this was made", [f"<dl>{''.join(rows)}</dl>"] if rows else [])


def _shown(found: Evaluation) -> tuple[Answers, Measured]:
    """The method that classes, scores and errors are shown of: what the engine answers by, else CODER*, else any."""
    names = [one.method for one in found.zero_shot]
    place = next((names.index(name) for name in (found.answered_by, ZERO_SHOT["coder-star"]) if name in names), -1)
    return found.answers[place], found.zero_shot[place]


def _measured(title: str, rows: Sequence[Measured]) -> str:
    return _table([title, *MEASURED], [[escape(cell) for cell in row] for row in measured_rows(rows)])


def _say(rows: Sequence[Measured]) -> str:
    return "Top-1 accuracy: " + "; ".join(f"{one.method} {percent(one.top_one)} %" for one in rows) + "."


def _figure(svg: str, caption: str, alt: str = "") -> str:
    named = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt or caption, quote=True)}"', 1)
    return f"<figure>{named}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """``rows`` are HTML already, ``head`` is not."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _section(title: str, parts: Sequence[str]) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""
