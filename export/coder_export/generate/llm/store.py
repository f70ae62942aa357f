"""The replies of an LLM on disk: append-only JSON Lines, each written the moment it arrives.

A run that was killed finds every reply it had received and asks only for the rest. The file is the record of what was
paid for and of where each text came from; nothing in it is ever changed.
"""

from __future__ import annotations

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
        path: the file; made if it is not there. Only one process at a time may have it, see ``lock.locked``.

    Raises:
        TextsError: it cannot be opened, or a line in it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as err:
            raise TextsError(f"{path}: cannot be opened for writing ({err.strerror}); choose another --out") from err
        self._places: dict[str, list[tuple[int, int]]] = {}
        self.size = 0
        try:
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
        """Close the file."""
        os.close(self._file)

    def append(self, reply: Reply) -> None:
        """Write one reply: one system call, so that a kill leaves the whole line or none of it.

        Raises:
            TextsError: the disk is full, or cannot be written.
        """
        line = (json.dumps(asdict(reply), ensure_ascii=False) + "\n").encode()
        try:
            written = os.write(self._file, line)
        except OSError as err:
            raise TextsError(
                f"{self.path}: cannot be written ({err.strerror}); mend that and run the same command again"
            ) from err
        if written != len(line):
            os.ftruncate(self._file, self.size)
            raise TextsError(f"{self.path}: the disk is full; free space and run the same command again")
        self._note(reply.keys, self.size, len(line))

    def replies(self, key: str) -> list[Reply]:
        """All replies to a question, in the order in which they came."""
        return [self._read(start, length) for start, length in self._places.get(key, ())]

    def _load(self) -> None:
        for number, line in enumerate(self._lines(), start=1):
            if not line.endswith(b"\n"):
                # The tail of a write that a crash of the machine cut: never a whole reply, so it is asked for again.
                os.ftruncate(self._file, self.size)
                return
            try:
                keys = _parse(line).keys
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
        return _parse(os.pread(self._file, length, start))


def _parse(line: bytes) -> Reply:
    fields = json.loads(line)
    lists = {"keys": fields["keys"], "classes": [*map(tuple, fields["classes"])], "tokens": fields["tokens"]}
    reply = Reply(**{**fields, **{name: tuple(value) for name, value in lists.items()}})
    strings = (*reply.keys, reply.kind, reply.model, reply.prompt, reply.text, reply.finish, reply.time)
    if not isinstance(fields["keys"], list) or not all(isinstance(value, str) for value in strings):
        raise ValueError("not the fields of a reply")
    return reply
