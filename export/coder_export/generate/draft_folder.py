"""A draft and its folder: what it holds stays, what people wrote is safe, and a kill leaves what can be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coder_engine.counts import count_of
from coder_engine.errors import TextsError
from coder_engine.files import replacing, sha256_of
from coder_export.generate.draft import KINDS, WRITER, Draft, as_object
from coder_export.labels import label_key, load_labels
from coder_export.matching import match_names
from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet
from coder_export.textset_file import load_textset, render_textset, save_textset
from coder_export.words import some

_FILES: Mapping[str, tuple[str, ...]] = {"texts.jsonl": GENERAL_KINDS, "pairs.jsonl": ("pair",)}
_SET = (*_FILES, "labels.txt", "templates.json", "source.json")


def open_draft(
    folder: Path, labels: tuple[str, ...], domain: str, told: Callable[[str], object] = lambda line: None
) -> Draft:
    """What ``folder`` holds for ``labels``, to be built upon; empty where there is nothing.

    Args:
        labels: may be spelt otherwise than in the folder; texts of classes that are not among them are left behind.
        told: called with a line for the user where texts are left behind.
    """
    default = Templates().of_domain(domain)
    draft = Draft(labels=labels, domain=domain, templates=default, given=default.to_json())
    draft.opened = _hashes(folder)  # before it is read: what changes from here on is not in the draft
    if not (folder / "labels.txt").exists():
        return draft
    old = load_textset(folder)
    draft.before, draft.given, draft.edited = old.source, _given(old.source, domain), _edited(folder, old.source)
    _take(draft, old, told)
    kept = [kind for kind in KINDS if (draft.pairs if kind == "pair" else kind in draft.general)]
    # Sentences for texts that are yet to come may have been changed by hand, too.
    draft.templates = old.templates
    for kind in KINDS:
        if kind not in kept:
            draft.make_for(kind, default)
    if old.source.get("domain", domain) != domain:
        draft.use_templates(["name"], default)
    draft.origins = _origins(old.source, kept)
    return draft


def _take(draft: Draft, old: TextSet, told: Callable[[str], object]) -> None:
    """The texts of ``old`` for the labels of ``draft``."""
    described = [label for label, own in zip(old.labels, old.texts, strict=True) if own]
    duelling = [old.labels[i] for i in sorted({i for pair in old.pairs for i in pair})]
    # Each by itself: a run killed between the two files leaves them in two spellings.
    ids, pair_ids = _ids(described, draft.labels), _ids(duelling, draft.labels)
    own = {ids[label]: texts for label, texts in zip(old.labels, old.texts, strict=True) if label in ids}
    for kind in GENERAL_KINDS:
        if any(kinds.get(kind) for kinds in old.texts):
            draft.general[kind] = [own.get(i, {}).get(kind, ()) for i in range(len(draft.labels))]
    names = [(old.labels[a], old.labels[b], found) for (a, b), found in old.pairs.items()]
    draft.pairs = {(pair_ids[a], pair_ids[b]): found for a, b, found in names if a in pair_ids and b in pair_ids}
    known = ids.keys() | pair_ids.keys()
    gone = [label for label in dict.fromkeys(described + duelling) if label not in known]
    if gone:
        lost = sum(len(texts) for label in gone for texts in old.texts[old.labels.index(label)].values())
        lost += sum(map(len, old.pairs.values())) - sum(map(len, draft.pairs.values()))
        classes, verb = count_of(len(gone), "class"), "is" if len(gone) == 1 else "are"
        told(f"{classes} of {old.name} {verb} not among the labels ({some(gone)}): {lost:,} texts are left behind")


def _ids(names: Sequence[str], labels: tuple[str, ...]) -> dict[str, int]:
    """Name -> id of the label that is the same class, in whatever spelling."""
    place = {label: i for i, label in enumerate(labels)}
    return {name: place[label] for name, label in match_names(names, labels).found.items()}


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
    new = {label_key(label) for label in labels}
    gone = [label for label in old if label_key(label) not in new]
    _write(folder / "labels.txt", "".join(f"{label}\n" for label in (*labels, *gone)))


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _origins(source: Mapping[str, Any], kept: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Where the texts of a folder came from; where coder-texts did not write the set, its whole source by kind."""
    if source and source.get("writer") != WRITER:
        return {kind: {"expert": "other", "source": source} for kind in kept}
    return {kind: origin for kind, origin in as_object(source.get("kinds")).items() if kind in KINDS}


def _given(source: Mapping[str, Any], domain: str) -> dict[str, list[str]]:
    """By kind, the sentences that coder-texts' own texts in a folder were made for."""
    if source.get("writer") != WRITER:
        return {}
    # A set of before these were recorded: the default ones.
    default = Templates().of_domain(domain).to_json() if source.get("domain") == domain else {}
    return {**as_object(source.get("templates", default))}


def _edited(folder: Path, source: Mapping[str, Any]) -> frozenset[str]:
    """The files of texts that are not as coder-texts wrote them."""
    known = as_object(source.get("sha256"))
    there = [file for file in _FILES if (folder / file).exists() and (folder / file).stat().st_size]
    ours = {file: hashes for file, hashes in known.items() if isinstance(hashes, list)}
    return frozenset(file for file in there if sha256_of(folder / file) not in ours.get(file, ()))


def _is_ours(draft: Draft, file: str) -> bool:
    """Whether all texts in a file are coder-texts' own: what somebody changed by hand stays known as such."""
    kinds = ["pair"] if draft.pairs else []
    kinds += [kind for kind, texts in draft.general.items() if any(texts)]
    return file not in draft.edited or draft.written.issuperset(set(kinds).intersection(_FILES[file]))
