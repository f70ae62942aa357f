"""Plots as SVG text: accuracies, few-shot curves, confusion, t-SNE and reliability. Only this module draws.

Axes and words are drawn in one ink, which ``svg`` swaps for the colour of the page's text, on no background: the same
plot reads on a light and on a dark page.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.columns import cut
from coder_engine.evaluate.answers import Measured
from coder_engine.evaluate.extra import needs_extra
from coder_engine.evaluate.few_shot import FewShot
from coder_engine.evaluate.reliability import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
# Okabe and Ito's colours, told apart by colour-blind readers; black left out, as it may be the page.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1")
_MARKERS = "osD^vPX"
_MOST_NAMES = 40
_MOST_COLOURS = 20
_STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "coder-engine",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a class name is one
    "xtick.color": INK,
    "ytick.color": INK,
}


def accuracy_bars(rows: Sequence[Measured]) -> str:
    """Top-1 of each method as a point with its 95 % interval, the first method on top."""
    with _style():
        figure, axes = _figure(7.2, 0.9 + 0.38 * len(rows))
        places = np.arange(len(rows))[::-1]
        share = np.array([one.top_one for one in rows])
        low, high = np.array([one.interval for one in rows]).T
        axes.errorbar(
            100 * share, places, xerr=100 * np.array([share - low, high - share]), fmt="o", color=_COLOURS[0],
            capsize=4, markersize=7, linewidth=2,
        )  # fmt: skip
        for x, y, edge in zip(share, places, high, strict=True):
            axes.annotate(f"{100 * x:.2f}", (100 * edge, y), xytext=(8, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [one.method for one in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.margins(x=0.15)
        axes.set_xlabel("top-1 accuracy, %, with 95 % interval")
        return _svg(figure)


def curves(rows: Sequence[FewShot], *, level: float | None = None, title: str = "", ink: str | None = None) -> str:
    """Accuracy against shots, one line a method, of one norm; ``level`` draws zero-shot accuracy as a dashed line."""
    with _style():
        figure, axes = _figure(5.6, 3.9)
        shots = sorted({row.shots for row in rows})
        for i, method in enumerate(dict.fromkeys(row.method for row in rows)):
            own = sorted((row for row in rows if row.method == method), key=lambda row: row.shots)
            x = np.log2([row.shots for row in own])
            low, high = 100 * np.array([row.interval for row in own]).T
            axes.fill_between(x, low, high, color=_COLOURS[i % 7], alpha=0.07, linewidth=0)
            y = [100 * row.accuracy for row in own]
            axes.plot(x, y, marker=_MARKERS[i % 7], color=_COLOURS[i % 7], label=method, linewidth=1.8, markersize=5)
        if level is not None:
            axes.axhline(100 * level, color=INK, linestyle="--", linewidth=1, label="zero-shot CODER")
        axes.set_xticks(np.log2(shots), [str(n) for n in shots])
        axes.set_xlabel("support images a class")
        axes.set_ylabel("top-1 accuracy, %")
        axes.set_title(title, fontsize=11)
        axes.legend(fontsize=9, loc="lower right")
        return _svg(figure, ink)


def confusion(counts: NDArray[np.int64], labels: Sequence[str]) -> str:
    """Shares of each true class (rows) by answer (columns); numbers are written in where there are few classes."""
    with _style():
        classes = len(labels)
        size = min(8.0, 3.0 + 0.32 * classes)
        figure, axes = _figure(size, size * 0.92)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        axes.grid(False)
        if classes <= _MOST_NAMES:
            axes.set_xticks(range(classes), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
            axes.set_yticks(range(classes), labels, fontsize=8)
        if classes <= 15:
            for i, j in np.argwhere(counts > 0):
                ink = "#000000" if shares[i, j] > 0.5 else "#ffffff"
                axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=ink)
        axes.set_xlabel("answer")
        axes.set_ylabel("true class")
        return _svg(figure)


def reliability(bins: Sequence[Bin], method: str, error: float) -> str:
    """Accuracy against confidence: on the diagonal, scores mean what they say. Bars are the images of each bin."""
    with _style():
        figure, axes = _figure(4.6, 4.4)
        axes.plot([0, 100], [0, 100], color=INK, linestyle="--", linewidth=1, label="scores that mean what they say")
        most = max(one.images for one in bins)
        for one in bins:
            axes.bar(
                50 * (one.lower + one.upper), 18 * one.images / most, width=90 * (one.upper - one.lower),
                color=_COLOURS[5], alpha=0.35,
            )  # fmt: skip
        x, y = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
        axes.plot(x, y, marker="o", color=_COLOURS[0], linewidth=1.8, label=f"{method}, ECE {100 * error:.1f} %")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 102)
        axes.set_xlabel("score, %  (bars: how many images)")
        axes.set_ylabel("accuracy, %")
        axes.legend(fontsize=9, loc="upper left")
        return _svg(figure)


def scatter(
    places: Sequence[NDArray[np.float64]], titles: Sequence[str], ids: NDArray[np.int64], labels: Sequence[str]
) -> str:
    """Points [n, 2] side by side, coloured by class id [n]; up to 20 classes, whose colours differ, are named below."""
    with _style():
        from matplotlib import colormaps

        figure, panels = _panels(8.6, 4.2, len(places))
        many = int(ids.max()) + 1
        wheel = _COLOURS if many <= 7 else [colormaps["tab20"](i * 7 % 20) for i in range(_MOST_COLOURS)]
        colours = [wheel[i % len(wheel)] for i in ids]
        for axes, points, title in zip(panels, places, titles, strict=True):
            axes.scatter(points[:, 0], points[:, 1], s=9, c=colours, linewidths=0, rasterized=True)
            axes.set_title(title, fontsize=11)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.grid(False)
        if many <= _MOST_COLOURS:
            for i in np.unique(ids):
                panels[0].scatter([], [], s=24, color=[wheel[i]], label=cut(labels[i], 24))
            figure.legend(fontsize=8, loc="outside lower center", ncols=5)
        return _svg(figure)


def _style() -> AbstractContextManager[None]:
    with needs_extra("plots"):
        import matplotlib
    return matplotlib.rc_context(_STYLE)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, panels = _panels(width, height, 1)
    return figure, panels[0]


def _panels(width: float, height: float, count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def _svg(figure: Figure, ink: str | None = None) -> str:
    """The figure as an <svg> element, its ink the page's text colour, or ``ink`` for a file of its own."""
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    if ink is None:
        text = text[text.index("<svg") :]
    text = text.replace("'DejaVu Sans', 'Bitstream Vera Sans'", _FONT)
    return text.replace(INK, ink or "currentColor")
