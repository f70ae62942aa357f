"""One run of coder-texts: labels and an expert in, a text set out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from coder_engine.errors import ModelError, TextsError
from coder_export.generate.analogues import AnalogueFilter
from coder_export.generate.config import IMPORT, LLM, NO_MODEL, WORDNET, TextsConfig
from coder_export.generate.draft import KINDS, Draft
from coder_export.generate.draft_folder import check_unedited, open_draft, save_draft
from coder_export.generate.imports.run import import_all
from coder_export.generate.llm.run import LlmRun
from coder_export.generate.lock import locked
from coder_export.generate.pairs import PairChoice
from coder_export.generate.similarity import TextSpace
from coder_export.generate.summary import replaced
from coder_export.generate.wordnet.lexicon import Lexicon
from coder_export.generate.wordnet.senses import EXPERT_TEMPLATES, WordNet
from coder_export.labels import doubt, load_labels
from coder_export.model import open_model
from coder_export.report import Report
from coder_export.templates import Templates
from coder_export.textset import TextSet


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        textset: as written; None after a dry run.
        missing: what could not be had, a line each.
    """

    textset: TextSet | None
    missing: list[str] = field(default_factory=list)


def generate(config: TextsConfig, report: Report) -> Outcome:
    """Write the text set of one label file; kinds that this run is not asked for stay as the folder has them.

    Raises:
        TextsError, ModelError: nothing is then written, but for the replies of an LLM, which are kept.
    """
    labels = load_labels(config.labels)
    if why := doubt(labels):  # before anything is paid for
        report.warn(f"{config.labels}: {why}")
    kinds = chosen_kinds(config)
    if config.dry_run:
        return _generate(config, labels, kinds, report)
    _make_folder(config)
    with locked(config.out):
        return _generate(config, labels, kinds, report)


def _generate(config: TextsConfig, labels: tuple[str, ...], kinds: tuple[str, ...], report: Report) -> Outcome:
    if not config.overwrite:
        check_unedited(config.out, kinds)
    draft = open_draft(config.out, labels, config.domain, report.say)
    before = draft.textset("before")
    if config.source == IMPORT:
        missing = import_all(config, draft, report)
    else:
        space = open_space(config, report) if _needs_space(config, kinds, len(labels)) else None
        missing = _lexical(config, draft, kinds, space, report)
        if config.source == LLM:
            run = LlmRun(config=config, draft=draft, kinds=kinds, space=space, report=report)
            missing += asyncio.run(run.write())
    _tell_replaced(before, draft.textset("after"), config, report)
    if config.dry_run:
        return Outcome(textset=None, missing=missing)
    return Outcome(textset=save_draft(draft, config.out), missing=missing)


def _tell_replaced(before: TextSet, after: TextSet, config: TextsConfig, report: Report) -> None:
    lines = replaced(before, after)
    if lines and config.source == IMPORT:
        lines.append("(files given in one command stand side by side: --import A --import B)")
    for line in lines:
        report.say(line)


def chosen_kinds(config: TextsConfig) -> tuple[str, ...]:
    """The kinds to write: those asked for, else all that the expert can; WordNet writes no pairs."""
    if config.kinds is None:
        return KINDS if config.source != WORDNET else tuple(kind for kind in KINDS if kind != "pair")
    if config.source == WORDNET and "pair" in config.kinds:
        raise TextsError("WordNet knows nothing of what sets two classes apart: pair texts need an LLM (--llm MODEL)")
    return config.kinds


def _needs_space(config: TextsConfig, kinds: tuple[str, ...], classes: int) -> bool:
    """A dry run tells a price: the text space has a say in it only where it chooses the pairs."""
    how = (config.pairs or PairChoice.default(classes)).how
    return not config.dry_run or (config.source == LLM and "pair" in kinds and how in ("top", "seen"))


def open_space(config: TextsConfig, report: Report) -> TextSpace | None:
    """CLIP's text space by ``--model``; None with ``--model none``."""
    if config.model == NO_MODEL:
        report.say("--model none: names alone decide which analogues are other classes, and which sense WordNet means")
        return None
    try:
        clip = open_model(config.model, config.pretrained, checkpoint=config.checkpoint)
    except ModelError as err:
        raise ModelError(f"{err}. Its text space judges analogues and pairs; --model none goes without") from err
    report.say(f"{clip.name}: " + "; ".join(clip.notes))
    return TextSpace(clip, report)


def _make_folder(config: TextsConfig) -> None:
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TextsError(f"--out {config.out}: cannot be made ({err.strerror}); choose another folder") from err


def _lexical(
    config: TextsConfig, draft: Draft, kinds: tuple[str, ...], space: TextSpace | None, report: Report
) -> list[str]:
    """What WordNet gives: synonyms always, attributes and analogues where it is the expert."""
    only_synonyms = config.source == LLM
    if config.dry_run and not only_synonyms:
        report.say("WordNet would write the texts: nobody is asked, and it costs nothing")
    if config.dry_run or (only_synonyms and "synonym" not in kinds):
        return []
    try:
        wordnet = WordNet.open()
    except TextsError as err:
        if only_synonyms and config.kinds is None:
            return [f"synonyms: {err}"]
        raise
    with report.progress("WordNet", len(draft.labels)) as advance:
        lexicon = Lexicon.of(draft.labels, wordnet, space, advance)
    for line in lexicon.doubts():
        report.say(line)
    origin = {"expert": "wordnet", "clip": space.name if space else None}
    synonyms = lexicon.synonyms()
    if "synonym" in kinds:
        draft.put("synonym", synonyms, origin)
    if not only_synonyms and "attribute" in kinds:
        templates = Templates(attribute=EXPERT_TEMPLATES).of_domain(config.domain)
        draft.put("attribute", lexicon.attributes(config.attributes), origin, templates)
    if not only_synonyms and "analogous" in kinds:
        choose = AnalogueFilter(labels=draft.labels, synonyms=synonyms, space=space, threshold=config.threshold)
        draft.put("analogous", lexicon.analogues(choose, space, config.analogues), origin)
    return [f"{label}: not in WordNet" for label in lexicon.unknown]
