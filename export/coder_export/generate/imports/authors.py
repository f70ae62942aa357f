"""The form of the CODER authors: lists in class order, synonyms with their class, one-to-one texts class -> other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coder_engine.errors import TextsError
from coder_export.generate.imports.file import shape, strings
from coder_export.generate.imports.raw import RawTexts
from coder_export.matching import match_names
from coder_export.textset import GENERAL_KINDS

KEYS = (*GENERAL_KINDS, "one_to_one")
_GIVE = "give --import-labels FILE with their class names in order"


def read_coder(data: object, where: str, labels: tuple[str, ...], theirs: tuple[str, ...] | None = None) -> RawTexts:
    """Texts of the authors' form.

    Args:
        data: the parsed JSON.
        where: the file, for messages.
        labels: our labels: the class names of the lists where nothing else names them and their number is the same.
        theirs: the class names of the lists, in order.

    Raises:
        TextsError: the shape is another, or it cannot be told which class a list belongs to.
    """
    if not isinstance(data, dict) or not data or set(data) - set(KEYS):
        got = f"the keys {', '.join(map(repr, data))[:80]}" if isinstance(data, dict) else shape(data)
        raise TextsError(f"{where}: expected an object with any of the keys {', '.join(KEYS)}, got {got}")
    lists = {kind: _list(data[kind], f"{where}: {kind!r}") for kind in GENERAL_KINDS if kind in data}
    duels = _duels(data.get("one_to_one", {}), f"{where}: 'one_to_one'")
    order = _class_order(lists, where, labels, theirs) if lists else _Order(names=(), origin="")
    raw = RawTexts(names=order.names, notes=[order.note] if order.note else [])
    if "attribute" in lists:
        raw.describe()
    for kind, entries in lists.items():
        for i, name in enumerate(order.names):
            texts = _texts(entries[i], kind, f"{where}: {kind!r}[{i}] ({name!r})")
            if kind == "attribute":
                raw.put_descriptors(name, texts)
            else:
                raw.put(name, kind, texts)
    _put_duels(raw, duels, order, f"{where}: 'one_to_one'")
    return raw


@dataclass(frozen=True, kw_only=True)
class _Order:
    """The class name of each position of the lists, and how it is known."""

    names: tuple[str, ...]
    origin: str
    note: str = ""


def _list(entries: object, where: str) -> list[Any]:
    if not isinstance(entries, list):
        raise TextsError(f"{where}: expected a list with one entry a class, got {shape(entries)}")
    return entries


def _texts(entry: object, kind: str, where: str) -> list[str]:
    if kind != "synonym":
        return strings(entry, where)
    if isinstance(entry, dict):
        entry, where = entry.get("syno"), f"{where}: 'syno'"
    # WordNet's spelling: "facial_expression".
    return [text.replace("_", " ") for text in strings(entry, where)]


# which class a list belongs to


def _class_order(
    lists: Mapping[str, list[Any]], where: str, labels: tuple[str, ...], theirs: tuple[str, ...] | None
) -> _Order:
    own = _names_inside(lists.get("synonym", []), where)
    order = _best_order(own, labels, theirs)
    for kind, entries in lists.items():
        if len(entries) != len(order.names):
            raise TextsError(
                f"{where}: {kind!r} has {len(entries):,} lists, for {len(order.names):,} {order.origin}; {_GIVE}"
            )
    if theirs is not None:
        _check_order(own, order, f"{where}: 'synonym'")
    return order


def _best_order(own: tuple[str, ...], labels: tuple[str, ...], theirs: tuple[str, ...] | None) -> _Order:
    if theirs is not None:
        return _Order(names=theirs, origin="class names in --import-labels")
    if own:
        note = "The lists were taken to be in the order of the class names in 'synonym'."
        return _Order(names=own, origin="class names in 'synonym'", note=note)
    note = f"The lists name no classes: they were taken to be in the order of the labels. If they are not, {_GIVE}."
    return _Order(names=labels, origin="labels", note=note)


def _names_inside(synonyms: list[Any], where: str) -> tuple[str, ...]:
    """The class names of the synonym entries; none where the entries are plain lists."""
    names = [entry.get("class_name") if isinstance(entry, dict) else None for entry in synonyms]
    if not all(isinstance(name, str) and name.strip() for name in names):
        return ()
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise TextsError(f"{where}: 'synonym' has the class name {double[0]!r} twice; rename one of them")
    return tuple(map(str, names))


def _check_order(own: Sequence[str], order: _Order, where: str) -> None:
    """Refuse given class names that are in another order than the file's own."""
    place = {name: i for i, name in enumerate(order.names)}
    if len(place) < len(order.names):
        double = Counter(order.names).most_common(1)[0][0]
        raise TextsError(f"--import-labels: class name {double!r} is there twice; give each class its own name")
    found = _known(own, order, where)
    for i, name in enumerate(own):
        if name in found and place[found[name]] != i:
            raise TextsError(
                f"{where}[{i}] is of class {name!r}, which --import-labels has at place {place[found[name]]}, "
                f"from 0; {_GIVE}"
            )


def _known(own: Sequence[str], order: _Order, where: str) -> Mapping[str, str]:
    """The lists' name of each class; a list of other classes of the same length would put every text wrongly."""
    found = match_names(own, order.names).found
    if 2 * len(found) < len(own):
        raise TextsError(
            f"{where} names {len(own):,} classes ({', '.join(own[:3])}, ...), of which {len(found):,} are among the "
            f"{order.origin} that the lists were taken for; {_GIVE}"
        )
    return found


# one-to-one texts


def _duels(data: object, where: str) -> dict[tuple[str, str], list[str]]:
    if not isinstance(data, dict):
        raise TextsError(f"{where}: expected an object class -> other class -> texts, got {shape(data)}")
    duels = {}
    for name, others in data.items():
        if not isinstance(others, dict):
            raise TextsError(f"{where}[{name!r}]: expected an object other class -> texts, got {shape(others)}")
        for other, texts in others.items():
            duels[name, other] = strings(texts, f"{where}[{name!r}][{other!r}]")
    return duels


def _put_duels(raw: RawTexts, duels: Mapping[tuple[str, str], list[str]], order: _Order, where: str) -> None:
    """Put the one-to-one texts, under the lists' spelling of a class where the lists have the class."""
    own = list(dict.fromkeys(name for pair in duels for name in pair))
    same = _known(own, order, where) if order.names else {}
    for (name, other), texts in duels.items():
        raw.put_pair(same.get(name, name), same.get(other, other), texts)
    others = tuple(name for name in own if name not in same)
    raw.names += others
    raw.strays = others if order.names else ()
