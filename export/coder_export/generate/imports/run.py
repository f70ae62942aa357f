"""Texts from other people's files into the draft of a text set."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from coder_engine.files import sha256_of
from coder_export.generate.config import TextsConfig
from coder_export.generate.draft import KINDS, Draft
from coder_export.generate.imports.forms import Imported, import_texts
from coder_export.labels import load_labels
from coder_export.matching import normal_name
from coder_export.report import Report
from coder_export.templates import Templates
from coder_export.textset import TextSet

_AS_IT_STANDS = ("{text}",)


def import_all(config: TextsConfig, draft: Draft, report: Report) -> list[str]:
    """Read every ``--import``; texts of one kind from several files stand side by side.

    Returns:
        What was not found, a line each.
    """
    theirs = load_labels(config.import_labels) if config.import_labels else None
    found: list[tuple[Path, TextSet]] = []
    missing: list[str] = []
    for path in config.imports:
        imported = import_texts(path, draft.labels, form=config.import_form, theirs=theirs)
        report.say(f"{path}:")
        for line in [*imported.notes, *imported.matches.report()]:
            report.say(f"  {line}")
        found.append((path, imported.textset))
        missing += _lacking(imported, path.name)
    for kind in config.kinds or KINDS:
        sources = [(path, textset) for path, textset in found if _has(textset, kind)]
        if config.kinds and not sources:
            missing.append(f"{kind} texts: none in {', '.join(path.name for path in config.imports)}")
        _put(draft, kind, sources)
    return missing


def _lacking(imported: Imported, file: str) -> list[str]:
    """What a file has nothing of, and texts in it that are lost, each with the name that may be the same class."""
    matches, labels = imported.matches, imported.textset.labels
    nothing = [f"{label}: nothing in {file}{_near(label, matches.unknown)}" for label in matches.missing]
    lost = "no label, its one-to-one texts"
    return nothing + [f"{name}: {lost} in {file} are left out{_near(name, labels)}" for name in imported.strays]


def _near(name: str, others: Sequence[str]) -> str:
    """What to do if one of ``others`` is the same class: one that has all words of the shorter name, or is spelt so."""
    own, keys = normal_name(name), {normal_name(other): other for other in others}
    words = set(own.split())
    within = [key for key in keys if len(words.intersection(key.split())) == min(len(words), len(set(key.split())))]
    near = get_close_matches(own, within, 1, cutoff=0.0) or get_close_matches(own, keys, 1)
    return f"; near it is {keys[near[0]]!r}: give both one name if they are one class" if near else ""


def _has(textset: TextSet, kind: str) -> bool:
    return bool(textset.pairs) if kind == "pair" else any(texts.get(kind) for texts in textset.texts)


def _put(draft: Draft, kind: str, sources: list[tuple[Path, TextSet]]) -> None:
    """Texts of one kind from all files that have it."""
    if not sources:
        return
    files = [{"file": path.name, "sha256": sha256_of(path)} for path, _ in sources]
    origin = {"expert": "import", "files": files}
    textsets = [textset for _, textset in sources]
    if kind == "pair":
        pairs: dict[tuple[int, int], list[str]] = {}
        for textset in textsets:
            for pair, texts in textset.pairs.items():
                pairs.setdefault(pair, []).extend(texts)
        draft.put_pairs({pair: list(dict.fromkeys(texts)) for pair, texts in pairs.items()}, origin)
        return
    templates = {getattr(textset.templates, kind) for textset in textsets}
    if len(templates) == 1:
        own = [[text for t in textsets for text in t.texts[i].get(kind, ())] for i in range(len(draft.labels))]
        used = textsets[0].templates.of_domain(draft.domain)
    else:
        # Sentences that go into different templates: put in here, and kept whole.
        own = [[text for t in textsets for text in _rendered(t, i, kind, draft)] for i in range(len(draft.labels))]
        used = Templates(**{kind: _AS_IT_STANDS})
    draft.put(kind, [list(dict.fromkeys(texts)) for texts in own], origin, used)


def _rendered(textset: TextSet, label_id: int, kind: str, draft: Draft) -> list[str]:
    templates = textset.templates.of_domain(draft.domain)
    name = textset.names[label_id]
    texts = textset.texts[label_id].get(kind, ())
    return [sentence for text in texts for sentence in templates.render(kind, {"class": name, "text": text})]
