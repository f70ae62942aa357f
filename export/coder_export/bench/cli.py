"""coder-bench: latency and throughput of an engine by stage, beside its peers, in one run."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from coder_engine import Engine, __version__
from coder_engine.backends.onnxruntime import WHEELS
from coder_engine.cli.inputs import Inputs
from coder_engine.cpus import usable_cpus
from coder_engine.doctor.hardware import cpu, memory_bytes, nvidia
from coder_engine.errors import CoderError
from coder_export.bench.peers import PEERS, Peers
from coder_export.bench.stages import cold_start, stage_calls, swap_ms, throughput, warm_up_ms
from coder_export.measure import Times, interleaved

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
    """Run the command; returns the exit code: 0 measured, 1 could not, 2 slower than --max-drop allows."""
    args = _parser().parse_args(argv)
    try:
        found = measure(args)
        print(json.dumps(found, indent=2) if args.json else table(found))
        return _gate(found, args)
    except (CoderError, ValueError) as err:
        print(f"coder-bench: {err}", file=sys.stderr)
        return 1
    except OSError as err:
        print(f"coder-bench: {err.filename}: {err.strerror}", file=sys.stderr)
        return 1


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, as ``--json`` prints them."""
    paths = [str(item) for item in Inputs(args.images, recursive=True) if isinstance(item, str)]
    threads = args.threads or usable_cpus()
    weights = Path(args.weights) if args.weights else Path(args.engine).with_suffix(".safetensors")
    options = {
        "weights": str(weights),
        "backend": args.backend,
        "device": args.device,
        "precision": args.precision,
        "threads": threads,
    }
    _say("cold start")
    cold = cold_start(Path(args.engine), paths[0], options)
    engine = Engine(args.engine, **options)
    return {
        "engine": engine.description,
        "machine": machine(),
        "cold_start": asdict(cold),
        "label_swap_ms": swap_ms(engine, weights),
        "batches": [_batch(engine, weights, paths, size, args) for size in args.batch],
    }


def _batch(engine: Engine, weights: Path, paths: list[str], size: int, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one batch size."""
    _say(f"B = {size}: {args.seconds:g} s, and a quarter of it for the stream")
    warmed = warm_up_ms(engine, size)
    some = [paths[i % len(paths)] for i in range(size)]
    calls = stage_calls(engine, some)
    skipped: dict[str, str] = {}
    if args.peers:
        threads = args.threads or usable_cpus()
        peers = Peers(engine, Path(args.engine), weights, some, threads=threads, device=engine.device)
        more, skipped = peers.calls(args.peers)
        calls.update(more)
    times = interleaved(calls, seconds=args.seconds)
    return {
        "batch": size,
        "warm_up_ms": warmed,
        "ms": {name: asdict(time) for name, time in times.items()},
        "images_per_second": throughput(engine, paths[:256], batch_size=size, seconds=args.seconds / 4),
        "skipped": skipped,
    }


def table(found: dict[str, Any]) -> str:
    """The figures for people; peers with their ratio to the engine's total."""
    cold = found["cold_start"]
    lines = [
        found["engine"],
        _machine_line(found["machine"]),
        f"cold start: import {cold['imported']:.0f} ms, open {cold['opened']:.0f} ms, warm-up {cold['warmed']:.0f} ms, "
        f"first image {cold['first']:.0f} ms; peak memory {cold['peak_mb']:.0f} MB",
        f"label swap: {found['label_swap_ms']:.1f} ms",
    ]
    for batch in found["batches"]:
        total = batch["ms"]["total"]["p50"]
        rate, warmed = batch["images_per_second"], batch["warm_up_ms"]
        lines += ["", f"B = {batch['batch']}: {rate:,.1f} images/s in a stream; warm-up {warmed:.0f} ms", _HEAD]
        for name, times in batch["ms"].items():
            row = Times(**times)
            ratio = f"{row.p50 / total:8.2f}x" if name.startswith("peer") else ""
            lines.append(f"{name:<56}{row.p50:9.2f}{row.p90:9.2f}{row.p99:9.2f}{ratio:>10}")
        lines += [f"{name}: left out, {reason}" for name, reason in batch["skipped"].items()]
    return "\n".join(lines)


_HEAD = f"{'ms':<56}{'p50':>9}{'p90':>9}{'p99':>9}{'/ total':>10}"


def _gate(found: dict[str, Any], args: argparse.Namespace) -> int:
    if args.baseline is None:
        return 0
    before = json.loads(args.baseline.read_text("utf-8"))
    old = {batch["batch"]: batch for batch in before["batches"]}
    worse = []
    for batch in found["batches"]:
        if batch["batch"] not in old:
            continue
        known = old[batch["batch"]]
        slower = batch["ms"]["total"]["p50"] / known["ms"]["total"]["p50"] - 1
        fewer = 1 - batch["images_per_second"] / known["images_per_second"]
        if max(slower, fewer) > args.max_drop:
            worse.append(f"B = {batch['batch']}: latency {slower:+.1%}, throughput {-fewer:+.1%}")
    if worse:
        print(
            f"coder-bench: worse than {args.baseline} by more than {args.max_drop:.0%}: {'; '.join(worse)}",
            file=sys.stderr,
        )
    return 2 if worse else 0


def machine() -> dict[str, Any]:
    """The hardware and the versions that a figure belongs to."""
    model, has, _ = cpu(Path("/"))
    gpus, driver, _ = nvidia(Path("/"))
    versions = {"python": platform.python_version(), "coder-engine": __version__}
    for name in ("numpy", "pillow", "simplejpeg", *WHEELS, "openvino", "torch", "open_clip_torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": model,
        "features": list(has),
        "cpus": usable_cpus(),
        "memory_bytes": memory_bytes(Path("/"))[0],
        "gpus": [asdict(gpu) for gpu in gpus],
        "driver": driver,
        "versions": versions,
    }


def _machine_line(found: dict[str, Any]) -> str:
    parts = [f"{found['cpu']} ({', '.join(found['features'])}), {found['cpus']} CPUs"]
    parts += [gpu["name"] for gpu in found["gpus"]]
    return "; ".join([*parts, ", ".join(f"{name} {value}" for name, value in found["versions"].items())])


def _say(text: str) -> None:
    print(f"coder-bench: {text}", file=sys.stderr, flush=True)


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends in 1: 2, argparse's own, says here that the engine has become slower."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="coder-bench", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE", help="files, folders, quoted patterns")
    add("--engine", required=True, metavar="FILE", help="engine file that coder-export made")
    add("--weights", metavar="FILE", help="weight file (default: engine's .safetensors)")
    add("--backend", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--device", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--precision", default="auto", metavar="NAME", help="as for coder-infer (default: auto)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: the CPUs this process may use)")
    add("--batch", type=_sizes, default=[1, 8], metavar="B,...", help="batch sizes (default: 1,8)")
    add("--seconds", type=float, default=20.0, metavar="S", help="time to measure a batch size (default: 20)")
    add("--peers", type=_peers, default=(), metavar="NAME,...", help=f"of {', '.join(PEERS)}, or all")
    add("--json", action="store_true", help="for machines")
    add("--baseline", type=Path, metavar="FILE", help="an earlier run's --json to compare with")
    add("--max-drop", type=float, default=0.1, metavar="X", help="worse by more than this fails (default: 0.1)")
    add("--version", action="version", version=f"coder-bench {__version__}")
    return parser


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",")]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"batch sizes are 1 or more, got {text}")
    return sizes


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(PEERS) if text == "all" else tuple(text.split(","))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"peers are {', '.join(PEERS)}, or all; got {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
