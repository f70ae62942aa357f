"""A few labelled images, after the export: the engine that was just written embeds them, as coder-fit would have it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coder_engine import Engine
from coder_engine.fit import FitConfig, fit_engine, summary
from coder_export.config import ExportConfig
from coder_export.report import Report


def fit_adapter(config: ExportConfig, texts: NDArray[np.float32], report: Report) -> None:
    """Fit an adapter to ``config.support`` and write it into the weight file.

    Args:
        texts: all general texts' features, float32 [T, D]; the weight file need not have kept them.

    Raises:
        DataError: no image fits the labels, or none can be read; the export itself is done by then.
    """
    if config.support is None:
        raise ValueError("config.support must name a folder of labelled images, got None")
    engine = Engine(config.engine_path, weights=config.weights_path, adapter=False)
    with report.stage("few-shot adapter"):
        fitted = fit_engine(engine, texts, FitConfig(support=config.support, shots=config.shots), say=report.say)
    for err in fitted.failed:
        report.say(f"  left out: {err}")
    for line in summary(fitted):
        report.say(line)
    fitted.search.adapter.save(config.weights_path)
    report.say(f"added to {config.weights_path}")
