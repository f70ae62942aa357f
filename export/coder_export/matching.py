"""Class names that mean the same class in different spelling: somebody else's names matched to one's own labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from coder_engine.errors import TextsError

_ACCENTS = re.compile("[\u0300-\u036f]")  # only these: the marks of other scripts tell letters apart
_CAMEL = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
# Endings that singular and plural share once cut. Not good English ("hors"), but horse and horses come out the same.
_PLURALS = (
    (re.compile("ies?$"), "y"),
    (re.compile("(?:(?<=[osxz])|(?<=[cs]h))es?$"), ""),
    (re.compile("(?<![sui])s$"), ""),
)
_ARTICLE = re.compile(r"^\s*(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Which of their names is which of our labels.

    Attributes:
        found: their name -> our label, in their order.
        unknown: their names that no label of ours matches.
        missing: our labels that nothing of theirs matches.
    """

    found: Mapping[str, str]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]

    def report(self) -> list[str]:
        """Lines for a user: the counts, then what found no match with the nearest candidate, or why it is ambiguous."""
        found, labels = len(self.found), len(self.found) + len(self.missing)
        names = found + len(self.unknown)
        lines = [f"{found:,} of {labels:,} labels are matched by {found:,} of {names:,} names."]
        lines += _section("Labels without a match", self.missing, self.unknown)
        return lines + _section("Names without a label", self.unknown, self.missing)


@lru_cache(maxsize=1 << 16)
def normal_name(name: str) -> str:
    """The key of a name: lower-case words with single spaces; case, accents, punctuation and camelCase do not count."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", name))
    words = "".join(_normal_character(char) for char in _CAMEL.sub(" ", plain)).casefold()
    return " ".join(words.split())


def without_article(name: str) -> str:
    """``name`` without a leading "a", "an" or "the"; an article and nothing more stays."""
    return _ARTICLE.sub("", name)


def bare_name(name: str) -> str:
    """The key that a name shares with its plural and with an article before it: a stem, not always good English."""
    return _singular(without_article(name))


def match_names(theirs: Sequence[str], labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> Matches:
    """Match names to labels: by alias, exactly, by ``normal_name``, by its singular, and last without the spaces.

    A name and a label are matched only where neither has a second candidate; ambiguous ones stay unmatched.

    Args:
        theirs: the names somebody else gave.
        labels: our labels.
        aliases: their name, in any spelling, -> our label; names that are not among ``theirs`` do no harm.

    Raises:
        TextsError: an alias is for no label of ours, or two names or labels are aliased to the same.
    """
    pairs = _aliased(theirs, labels, aliases or {})
    unknown, missing = _left(theirs, labels, pairs)
    for key in (str, normal_name, _singular, _joined):
        pairs.update(_one_to_one(unknown, missing, key))
        unknown, missing = _left(theirs, labels, pairs)
    return Matches(
        found={name: pairs[name] for name in theirs if name in pairs}, unknown=tuple(unknown), missing=tuple(missing)
    )


def _aliased(theirs: Sequence[str], labels: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
    foreign = sorted(set(aliases.values()) - set(labels))
    if foreign:
        raise TextsError(
            f"aliases: {len(foreign):,} of their targets are no labels ({', '.join(map(repr, foreign[:5]))}); "
            "map each name to one of your labels"
        )
    by_key = _group(aliases, normal_name)
    by_label: dict[str, list[str]] = {}
    for name in theirs:
        for label in dict.fromkeys(aliases[alias] for alias in by_key.get(normal_name(name), ())):
            by_label.setdefault(label, []).append(name)
    pairs = {names[0]: label for label, names in by_label.items()}
    if len(pairs) != sum(map(len, by_label.values())):
        raise TextsError(
            f"aliases: not one to one between names and labels ({_several(by_label)}); keep one alias for each"
        )
    return pairs


def _several(by_label: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{label!r} is {' and '.join(map(repr, names))}" for label, names in by_label.items())[:200]


def _left(theirs: Sequence[str], labels: Sequence[str], pairs: Mapping[str, str]) -> tuple[list[str], list[str]]:
    taken = set(pairs.values())
    return [name for name in theirs if name not in pairs], [label for label in labels if label not in taken]


def _one_to_one(names: Sequence[str], labels: Sequence[str], key: Callable[[str], str]) -> dict[str, str]:
    """Pairs of equal, non-empty keys that have one name and one label each."""
    groups = _group(labels, key)
    return {
        same[0]: groups[common][0]
        for common, same in _group(names, key).items()
        if common and len(same) == 1 and len(groups.get(common, ())) == 1
    }


def _group(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _normal_character(char: str) -> str:
    if char in "_/" or unicodedata.category(char) == "Pd":
        return " "
    return "" if unicodedata.category(char)[0] in "PS" else char


def _singular(name: str) -> str:
    head, _, last = normal_name(name).rpartition(" ")
    if len(last) > 2:
        for ending, instead in _PLURALS:
            if ending.search(last):
                last = ending.sub(instead, last)
                break
    return f"{head} {last}".strip()


def _joined(name: str) -> str:
    return _singular(name).replace(" ", "")


def _section(title: str, names: Sequence[str], candidates: Sequence[str]) -> list[str]:
    if not names:
        return []
    same = _group(candidates, _joined), _group(names, _joined)
    lines = [f"{title}: {len(names):,}"]
    lines += [f"  {name}{_remark(name, candidates, *same)}" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        lines.append(f"  ... and {len(names) - _SHOWN:,} more")
    return lines


def _remark(name: str, candidates: Sequence[str], same: Mapping[str, list[str]], own: Mapping[str, list[str]]) -> str:
    key = _joined(name)
    # Equal to the last round and yet unmatched: there were two on one side.
    if key and key in same:
        rivals = f", and so can {_quoted(own[key], but=name)}" if len(own[key]) > 1 else ""
        return f" (ambiguous: it can be {_quoted(same[key])}{rivals})"
    keys = {normal_name(candidate): candidate for candidate in candidates}
    near = get_close_matches(normal_name(name), keys, n=1)
    return f" (nearest: {keys[near[0]]})" if near else ""


def _quoted(names: Sequence[str], but: str | None = None) -> str:
    return " or ".join(repr(name) for name in names if name != but)
