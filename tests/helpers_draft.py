"""Drafts of a small text set, for the tests of drafts and of their folders."""

from __future__ import annotations

from pathlib import Path

from coder_export.generate.draft import Draft
from coder_export.generate.draft_folder import open_draft, save_draft

LABELS = ("cat", "elk", "owl")
LLM = {"expert": "llm", "model": "m"}
WORDNET = {"expert": "wordnet"}
FILES = ("labels.txt", "texts.jsonl", "pairs.jsonl", "templates.json", "source.json")


def filled(folder: Path, labels: tuple[str, ...] = LABELS, domain: str = "photo") -> Draft:
    draft = open_draft(folder, labels, domain)
    draft.put("attribute", [[f"{label}'s ears", "legs"] for label in labels], LLM)
    draft.put("synonym", [["house cat"], *([()] * (len(labels) - 1))], WORDNET)
    pairs = {(0, 1): ("its size",), (1, 0): ("its antlers",), (1, 2): ("its hooves",), (2, 1): ()}
    draft.put_pairs({pair: texts for pair, texts in pairs.items() if max(pair) < len(labels)}, LLM)
    return draft


def save(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    folder.mkdir(exist_ok=True)
    save_draft(filled(folder, labels), folder)
    return folder
