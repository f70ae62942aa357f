"""A report whose reader may go."""

from __future__ import annotations

from contextlib import suppress

from coder_engine.cli.output import OutputClosed
from coder_export.report import Report


class PatientReport(Report):
    """Goes on in silence after ``| head -1``: texts that are paid for are worth more than the lines about them."""

    def say(self, line: str) -> None:
        with suppress(OutputClosed):
            super().say(line)
