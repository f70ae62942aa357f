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
from coder_export.labels import load_labels
from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet
from coder_export.textset_file import load_textset, render_textset, save_textset

KINDS = (*GENERAL_KINDS, "pair")
_FILES: Mapping[str, tuple[str, ...]] = {"texts.jsonl": GENERAL_KINDS, "pairs.jsonl": ("pair",)}
_SET = (*_FILES, "labels.txt", "templates.json", "source.json")
_WRITER = "coder-texts"

ByClass = Sequence[Sequence[str]]


@dataclass(kw_only=True)
class Draft:
    """Texts of C classes, replaced kind by kind.

    Attributes:
        labels: the C class names, in id order.
        general: by kind of ``GENERAL_KINDS``, by class id, the texts.
        pairs: as in ``TextSet``.
        origins: by kind, where its texts came from: expert, model, hash of the prompts, date.
        before: source.json as the folder has it.
        edited: files of texts that somebody wrote or changed by hand.
        opened: file -> sha256 of the text set as it was read.
        written: the kinds that were put in since.
    """

    labels: tuple[str, ...]
    domain: str = "photo"
    templates: Templates = field(default_factory=Templates)
    general: dict[str, ByClass] = field(default_factory=dict)
    pairs: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)
    origins: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    edited: frozenset[str] = frozenset()
    opened: Mapping[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def put(self, kind: str, texts: ByClass, origin: Mapping[str, Any]) -> None:
        """Texts of one general kind, by class id, in place of those that were there."""
        self.general[kind] = texts
        self._note(kind, origin)

    def put_pairs(self, pairs: Mapping[tuple[int, int], Sequence[str]], origin: Mapping[str, Any]) -> None:
        """One-to-one texts, in place of those that were there."""
        self.pairs = {pair: texts for pair, texts in pairs.items() if texts}
        self._note("pair", origin)

    def _note(self, kind: str, origin: Mapping[str, Any]) -> None:
        self.use_templates([kind], self.templates_for(str(origin["expert"])))
        self.origins[kind] = origin
        self.written.add(kind)

    def templates_for(self, expert: str) -> Templates:
        """The sentences that new texts of ``expert`` go into.

        Where it wrote the kind before, for pictures of the same domain, as the folder has them, for they may have been
        changed by hand; else the default ones.
        """
        default = Templates().of_domain(self.domain)
        if self.before.get("domain") != self.domain:
            return default
        kinds = [kind for kind, origin in _object(self.before.get("kinds")).items() if kind in KINDS]
        again = [kind for kind in kinds if _object(self.before["kinds"][kind]).get("expert") == expert]
        return replace(default, **{kind: getattr(self.templates, kind) for kind in again})

    def use_templates(self, kinds: Iterable[str], templates: Templates) -> None:
        """The sentences that the texts of ``kinds`` go into."""
        self.templates = replace(self.templates, **{kind: getattr(templates, kind) for kind in kinds})

    def textset(self, name: str) -> TextSet:
        """The text set as it stands."""
        own = [
            {kind: tuple(texts[i]) for kind, texts in self.general.items() if texts[i]} for i in range(len(self.labels))
        ]
        aliases = {name: label for name, label in _object(self.before.get("aliases")).items() if label in self.labels}
        source = {"writer": _WRITER, "domain": self.domain, "kinds": self.origins}
        return TextSet(
            name=name,
            labels=self.labels,
            texts=tuple({kind: texts[kind] for kind in GENERAL_KINDS if kind in texts} for texts in own),
            pairs={pair: tuple(texts) for pair, texts in self.pairs.items()},
            templates=self.templates,
            source={**source, "aliases": aliases} if aliases else source,
        )


def open_draft(folder: Path, labels: tuple[str, ...], domain: str) -> Draft:
    """What ``folder`` holds for ``labels``, to be built upon; empty where there is nothing.

    Texts of classes that are no longer among the labels are left behind.
    """
    templates = Templates().of_domain(domain)
    opened = _hashes(folder)  # before it is read: what changes from here on is not in the draft
    if not (folder / "labels.txt").exists():
        return Draft(labels=labels, domain=domain, templates=templates, opened=opened)
    old = load_textset(folder)
    ids = {label: i for i, label in enumerate(labels)}
    texts = dict(zip(old.labels, old.texts, strict=True))
    draft = Draft(labels=labels, domain=domain, templates=templates, before=old.source, opened=opened)
    kept = [kind for kind in GENERAL_KINDS if any(kinds.get(kind) for kinds in old.texts)]
    for kind in kept:
        draft.general[kind] = [texts.get(label, {}).get(kind, ()) for label in labels]
    names = [(old.labels[a], old.labels[b], found) for (a, b), found in old.pairs.items()]
    draft.pairs = {(ids[a], ids[b]): found for a, b, found in names if a in ids and b in ids}
    kept += ["pair"] if draft.pairs else []
    draft.use_templates([*kept, *(["name"] if old.source.get("domain", domain) == domain else [])], old.templates)
    draft.origins = _origins(old.source, kept)
    draft.edited = _edited(folder, old.source)
    return draft


def check_unedited(folder: Path, kinds: Iterable[str]) -> None:
    """Refuse to replace texts that somebody wrote or mended by hand.

    Raises:
        TextsError: a file that ``kinds`` would rewrite is not as coder-texts wrote it.
    """
    if not any((folder / file).exists() for file in _FILES):
        return
    readable = (folder / "labels.txt").exists()
    edited = _edited(folder, load_textset(folder).source if readable else {})
    # Without its labels nothing of the folder can be kept: every file would be replaced.
    for file in sorted(file for file in edited if not readable or not set(kinds).isdisjoint(_FILES[file])):
        raise TextsError(
            f"{folder / file} was written or changed by hand since coder-texts wrote it, and would be replaced; "
            "choose another --out, keep its kind out of --kinds, or pass --overwrite"
        )


def save_draft(draft: Draft, folder: Path) -> TextSet:
    """Write the text set. Its source.json knows the hashes of its files, so that later edits by hand are seen.

    Raises:
        TextsError: a file of it was changed since ``open_draft``; nothing is written then.
        OSError: the folder cannot be written.
    """
    _check_unchanged(draft, folder)
    textset = draft.textset(folder.resolve().name)
    files = render_textset(textset)
    ours = [file for file in _FILES if _is_ours(draft, file)]
    new = {file: [hashlib.sha256(files[file].encode()).hexdigest()] for file in ours}
    old = {file: [sha256_of(folder / file)] for file in ours if (folder / file).exists()}
    # First both: a run killed between two files must not take its own half for an edit by hand.
    both = {file: [*old.get(file, []), *new[file]] for file in ours}
    _write(folder / "source.json", json.dumps({**draft.before, "sha256": both}))
    _write_all_labels(draft.labels, folder)
    textset = replace(textset, source={**textset.source, "sha256": new})
    save_textset(textset, folder)
    return textset


def _check_unchanged(draft: Draft, folder: Path) -> None:
    """An LLM takes hours, in which somebody may mend a text: all files would be written from what was read before."""
    now = _hashes(folder)
    for file in _SET:
        if now.get(file) != draft.opened.get(file):
            raise TextsError(
                f"{folder / file} was changed while this run was at work, so nothing was written; replies are kept: "
                "run the same command again"
            )


def _hashes(folder: Path) -> dict[str, str]:
    return {file: sha256_of(folder / file) for file in _SET if (folder / file).exists()}


def _write_all_labels(labels: tuple[str, ...], folder: Path) -> None:
    """The labels of old and new texts: a run killed between two files must leave a text set that can be read."""
    old = load_labels(folder / "labels.txt") if (folder / "labels.txt").exists() else ()
    new = {" ".join(label.casefold().split()) for label in labels}
    gone = [label for label in old if " ".join(label.casefold().split()) not in new]
    _write(folder / "labels.txt", "".join(f"{label}\n" for label in (*labels, *gone)))


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _origins(source: Mapping[str, Any], kept: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Where the texts of a folder came from; where coder-texts did not write the set, its whole source by kind."""
    if source and source.get("writer") != _WRITER:
        return {kind: {"expert": "other", "source": source} for kind in kept}
    return {kind: origin for kind, origin in _object(source.get("kinds")).items() if kind in KINDS}


def _edited(folder: Path, source: Mapping[str, Any]) -> frozenset[str]:
    """The files of texts that are not as coder-texts wrote them."""
    known = _object(source.get("sha256"))
    there = [file for file in _FILES if (folder / file).exists() and (folder / file).stat().st_size]
    return frozenset(file for file in there if sha256_of(folder / file) not in list(known.get(file) or ()))


def _is_ours(draft: Draft, file: str) -> bool:
    """Whether all texts in a file are coder-texts' own: what somebody changed by hand stays known as such."""
    kinds = ["pair"] if draft.pairs else []
    kinds += [kind for kind, texts in draft.general.items() if any(texts)]
    return file not in draft.edited or draft.written.issuperset(set(kinds).intersection(_FILES[file]))


def _object(value: object) -> Mapping[str, Any]:
    """``value`` if it is an object: source.json may have been written by people, too."""
    return value if isinstance(value, dict) else {}
