"""A plan built anew on the machine it shall run on, from the .onnx beside it."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from pathlib import Path

from coder_engine.backends.base import is_fused
from coder_engine.errors import EngineError
from coder_engine.files import replacing, sha256_of
from coder_engine.plans.build import MAX_BATCH, build_plan
from coder_engine.plans.progress import OnProgress
from coder_engine.plans.record import SUFFIX, PlanRecord
from coder_engine.weights import Weights, check_belongs, load_weights, update_weights


def rebuild_plan(
    path: str | PathLike[str],
    *,
    weights: str | PathLike[str] | None = None,
    progress: OnProgress = lambda done, phase: None,
) -> PlanRecord:
    """Build ``path`` for this machine and record it in the weight file; where the build fails, nothing changes.

    The plan need not exist: a Jetson gets the .onnx and the weight file, and makes its own. B of the second profile is
    that of the plan before, if the weight file knows one, else 64.

    Args:
        path: a .plan; the .onnx of the same stem lies beside it.
        weights: its weight file; by default the .safetensors beside it, which is renewed in any case.
        progress: see ``build_plan``.

    Raises:
        EngineError: the .onnx is missing, or not the one the weight file was made for; or the plan cannot be built or
            written.
        WeightsError: a weight file cannot be read or written.
        Unavailable: no TensorRT, or no GPU for it.
    """
    path = Path(path)
    graph, beside = path.with_suffix(".onnx"), path.with_suffix(".safetensors")
    if path.suffix != SUFFIX:
        raise EngineError(
            f"{path}: only plans are rebuilt, got {path.suffix or 'no suffix'}; {graph.name} is run as it is"
        )
    if not graph.is_file():
        raise EngineError(f"{graph}: no such file; a plan is rebuilt from the .onnx that coder-export wrote with it")
    if is_fused(graph):
        raise EngineError(f"{graph}: made for ONNX Runtime (--format cuda), no plan can be; export with --format plan")
    files = dict.fromkeys([Path(weights or beside), *([beside] if beside.is_file() else [])])
    loaded = [load_weights(file) for file in files]
    for one in loaded:
        check_belongs(graph, one)
    try:
        with ExitStack() as after, replacing(path) as scratch:  # the plan is moved first, then what names it
            precision, max_batch = _precision(loaded[0]), _max_batch(path, loaded[0])
            record = build_plan(graph, scratch, precision=precision, max_batch=max_batch, progress=progress)
            _record(loaded, path.name, record, sha256_of(scratch), after)
    except OSError as err:
        raise EngineError(
            f"{path}: cannot be written with its weight file ({err.strerror}); free space, or mend their permissions"
        ) from err
    return record


def _record(files: list[Weights], name: str, record: PlanRecord, digest: str, after: ExitStack) -> None:
    """Write each weight file anew beside the old, whose place it takes when ``after`` ends."""
    for one in files:
        update_weights(
            one.path,
            out=after.enter_context(replacing(one.path)),
            engine_files={**one.meta.engine_files, name: digest},
            fidelity={**one.meta.fidelity, "plan": None},  # what was measured of the one before
            plans={**one.meta.plans, name: record.to_json()},
        )


def _precision(weights: Weights) -> str:
    """The graph's, as the gate at export left it."""
    return str(weights.meta.fidelity.get("precision", {}).get("precision", "fp32"))


def _max_batch(path: Path, weights: Weights) -> int:
    return int(weights.meta.plans.get(path.name, {}).get("max_batch", MAX_BATCH))
