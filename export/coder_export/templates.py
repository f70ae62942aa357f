"""Templates turn raw texts into the sentences the text tower reads.

A placeholder is ``{class}``, ``{text}`` or ``{other}``; written ``{a class}`` it brings its indefinite article.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields

from coder_engine.errors import TextsError

_PLACEHOLDER = re.compile(r"\{(a )?([^{}]*)\}")
# Vowels that sound like "you" or "one": a unicorn, a ewe, a UFO, a one-way street.
_LIKE_YOU_OR_ONE = re.compile(
    r"uni(?!n|m(?!o)|dent|ll|r)|us([aeibu]|\b)|ut[aeio]|ur[aeiou]|ubi|u[fk]|uga|uly|uv|"
    r"eu[a-z]|ewe|on(e\b|ce\b|esie)|ouija|u[-. ]|ups\b|uak"
)
# Consonants and digits that sound like a vowel: an hour, an X-ray, an F-16, an SUV, an 8-ball.
_LIKE_AN_HOUR = re.compile(
    r"hour|honest|honou?r|heir|hors\b|[fhlmnrsx](?![a-z\u0300-\u036f])|(suv|mri|led|lcd|rv|md|mp3)s?\b|8|1[18](?!\d)"
)
# Capitals that are read letter by letter: without a vowel, an SLR, or beginning as no word does, an HDMI cable.
_LIKE_LETTERS = re.compile(
    r"([FHLMNRSX][B-DF-HJ-NP-TV-XZ]+(?![A-Za-rt-z])|"
    r"F(?![AEIOUYJLR])[A-Z]|[HMNX](?![AEIOUY])[A-Z]|L(?![AEIOUYL])[A-Z]|R(?![AEIOUYH])[A-Z]|"
    r"S(?![AEIOUYCHKLMNPQTW])[A-Z]|NYC\b)"
)
_ALLOWED = {
    "name": {"class"},
    "attribute": {"class", "text"},
    "analogous": {"class", "text"},
    "synonym": {"class", "text"},
    "pair": {"class", "other", "text"},
}
_NEEDED = {"name": "class", "attribute": "text", "analogous": "text", "synonym": "text", "pair": "text"}


@dataclass(frozen=True, kw_only=True)
class Templates:
    """Sentence templates by kind of text; every text is put into every template of its kind (paper, section 4.2)."""

    name: tuple[str, ...] = ("a photo of {a class}.",)
    attribute: tuple[str, ...] = ("a photo of {a class}, which has {text}.",)
    analogous: tuple[str, ...] = ("a photo of {a class}, similar to {a text}.",)
    synonym: tuple[str, ...] = ("a photo of {a text}.",)
    pair: tuple[str, ...] = ("Because of {text}, {a class} is different from {a other}.",)

    @classmethod
    def from_json(cls, data: object, *, where: str) -> Templates:
        """Build from the parsed ``templates.json``; kinds left out keep their default template."""
        kinds = [field.name for field in fields(cls)]
        if not isinstance(data, dict) or set(data) - set(kinds):
            raise TextsError(f"{where}: expected an object with the keys {', '.join(kinds)}, got {_shape(data)}")
        return cls(**{kind: _checked(kind, data[kind], where) for kind in data})

    def of_domain(self, domain: str) -> Templates:
        """The same for pictures that are no plain photographs: "a photo of" becomes "a satellite photo of"."""
        kinds = {field.name: getattr(self, field.name) for field in fields(self)}
        return Templates(
            **{kind: tuple(t.replace("a photo", with_article(domain)) for t in own) for kind, own in kinds.items()}
        )

    def to_json(self) -> dict[str, list[str]]:
        """What ``templates.json`` holds."""
        return {field.name: list(getattr(self, field.name)) for field in fields(self)}

    def render(self, kind: str, words: Mapping[str, str]) -> list[str]:
        """All sentences of one text: ``words`` maps placeholder names to what replaces them."""
        return [_fill(template, words) for template in getattr(self, kind)]


def with_article(noun: str) -> str:
    """``noun`` after "a" or "an", chosen by its first sound as far as spelling tells."""
    head = unicodedata.normalize("NFD", noun.lower())
    vowel = head[:1] in ("a", "e", "i", "o", "u") and not _LIKE_YOU_OR_ONE.match(head)
    return f"{'an' if vowel or _LIKE_AN_HOUR.match(head) or _LIKE_LETTERS.match(noun) else 'a'} {noun}"


def _fill(template: str, words: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        word = words[match.group(2)]
        return with_article(word) if match.group(1) else word

    return _PLACEHOLDER.sub(replace, template)


def _checked(kind: str, templates: object, where: str) -> tuple[str, ...]:
    if not isinstance(templates, list) or not templates or not all(isinstance(t, str) for t in templates):
        raise TextsError(f"{where}: {kind!r} must be a non-empty list of strings, got {_shape(templates)}")
    for template in templates:
        names = {match.group(2) for match in _PLACEHOLDER.finditer(template)}
        if names - _ALLOWED[kind] or _NEEDED[kind] not in names:
            raise TextsError(
                f"{where}: template {template!r} of {kind!r} has the placeholders {sorted(names)}; "
                f"allowed are {sorted(_ALLOWED[kind])}, and {{{_NEEDED[kind]}}} must be there"
            )
    return tuple(templates)


def _shape(value: object) -> str:
    return f"an object with {sorted(map(str, value))}" if isinstance(value, dict) else repr(value)[:80]
