"""Stage 6 of the pipeline, for NVIDIA GPUs: an engine graph to a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coder_engine.plans.build import build_plan
from coder_export.config import ExportConfig
from coder_export.report import Report


def make_plan(config: ExportConfig, graph: Path, plan: Path, precision: str, report: Report) -> dict[str, Any]:
    """Build the plan of a graph, which is in ``precision``; gives what the weight file records of it.

    Raises:
        BackendError, EngineError: see ``build_plan``.
    """
    with report.building(f"{precision} plan") as progress:
        record = build_plan(
            graph, plan, precision=precision, max_batch=config.max_batch, library=config.trt, progress=progress
        )
    report.say(f"built by {record}")
    return record.to_json()
