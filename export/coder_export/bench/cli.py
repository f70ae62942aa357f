"""coder-bench: latency and throughput of an engine by stage, beside its peers, in one run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coder_engine import Engine
from coder_engine.cli.command import OK, fraction, guarded, parser_of, say, whole
from coder_engine.cli.inputs import Inputs
from coder_engine.cli.output import OutputClosed, open_output
from coder_engine.errors import CoderError
from coder_engine.images import read_rgb
from coder_engine.machine.cpus import usable_cpus
from coder_export.bench.baseline import check_same, doubts, read_baseline, setup, worse_than
from coder_export.bench.machine import machine, machine_line
from coder_export.bench.peers import PEERS, Peers
from coder_export.bench.stages import cold_start, stage_calls, swap_ms, throughput, warm_up_ms
from coder_export.measure import Times, interleaved

SLOWER = 2
"""The exit code where the gate does not let through."""
MAX_DROP = 0.1
_STREAMED = 256
"""Images of the stream, at the most: the first ones."""

_EXAMPLES = """
examples:
  coder-bench photos/ --engine birds.onnx
      p50, p90 and p99 by stage at B = 1 and 8, images a second, cold start, memory
  coder-bench photos/ --engine birds.onnx --peers open_clip,onnxruntime --batch 1
      plain CLIP by open_clip and the raw encoder beside it, in turn
  coder-bench photos/ --engine birds.onnx --json > today.json
  coder-bench photos/ --engine birds.onnx --baseline today.json --max-drop 0.1
      exit code 2 if throughput or latency is more than 10 % worse than in that file
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 measured, 1 could not, 2 slower than --max-drop, 130 interrupted."""
    args = _parser().parse_args(argv)
    return guarded("coder-bench", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.baseline is None and args.max_drop != MAX_DROP:
        raise CoderError("--max-drop compares with --baseline FILE, which is missing")
    before = None if args.baseline is None else read_baseline(args.baseline, args.batch)
    try:
        found = measure(args, before)
    except ValueError as err:
        raise CoderError(str(err)) from err
    except OSError as err:
        raise CoderError(f"{err.filename or args.engine}: {err.strerror or err}") from err
    with suppress(OutputClosed):  # coder-bench ... | head
        open_output(None).write((json.dumps(found, indent=2) if args.json else table(found)) + "\n")
    return OK if before is None else _judge(args, before, found)


def _judge(args: argparse.Namespace, before: dict[str, Any], found: dict[str, Any]) -> int:
    for line in doubts(before, found):
        say("coder-bench", f"compared with {args.baseline}, but {line}")
    worse = worse_than(before, found, most=args.max_drop)
    if worse:
        say("coder-bench", f"worse than {args.baseline} by more than {args.max_drop:.0%}: {'; '.join(worse)}")
    return SLOWER if worse else OK


def measure(args: argparse.Namespace, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """All figures, as ``--json`` prints them; those of ``before`` must be of this engine.

    Raises:
        CoderError: they are not, or something cannot be measured.
    """
    paths: list[str] = []
    for item in Inputs(args.images, recursive=True):
        if isinstance(item, str):
            paths.append(item)
        elif item.error is not None:
            raise CoderError(item.error.message)
    threads = args.threads or usable_cpus()
    weights = Path(args.weights) if args.weights else Path(args.engine).with_suffix(".safetensors")
    options = {
        "weights": str(weights),
        "backend": args.backend,
        "device": args.device,
        "precision": args.precision,
        "threads": threads,
    }
    for path in paths[:_STREAMED]:  # one that cannot be read is told before anything is measured
        read_rgb(path)
    engine = Engine(args.engine, **options)
    set_up = setup(engine, weights, paths[:_STREAMED])
    if before is not None:
        check_same(args.baseline, before, set_up)
    say("coder-bench", "cold start")
    cold = cold_start(Path(args.engine), paths[0], options)
    peers = Peers(engine, Path(args.engine), weights, threads=threads, device=engine.device) if args.peers else None
    return {
        "engine": engine.description,
        "setup": set_up,
        "seconds": args.seconds,
        "threads": threads,
        "machine": machine(),
        "cold_start": asdict(cold),
        "label_swap_ms": swap_ms(engine, weights),
        "batches": [_batch(engine, peers, paths, size, args) for size in args.batch],
    }


def _batch(
    engine: Engine, peers: Peers | None, paths: list[str], size: int, args: argparse.Namespace
) -> dict[str, Any]:
    """The figures of one batch size."""
    say("coder-bench", f"B = {size}: {args.seconds:g} s, and a quarter of it for the stream")
    warmed = warm_up_ms(engine, size)
    some = [paths[i % len(paths)] for i in range(size)]
    calls = stage_calls(engine, some)
    skipped: dict[str, str] = {}
    if peers is not None:
        more, skipped = peers.calls(args.peers, some)
        calls.update(more)
    times = interleaved(calls, seconds=args.seconds)
    return {
        "batch": size,
        "warm_up_ms": warmed,
        "ms": {name: asdict(time) for name, time in times.items()},
        "images_per_second": throughput(engine, paths[:_STREAMED], batch_size=size, seconds=args.seconds / 4),
        "skipped": skipped,
    }


def table(found: dict[str, Any]) -> str:
    """The figures for people; peers with their ratio to the engine's total."""
    cold = found["cold_start"]
    lines = [
        found["engine"],
        machine_line(found["machine"]),
        f"cold start: import {cold['imported']:.0f} ms, open {cold['opened']:.0f} ms, warm-up {cold['warmed']:.0f} ms, "
        f"first image {cold['first']:.0f} ms; peak memory {cold['peak_mb']:.0f} MB",
        f"label swap: {found['label_swap_ms']:.1f} ms",
    ]
    for batch in found["batches"]:
        total = batch["ms"]["total"]["p50"]
        rate, warmed = batch["images_per_second"], batch["warm_up_ms"]
        lines += ["", f"B = {batch['batch']}: {rate:,.1f} images/s in a stream; warm-up {warmed:.0f} ms"]
        lines += _rows({name: Times(**times) for name, times in batch["ms"].items()}, total)
        lines += [f"{name}: left out, {reason}" for name, reason in batch["skipped"].items()]
    lines += ["", "Stages are timed apart, each on what the one before has made ready; total is one call with files."]
    return "\n".join(lines)


def _rows(times: dict[str, Times], total: float) -> list[str]:
    """The head and a line for each; the column of ratios is the peers'."""
    width = max(map(len, times))
    peers = any(name.startswith("peer") for name in times)
    rows = [f"{'ms':<{width}}{'p50':>9}{'p90':>9}{'p99':>9}" + (f"{'/ total':>10}" if peers else "")]
    for name, row in times.items():
        ratio = f"{row.p50 / total:8.2f}x" if name.startswith("peer") else ""
        rows.append(f"{name:<{width}}{row.p50:9.2f}{row.p90:9.2f}{row.p99:9.2f}{ratio:>10}".rstrip())
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("coder-bench", __doc__ or "", epilog=_EXAMPLES)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="files, folders, quoted patterns")
    add("--engine", required=True, metavar="FILE", help="engine file that coder-export made")
    add("--weights", metavar="FILE", help="weight file (default: engine's .safetensors)")
    add("--backend", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--device", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--precision", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--threads", type=whole, metavar="N", help="CPU threads (default: the CPUs this process may use)")
    add("--batch", type=_sizes, default=[1, 8], metavar="B,...", help="batch sizes (default: 1,8)")
    add(
        "--seconds",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="time to measure a batch size (default: 20; less is noisy)",
    )
    add("--peers", type=_peers, default=(), metavar="NAME,...", help=f"of {', '.join(PEERS)}, or all")
    add("--json", action="store_true", help="for machines")
    add("--baseline", type=Path, metavar="FILE", help="an earlier run's --json to compare with")
    add("--max-drop", type=fraction, default=MAX_DROP, metavar="X", help="worse by more than this fails (default: 0.1)")
    return parser


def _sizes(text: str) -> list[int]:
    try:
        return [whole(part) for part in text.split(",")]
    except argparse.ArgumentTypeError as err:
        raise argparse.ArgumentTypeError(f"batch sizes are 1 or more, got {text}") from err


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, got {text!r}")
    return seconds


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(PEERS) if text == "all" else tuple(text.split(","))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"peers are {', '.join(PEERS)}, or all; got {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
