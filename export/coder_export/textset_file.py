"""Stage 2 of the pipeline: text sets on disk.

A text set is a folder of ``labels.txt``, ``texts.jsonl`` (class, kind, text), ``pairs.jsonl`` (class, other, text),
``templates.json`` and ``source.json``: JSON and text only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError
from coder_engine.files import replacing
from coder_export.labels import load_labels
from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet

_SURROGATE = re.compile("[\ud800-\udfff]")


def load_textset(folder: Path) -> TextSet:
    """Read and validate a text-set folder."""
    labels = load_labels(folder / "labels.txt")
    templates = folder / "templates.json"
    source = folder / "source.json"
    return TextSet(
        name=folder.resolve().name,
        labels=labels,
        texts=_load_texts(folder / "texts.jsonl", labels),
        pairs=_load_pairs(folder / "pairs.jsonl", labels),
        templates=Templates.from_json(_json(templates), where=str(templates)) if templates.exists() else Templates(),
        source=_source(_json(source), where=str(source)) if source.exists() else {},
    )


def save_textset(textset: TextSet, folder: Path) -> None:
    """Write a text set; each file is either the old one or the new one, whole, and ``source.json`` comes last.

    Raises:
        OSError: the folder cannot be written.
    """
    for file, text in render_textset(textset).items():
        with replacing(folder / file) as scratch:
            scratch.write_text(text, encoding="utf-8")


def render_textset(textset: TextSet) -> dict[str, str]:
    """The files of a text set: name -> content. Equal text sets give equal bytes."""
    general = [
        {"class": label, "kind": kind, "text": text}
        for label, kinds in zip(textset.labels, textset.texts, strict=True)
        for kind in GENERAL_KINDS
        for text in kinds.get(kind, ())
    ]
    pairs = [
        {"class": textset.labels[a], "other": textset.labels[b], "text": text}
        for a, b in sorted(textset.pairs)
        for text in textset.pairs[a, b]
    ]
    return {
        "texts.jsonl": _lines(general),
        "pairs.jsonl": _lines(pairs),
        "templates.json": _pretty(textset.templates.to_json()),
        # After the texts: until then there may be labels that only old texts know.
        "labels.txt": "".join(f"{label}\n" for label in textset.labels),
        "source.json": _pretty(textset.source),
    }


def _lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _pretty(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _load_texts(path: Path, labels: tuple[str, ...]) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    ids = {label: i for i, label in enumerate(labels)}
    found: list[dict[str, list[str]]] = [{} for _ in labels]
    for where, row in _rows(path, ("class", "kind", "text")):
        if row["kind"] not in GENERAL_KINDS:
            raise TextsError(f"{where}: kind {row['kind']!r} is unknown; kinds are {', '.join(GENERAL_KINDS)}")
        found[_id(ids, row["class"], where)].setdefault(row["kind"], []).append(row["text"])
    return tuple({kind: tuple(texts) for kind, texts in kinds.items()} for kinds in found)


def _load_pairs(path: Path, labels: tuple[str, ...]) -> dict[tuple[int, int], tuple[str, ...]]:
    ids = {label: i for i, label in enumerate(labels)}
    found: dict[tuple[int, int], list[str]] = {}
    for where, row in _rows(path, ("class", "other", "text")):
        pair = (_id(ids, row["class"], where), _id(ids, row["other"], where))
        if pair[0] == pair[1]:
            raise TextsError(f"{where}: class {row['class']!r} is set against itself; name two classes")
        found.setdefault(pair, []).append(row["text"])
    return {pair: tuple(texts) for pair, texts in found.items()}


def _rows(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each object of a .jsonl file with its place in it; a missing file has no rows."""
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path}:{number}"
                if line.strip():
                    yield where, _row(line, keys, where)
    except UnicodeDecodeError as err:
        raise TextsError(f"{path}: not UTF-8 ({err.reason}); save it as UTF-8") from err
    except OSError as err:
        raise TextsError(f"{path}: cannot be read ({err.strerror}); check the path and its permissions") from err


def _row(line: str, keys: tuple[str, ...], where: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as err:  # ValueError alone: an integer of thousands of digits
        raise TextsError(f"{where}: not JSON ({getattr(err, 'msg', err)}); write one object a line") from err
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key].strip() for key in keys):
        raise TextsError(
            f"{where}: expected an object with non-empty strings {', '.join(keys)}, got {line.strip()[:80]}"
        )
    if any(not row[key].isascii() and _SURROGATE.search(row[key]) for key in keys):
        raise TextsError(f"{where}: half a surrogate pair (\\ud800 to \\udfff) is no letter, got {line.strip()[:80]}")
    return row


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as err:
        raise TextsError(f"{path}: not JSON ({err}); mend or remove it") from err
    except OSError as err:
        raise TextsError(f"{path}: cannot be read ({err.strerror}); check its permissions") from err


def _source(data: object, *, where: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TextsError(
            f"{where}: expected an object, got {type(data).__name__}; write who made the texts as an object"
        )
    aliases = data.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(label, str) for label in aliases.values()):
        raise TextsError(
            f"{where}: aliases must be an object of name to label, all strings, got {str(aliases)[:80]}; mend them"
        )
    return data


def _id(ids: Mapping[str, int], label: str, where: str) -> int:
    if label not in ids:
        raise TextsError(f"{where}: class {label!r} is not in labels.txt; mend the name or add the label")
    return ids[label]
