"""A text set in the making: texts by kind with their templates and their origin, on top of what the folder holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coder_engine.errors import TextsError
from coder_engine.files import replacing, sha256_of
from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet, load_textset, render_textset, save_textset

KINDS = (*GENERAL_KINDS, "pair")
_FILES = ("texts.jsonl", "pairs.jsonl")

ByClass = Sequence[Sequence[str]]


@dataclass(kw_only=True)
class Draft:
    """Texts of C classes, replaced kind by kind.

    Attributes:
        labels: the C class names, in id order.
        general: by kind of ``GENERAL_KINDS``, by class id, the texts.
        pairs: as in ``TextSet``.
        origins: by kind, where its texts came from: expert, model, hash of the prompts, date.
    """

    labels: tuple[str, ...]
    domain: str = "photo"
    templates: Templates = field(default_factory=Templates)
    general: dict[str, ByClass] = field(default_factory=dict)
    pairs: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)
    origins: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def put(self, kind: str, texts: ByClass, origin: Mapping[str, Any]) -> None:
        """Texts of one general kind, by class id, in place of those that were there."""
        self.general[kind] = texts
        self.origins[kind] = origin

    def put_pairs(self, pairs: Mapping[tuple[int, int], Sequence[str]], origin: Mapping[str, Any]) -> None:
        """One-to-one texts, in place of those that were there."""
        self.pairs = {pair: texts for pair, texts in pairs.items() if texts}
        self.origins["pair"] = origin

    def use_templates(self, kinds: Iterable[str], templates: Templates) -> None:
        """The sentences that the texts of ``kinds`` go into."""
        self.templates = replace(self.templates, **{kind: getattr(templates, kind) for kind in kinds})

    def textset(self, name: str) -> TextSet:
        """The text set as it stands."""
        own = [
            {kind: tuple(texts[i]) for kind, texts in self.general.items() if texts[i]} for i in range(len(self.labels))
        ]
        return TextSet(
            name=name,
            labels=self.labels,
            texts=tuple({kind: texts[kind] for kind in GENERAL_KINDS if kind in texts} for texts in own),
            pairs={pair: tuple(texts) for pair, texts in self.pairs.items()},
            templates=self.templates,
            source={"writer": "coder-texts", "domain": self.domain, "kinds": self.origins},
        )


def open_draft(folder: Path, labels: tuple[str, ...], domain: str) -> Draft:
    """What ``folder`` holds for ``labels``, to be built upon; empty where there is nothing.

    Texts of classes that are no longer among the labels are left behind.
    """
    templates = Templates().of_domain(domain)
    if not (folder / "labels.txt").exists():
        return Draft(labels=labels, domain=domain, templates=templates)
    old = load_textset(folder)
    ids = {label: i for i, label in enumerate(labels)}
    texts = dict(zip(old.labels, old.texts, strict=True))
    origins = old.source.get("kinds", {})
    draft = Draft(labels=labels, domain=domain, templates=templates, origins=dict(origins))
    kept = [kind for kind in GENERAL_KINDS if any(kinds.get(kind) for kinds in old.texts)]
    for kind in kept:
        draft.general[kind] = [texts.get(label, {}).get(kind, ()) for label in labels]
    names = [(old.labels[a], old.labels[b], found) for (a, b), found in old.pairs.items()]
    draft.pairs = {(ids[a], ids[b]): found for a, b, found in names if a in ids and b in ids}
    draft.use_templates([*kept, *(["pair"] if draft.pairs else [])], old.templates)
    return draft


def check_unedited(folder: Path, kinds: Iterable[str]) -> None:
    """Refuse to replace texts that somebody wrote or mended by hand.

    Raises:
        TextsError: a file that ``kinds`` would rewrite is not as coder-texts wrote it.
    """
    if not any((folder / file).exists() for file in _FILES):
        return
    source = load_textset(folder).source if (folder / "labels.txt").exists() else {}
    known = source.get("sha256", {})
    files = {"pairs.jsonl" if kind == "pair" else "texts.jsonl" for kind in kinds}
    for file in sorted(files):
        path = folder / file
        if path.exists() and path.stat().st_size and sha256_of(path) not in known.get(file, ()):
            raise TextsError(
                f"{path} was written or changed by hand since coder-texts wrote it, and would be replaced; "
                "choose another --out, keep its kind out of --kinds, or pass --overwrite"
            )


def save_draft(draft: Draft, folder: Path) -> TextSet:
    """Write the text set. Its source.json knows the hashes of its files, so that later edits by hand are seen.

    Raises:
        OSError: the folder cannot be written.
    """
    textset = draft.textset(folder.resolve().name)
    files = render_textset(textset)
    new = {file: [hashlib.sha256(files[file].encode()).hexdigest()] for file in _FILES}
    old = {file: [sha256_of(folder / file)] for file in _FILES if (folder / file).exists()}
    # First both: a run killed between two files must not take its own half for an edit by hand.
    both = {file: [*old.get(file, []), *new[file]] for file in _FILES}
    with replacing(folder / "source.json") as scratch:
        scratch.write_text(json.dumps({**textset.source, "sha256": both}), encoding="utf-8")
    textset = replace(textset, source={**textset.source, "sha256": new})
    save_textset(textset, folder)
    return textset
