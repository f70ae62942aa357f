"""What this machine has and lacks, and how it is said."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from coder_engine.counts import count_of
from coder_engine.errors import BackendError


class Unavailable(BackendError):
    """This machine cannot run a backend as asked; the message names what is missing and the command that mends it.

    Attributes:
        short: the same in a few words, for one line about several backends.
    """

    def __init__(self, short: str, message: str) -> None:
        super().__init__(message)
        self.short = short


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """A backend that "auto" would have taken before the one it took.

    Attributes:
        title: the backend.
        short: why it was not taken, in a few words.
        reason: why, and the command that mends it.
    """

    title: str
    short: str
    reason: str

    def __str__(self) -> str:
        return f"{self.title} ({self.short})"


def import_runtime(module: str, title: str, extra: str) -> ModuleType:
    """Import a runtime, or name the extra that brings it.

    Raises:
        Unavailable: it is not installed, or its own libraries do not load.
    """
    try:
        found = importlib.import_module(module)
        if found.__spec__ is not None and found.__spec__.origin is None:
            raise ModuleNotFoundError(f"its folder is empty: {list(found.__path__)}")  # as uninstalling leaves it
        return found
    except ModuleNotFoundError as err:
        message = f"{title} is not installed ({err}); install it: pip install 'coder-engine[{extra}]'"
        raise Unavailable("not installed", message) from err
    except ImportError as err:
        mend = f"pip install --force-reinstall 'coder-engine[{extra}]'"
        message = f"{title} does not load ({first_line(err)}); install it anew: {mend}"
        raise Unavailable("does not load", message) from err


def first_line(err: Exception) -> str:
    """What a runtime's error says, short enough for one line of ours."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]


def no_memory_for(count: int, err: Exception) -> str:
    """What is said where a device has not enough memory for ``count`` images, with what to use instead."""
    less = f"a smaller batch (--batch-size {count // 2})" if count > 1 else "a GPU with more free memory (nvidia-smi)"
    return f"the device has not enough memory for {count_of(count, 'image')} ({first_line(err)}); use {less}"
