"""An engine file under examination: does its weight file belong to it, and which backends here really run it?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from coder_engine.doctor.hardware import run
from coder_engine.engine_path import check_engine_path
from coder_engine.errors import CoderError
from coder_engine.machine.cpus import usable_cpus

# NumPy, safetensors and the backends are imported late: where one of them is missing, the doctor is asked why.

_TIMEOUT = 300.0
_OUTCOME = "outcome: "
"""Before the one line that counts: runtimes print what they like, and some while they end."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One backend on this engine: ``text`` describes it where it ``runs``, and else says why it does not."""

    title: str
    runs: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """What was found of an engine; ``weights`` describes its weight file, or says what is wrong with the pair.

    Attributes:
        path: the engine file.
        belongs: the two belong together and are whole.
        trials: every backend that reads such files, best first; empty where the pair is not whole.
    """

    path: str
    belongs: bool
    weights: str
    trials: tuple[Trial, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something here runs it."""
        return any(trial.runs for trial in self.trials)


Try = Callable[[str, str, Path], tuple[bool, str]]


def examine(path: Path, weights: Path | None = None, *, attempt: Try | None = None) -> EngineFile:
    """Check the pair whole, then run the engine once with every backend.

    Args:
        path: the engine file.
        weights: its weight file; by default the .safetensors beside it.
        attempt: runs ``path`` with a backend by name and device; by default :func:`in_own_process`.
    """
    try:
        described = _check(path, weights := weights or path.with_suffix(".safetensors"))
        from coder_engine.backends import BACKENDS
        from coder_engine.backends.base import is_fused
    except (CoderError, OSError) as err:
        return EngineFile(path=str(path), belongs=False, weights=str(err))
    except ImportError as err:
        return EngineFile(path=str(path), belongs=False, weights=f"it cannot be examined ({err})")
    results = (
        (kind.title, (attempt or partial(in_own_process, weights=weights))(kind.name, kind.device, path))
        for kind in BACKENDS
        if path.suffix in kind.suffixes and (kind.reads_fused or not is_fused(path))
    )
    trials = tuple(Trial(title=title, runs=runs, text=text) for title, (runs, text) in results)
    return EngineFile(path=str(path), belongs=True, weights=described, trials=trials)


def in_own_process(name: str, device: str, path: Path, *, weights: Path, timeout: float = _TIMEOUT) -> tuple[bool, str]:
    """Whether a backend runs an engine, and its description or its error.

    A runtime built for another CPU, or a driver in trouble, would take the doctor down with it or hold it for ever.
    """
    # With -c the current folder, "", comes first, whose numpy.py, say, would be taken for NumPy.
    code = (
        "import sys; sys.path[:] = filter(None, sys.path); from coder_engine.doctor.engine_file import attempt_here; "
        "attempt_here(*sys.argv[1:])"
    )
    ended, said = run(sys.executable, "-c", code, name, device, str(path), str(weights), timeout=timeout)
    lines = said.strip().splitlines() or [""]
    if ended is None:
        return False, said
    found = [line for line in lines if line.startswith(_OUTCOME)]
    if ended or not found:
        how = f"signal {-ended}" if ended < 0 else f"code {ended}"
        return False, f"its process ended with {how}: {lines[-1]}".rstrip(": ")
    runs, text = json.loads(found[-1].removeprefix(_OUTCOME))
    return bool(runs), str(text)


def attempt_here(name: str, device: str, path: str, weights: str) -> None:
    """Open an engine in this process, run one black image, and print the outcome as a line of JSON."""
    import numpy as np

    from coder_engine.backends import open_backend
    from coder_engine.weights import load_weights

    try:
        meta = load_weights(weights).meta
        backend = open_backend(Path(path), backend=name, device=device, threads=usable_cpus(), meta=meta)
        backend.encode(np.zeros((1, *backend.size, 3), np.uint8))
        outcome = True, backend.description
    except CoderError as err:
        outcome = False, str(err)
    print(f"\n{_OUTCOME}{json.dumps(outcome)}", flush=True)


def _check(path: Path, weights_path: Path) -> str:
    """What the weight file holds.

    Raises:
        CoderError: one of the two is missing or damaged, or they do not belong together.
    """
    from coder_engine.weights import check_belongs, load_weights

    check_engine_path(path)
    weights = load_weights(weights_path)
    check_belongs(path, weights)
    weights.check()
    meta, rows = weights.meta, weights.pair_rows
    pairs = "no one-to-one texts" if rows is None else f"{len(rows):,} pairs"
    return f"{weights_path}: {meta.model} ({meta.pretrained}), {len(meta.labels):,} classes, {pairs}"
