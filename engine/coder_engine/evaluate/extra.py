"""The [eval] extra: matplotlib and scikit-learn, which only the report needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coder_engine.errors import DataError


@contextmanager
def needs_extra(what: str) -> Iterator[None]:
    """Imports in this block belong to the [eval] extra.

    Raises:
        DataError: one is not installed; the message has the command.
    """
    try:
        yield
    except ImportError as err:
        raise DataError(f"{what} need {err.name}, which is not installed: pip install 'coder-engine[eval]'") from err
