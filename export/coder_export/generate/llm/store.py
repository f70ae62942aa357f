"""The replies of an LLM on disk: append-only JSON Lines, each written the moment it arrives.

A run that was killed finds every reply it had received and asks only for the rest. The file is the record of what was
paid for and of where each text came from; nothing in it is ever changed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from coder_engine.errors import TextsError


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One reply of the server, as received.

    Attributes:
        keys: the questions it was asked for, see ``Question.key``.
        classes: their classes, for people who read the file.
        prompt: sha256 of the prompts' wording.
        text: the reply itself.
        finish: why the model stopped; "length" means that the reply was cut.
        tokens: (prompt, completion) as the server counted them, for the whole call.
        time: UTC, ISO 8601.
    """

    keys: tuple[str, ...]
    kind: str
    classes: tuple[tuple[str, ...], ...]
    model: str
    prompt: str
    text: str
    finish: str
    tokens: tuple[int, int]
    time: str


class ReplyStore:
    """Replies by question. In memory is only where each one stands in the file.

    Args:
        path: the file; made if it is not there. Only one process at a time may hold it.

    Raises:
        TextsError: another process holds it, or a line in it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._places: dict[str, list[tuple[int, int]]] = {}
        self.size = 0
        try:
            self._lock()
            self._load()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> ReplyStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._file)

    def append(self, reply: Reply) -> None:
        """Write one reply: one system call, so that a kill leaves the whole line or none of it."""
        line = (json.dumps(asdict(reply), ensure_ascii=False) + "\n").encode()
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self.size)
            raise TextsError(f"{self.path}: the disk is full; free space and run the same command again")
        self._note(reply.keys, self.size, len(line))

    def replies(self, key: str) -> list[Reply]:
        """All replies to a question, in the order in which they came."""
        return [self._read(start, length) for start, length in self._places.get(key, ())]

    def __len__(self) -> int:
        """How many questions have a reply."""
        return len(self._places)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise TextsError(
                f"{self.path}: another coder-texts is writing to it; wait for it, or choose another --out"
            ) from err

    def _load(self) -> None:
        for number, line in enumerate(self._lines(), start=1):
            if not line.endswith(b"\n"):
                # The tail of a write that a crash of the machine cut: never a whole reply, so it is asked for again.
                os.ftruncate(self._file, self.size)
                return
            try:
                keys = json.loads(line)["keys"]
            except (ValueError, KeyError, TypeError, RecursionError) as err:
                raise TextsError(
                    f"{self.path}:{number}: not a stored reply; remove the line to have it asked again"
                ) from err
            self._note(keys, self.size, len(line))

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            yield from file

    def _note(self, keys: Sequence[str], start: int, length: int) -> None:
        for key in keys:
            self._places.setdefault(key, []).append((start, length))
        self.size = start + length

    def _read(self, start: int, length: int) -> Reply:
        fields = json.loads(os.pread(self._file, length, start))
        fields.update(
            keys=tuple(fields["keys"]), classes=tuple(map(tuple, fields["classes"])), tokens=tuple(fields["tokens"])
        )
        return Reply(**fields)
