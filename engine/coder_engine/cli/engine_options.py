"""The options that say which engine, and how it runs; the same in every command that opens one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coder_engine.cli.command import whole
from coder_engine.errors import CoderError

if TYPE_CHECKING:
    from coder_engine.engine import Engine

BY_ORDER = "folders in sorted order are the labels in order, as in ImageFolder, but numbers by their value (2, 10)"
"""Of coder-eval and coder-fit."""


def add_engine_options(parser: argparse.ArgumentParser, *, required: bool = True) -> argparse._ArgumentGroup:
    """Add the options of :func:`open_engine`; gives their group, for those that only one command has."""
    group = parser.add_argument_group("engine")
    add = group.add_argument
    add("--engine", required=required, type=Path, metavar="FILE", help="engine file that coder-export made")
    add("--weights", "--labels-from", type=Path, metavar="FILE", help="weight file (default: engine's .safetensors)")
    backends = "tensorrt, openvino, onnxruntime (default: the best that works)"
    add("--backend", default="auto", metavar="NAME", help=backends)
    add("--device", default="auto", metavar="NAME", help="cpu, cuda (default: the best that works)")
    precisions = "bf16, fp32, or what the engine was exported in (default: the fastest)"
    add("--precision", default="auto", metavar="NAME", help=precisions)
    add("--threads", type=whole, metavar="N", help="CPU threads (default: the usable CPUs)")
    return group


def open_engine(args: argparse.Namespace, **others: Any) -> Engine:
    """The engine the options ask for; ``others`` are arguments of ``Engine`` that have options in one command only.

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
            **others,
        )
    except ValueError as err:
        raise CoderError(str(err)) from err


def weights_path(args: argparse.Namespace) -> Path:
    """The weight file that goes with the engine the options ask for."""
    path: Path = args.weights or args.engine.with_suffix(".safetensors")
    return path
