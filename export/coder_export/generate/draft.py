"""A text set in the making: texts by kind, each with its templates and its origin; its folder is in draft_folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coder_export.templates import Templates
from coder_export.textset import GENERAL_KINDS, TextSet

KINDS = (*GENERAL_KINDS, "pair")
WRITER = "coder-texts"

ByClass = Sequence[Sequence[str]]


@dataclass(kw_only=True)
class Draft:
    """Texts of C classes, replaced kind by kind.

    Attributes:
        labels: the C class names, in id order.
        general: by kind of ``GENERAL_KINDS``, by class id, the texts.
        pairs: as in ``TextSet``.
        origins: by kind, where its texts came from: expert, model, hash of the prompts, date.
        given: by kind, the sentences that its texts were made for; ``templates`` may have been changed by hand since.
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
    given: dict[str, list[str]] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    edited: frozenset[str] = frozenset()
    opened: Mapping[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def put(self, kind: str, texts: ByClass, origin: Mapping[str, Any], templates: Templates | None = None) -> None:
        """Texts of one general kind, by class id, in place of those that were there.

        Args:
            templates: the sentences that they are made for; None: the default ones for the domain.
        """
        self.general[kind] = texts
        self._note(kind, origin, templates)

    def put_pairs(self, pairs: Mapping[tuple[int, int], Sequence[str]], origin: Mapping[str, Any]) -> None:
        """One-to-one texts, in place of those that were there."""
        self.pairs = {pair: texts for pair, texts in pairs.items() if texts}
        self._note("pair", origin, None)

    def _note(self, kind: str, origin: Mapping[str, Any], templates: Templates | None) -> None:
        self.make_for(kind, templates or Templates().of_domain(self.domain))
        self.origins[kind] = origin
        self.written.add(kind)

    def templates_for(self, default: Templates) -> Templates:
        """The sentences that new texts made for ``default`` go into.

        Where texts made for the same sentences were there before, the folder's: they are these, or what somebody made
        of them by hand.
        """
        again = [kind for kind, own in default.to_json().items() if own == self.given.get(kind)]
        return replace(default, **{kind: getattr(self.templates, kind) for kind in again})

    def make_for(self, kind: str, default: Templates) -> None:
        """Texts of ``kind`` are made for the sentences of ``default`` from now on."""
        self.use_templates([kind], self.templates_for(default))
        self.given[kind] = default.to_json()[kind]

    def use_templates(self, kinds: Iterable[str], templates: Templates) -> None:
        """The sentences that the texts of ``kinds`` go into."""
        self.templates = replace(self.templates, **{kind: getattr(templates, kind) for kind in kinds})

    def textset(self, name: str) -> TextSet:
        """The text set as it stands."""
        own = [
            {kind: tuple(texts[i]) for kind, texts in self.general.items() if texts[i]} for i in range(len(self.labels))
        ]
        aliases = {name: label for name, label in as_object(self.before.get("aliases")).items() if label in self.labels}
        given = {kind: self.given[kind] for kind in KINDS if kind in self.given}
        source = {"writer": WRITER, "domain": self.domain, "kinds": self.origins, "templates": given}
        return TextSet(
            name=name,
            labels=self.labels,
            texts=tuple({kind: texts[kind] for kind in GENERAL_KINDS if kind in texts} for texts in own),
            pairs={pair: tuple(texts) for pair, texts in self.pairs.items()},
            templates=self.templates,
            source={**source, "aliases": aliases} if aliases else source,
        )


def as_object(value: object) -> Mapping[str, Any]:
    """``value`` if it is an object: source.json may have been written by people, too."""
    return value if isinstance(value, dict) else {}
