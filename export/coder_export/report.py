"""What coder-export tells its user: lines on standard output, progress bars on standard error."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from coder_engine.cli.output import open_output, tell
from coder_engine.counts import count_of
from coder_engine.plans.progress import OnProgress
from coder_export.textset import TextSet
from coder_export.words import some


class Report:
    """Lines and progress bars; ``quiet`` leaves errors and warnings only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def say(self, line: str) -> None:
        """Write a line, in escapes where the terminal lacks a character.

        Raises:
            OutputClosed: nobody reads any more; whoever knows what the run is worth by then tells or passes over it.
            CoderError: it cannot be written.
        """
        if not self._quiet:
            open_output(None).write(line + "\n")

    def warn(self, line: str) -> None:
        """What a user must not miss, told with ``quiet``, too: on standard error."""
        tell(f"warning: {line}")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], object]]:
        """A bar over ``total`` items; the block calls what it gets with the number just done."""
        bar = tqdm(total=total, desc=what, disable=self._quiet or not total or None, file=sys.stderr, leave=False)
        start = time.monotonic()
        with bar:
            yield bar.update
        if total:
            seconds = time.monotonic() - start
            self.say(f"{what}: {total:,} in {seconds:.1f} s ({total / max(seconds, 1e-9):,.0f} a second)")

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """One step without inner progress: told when it starts and how long it took."""
        start = time.monotonic()
        if not self._quiet and sys.stderr.isatty():
            print(f"{what} ...", end="\r", file=sys.stderr, flush=True)
        yield
        self.say(f"{what}: {time.monotonic() - start:.1f} s")

    @contextmanager
    def building(self, what: str) -> Iterator[OnProgress]:
        """One step whose parts take unlike times: the block calls what it gets with how much is done, 0 to 1."""
        shape, off = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}", self._quiet or None
        with (
            self.stage(what),
            tqdm(total=1.0, desc=what, bar_format=shape, disable=off, file=sys.stderr, leave=False) as bar,
        ):
            yield lambda done, phase: bar.update(done - bar.n)

    def texts(self, counts: Mapping[str, Any], textset: TextSet) -> None:
        """Counts by kind, and every hole."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts["general"].items() if count)
        pairs = f"{counts['pairs']:,} of {counts['pairs_possible']:,} pairs"
        self.say(f"{count_of(len(textset.labels), 'class')}: {kinds}; {pairs}")
        for kind, labels in textset.holes().items():
            if labels:
                what = "one name only" if kind == "synonym" else f"no {kind} texts"
                self.say(f"  {what}: {count_of(len(labels), 'class')} ({some(labels)})")
        if counts["pairs_one_sided"]:
            lone = count_of(counts["pairs_one_sided"], "pair")
            self.say(f"  texts in one direction only: {lone}, left out, as one side makes no gap")
        if counts["truncated"]:
            self.say(f"  {counts['truncated']} texts were cut at the model's context length")

    def wrote(self, *paths: Path) -> None:
        """Files that are in place, all of them: whoever reads these lines may be gone by the second."""
        for path in paths:
            self.say(f"wrote {path} ({_size(path.stat().st_size)})")

    def next_command(self, engine: Path, weights: Path | None) -> None:
        extra = [] if weights is None else ["--weights", str(weights)]
        self.say(f"next: {shlex.join(['coder-infer', 'IMAGES', '--engine', str(engine), *extra])}")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
