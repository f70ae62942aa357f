"""What cutting token rows gains and costs with OpenVINO on this machine, cut and whole in turn.

    python tests/bench/rows.py ENGINE.onnx [ENGINE.onnx ...] --batch 1,2,4,8,32 --seconds 10

It cuts wherever there are rows to cut, whether ``openvino_rows.pays`` says so or not: that is how to find out for other
CPUs. Encoders alone, random pixels, medians; whether both gave the same features, bit for bit, is told.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from table import show

from coder_engine.backends import openvino
from coder_engine.backends.openvino import OpenVinoCpu
from coder_engine.machine.cpus import usable_cpus
from coder_export.bench.machine import machine, machine_line
from coder_export.measure import interleaved


def opened(path: Path, precision: str, *, cut: bool) -> OpenVinoCpu:
    known = openvino.pays
    openvino.pays = lambda *_: cut
    try:
        return OpenVinoCpu(path, threads=usable_cpus(), precision=precision)
    finally:
        openvino.pays = known


def compare(path: Path, precision: str, sizes: list[int], seconds: float) -> None:
    cut, whole = (opened(path, precision, cut=cut) for cut in (True, False))
    rows = [(f"B = {size}", measured(cut, whole, size, seconds)) for size in sizes]
    show(f"{path.name}: {cut.description}", rows)


def measured(cut: OpenVinoCpu, whole: OpenVinoCpu, size: int, seconds: float) -> str:
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (size, *cut.size, 3), dtype=np.uint8)
    times = interleaved(
        {"cut": lambda: cut.encode(pixels), "whole": lambda: whole.encode(pixels)},
        seconds=seconds,
    )
    off = float(np.abs(cut.encode(pixels) - whole.encode(pixels)).max())
    same = "the same features" if off == 0 else f"features differ by {off:.1g}"
    ours, other = times["cut"].p50, times["whole"].p50
    return f"{ours:.1f} ms, whole {other:.1f}: {other / ours:.3f}x; {same}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", type=Path, metavar="ENGINE.onnx")
    parser.add_argument("--batch", default="1,2,4,8,32", help="images at once (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--seconds", type=float, default=10, help="for each size (default: %(default)s)")
    options = parser.parse_args()
    print(machine_line(machine()))
    for path in options.engines:
        compare(path, options.precision, [int(size) for size in options.batch.split(",")], options.seconds)


if __name__ == "__main__":
    main()
