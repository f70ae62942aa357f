"""What coder-export tells its user: lines on standard output, progress bars on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm


class Report:
    """Lines and progress bars; ``quiet`` leaves errors only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def say(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)

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

    def texts(self, counts: Mapping[str, Any], labels: tuple[str, ...]) -> None:
        """Counts by kind, and every hole."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts["general"].items() if count)
        self.say(f"{len(labels):,} classes: {kinds}; {counts['pairs']:,} of {counts['pairs_possible']:,} pairs")
        if counts["classes_without_texts"] and counts["classes_without_texts"] < len(labels):
            self.say(f"  {counts['classes_without_texts']} classes have no text but their name")
        if counts["pairs_one_sided"]:
            self.say(
                f"  {counts['pairs_one_sided']} pairs have texts in one direction only: left out, one side makes no gap"
            )
        if counts["truncated"]:
            self.say(f"  {counts['truncated']} texts were cut at the model's context length")

    def wrote(self, path: Path) -> None:
        self.say(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")

    def next_command(self, engine: Path, weights: Path | None) -> None:
        extra = "" if weights is None else f" --weights {weights}"
        self.say(f"next: coder-infer IMAGES --engine {engine}{extra}")
