"""A report whose reader may go."""

from __future__ import annotations

import sys

from coder_engine.cli.output import silence
from coder_export.report import Report


class PatientReport(Report):
    """Goes on in silence after ``| head -1``: texts that are paid for are worth more than the lines about them."""

    def say(self, line: str) -> None:
        try:
            super().say(line)
        except BrokenPipeError:
            silence(sys.stdout)
