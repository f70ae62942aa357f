"""A WordNet of a few invented entries, in WordNet's own file format (wndb(5WN))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HEADER = "  1 Invented for tests.  \n"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One noun synset; ``above`` and ``instance_of`` are keys of other entries."""

    words: tuple[str, ...]
    gloss: str
    above: tuple[str, ...] = ()
    instance_of: tuple[str, ...] = ()


ENTRIES: Mapping[str, Entry] = {
    "entity": Entry(words=("entity",), gloss="whatever there is"),
    "object": Entry(words=("object", "physical_object"), gloss="what can be touched", above=("entity",)),
    "animal": Entry(words=("animal", "beast"), gloss="it moves by itself", above=("object",)),
    "bird": Entry(words=("bird",), gloss="an animal with feathers; it lays eggs", above=("animal",)),
    "wader": Entry(words=("wading_bird", "wader"), gloss="a bird on long legs", above=("bird",)),
    "machine": Entry(words=("machine",), gloss="it does work for us", above=("object",)),
    "lifting": Entry(words=("lifting_device",), gloss="it lifts (or lowers) loads", above=("machine",)),
    "crane machine": Entry(
        words=("crane",),
        gloss='a machine with an arm (a boom (or jib)) , tall; lifts steel; ; - A. Builder; "the crane swung round"; '
        'moves it: ; lifts steel; "up; and away" ',
        above=("lifting",),
    ),
    "crane bird": Entry(
        words=("crane", "Crane", "Grus_longa"), gloss="a grey bird with a long neck", above=("wader", "singer")
    ),
    "heron": Entry(words=("heron",), gloss="a bird that waits for fish", above=("wader",)),
    "winch": Entry(words=("winch", "windlass"), gloss="a drum with a rope", above=("lifting",)),
    "hoist": Entry(words=("hoist",), gloss="it pulls things up", above=("lifting",)),
    "stork": Entry(words=("stork",), gloss="a bird with a red bill", above=("wader", "singer")),
    "singer": Entry(words=("songster",), gloss="who sings", above=("animal",)),
    "t-shirt": Entry(words=("T-shirt", "tee_shirt", "tee"), gloss="it leaves the arms bare", above=("object",)),
    "wolf": Entry(words=("wolf",), gloss="it howls", above=("animal",)),
    "Ada": Entry(words=("Ada",), gloss="a heron of our town", instance_of=("heron",)),
    "Bo": Entry(words=("Bo",), gloss="another heron", instance_of=("heron",)),
    "firetruck": Entry(words=("firetruck",), gloss="it is red", above=("machine",)),
}


def write_wordnet(folder: Path, entries: Mapping[str, Entry] = ENTRIES) -> Path:
    """Write data.noun, index.noun and noun.exc; NLTK reads no file that others may write to."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    offsets = _offsets(entries)
    data = HEADER + "".join(_data_line(key, entries, offsets) for key in entries)
    for name, text in {"data.noun": data, "index.noun": _index(entries, offsets), "noun.exc": "wolves wolf\n"}.items():
        (folder / name).write_bytes(text.encode())
        (folder / name).chmod(0o600)
    return folder


def _offsets(entries: Mapping[str, Entry]) -> dict[str, int]:
    # An offset is eight digits wherever it stands, so lines are as long with zeros in the place of every offset.
    offsets, at = {}, len(HEADER)
    for key in entries:
        offsets[key] = at
        at += len(_data_line(key, entries, dict.fromkeys(entries, 0)).encode())
    return offsets


def _data_line(key: str, entries: Mapping[str, Entry], offsets: Mapping[str, int]) -> str:
    entry = entries[key]
    words = " ".join(f"{word} 0" for word in entry.words)
    pointers = "".join(f" {symbol} {offsets[other]:08} n 0000" for symbol, other in _pointers(key, entries))
    count = len(_pointers(key, entries))
    return f"{offsets[key]:08} 05 n {len(entry.words):02x} {words} {count:03}{pointers} | {entry.gloss}  \n"


def _pointers(key: str, entries: Mapping[str, Entry]) -> list[tuple[str, str]]:
    below = [("~", other) for other, entry in entries.items() if key in entry.above]
    instances = [("~i", other) for other, entry in entries.items() if key in entry.instance_of]
    above = [("@", other) for other in entries[key].above]
    return above + [("@i", other) for other in entries[key].instance_of] + below + instances


def _index(entries: Mapping[str, Entry], offsets: Mapping[str, int]) -> str:
    places: dict[str, list[int]] = {}
    for key, entry in entries.items():
        for word in dict.fromkeys(word.lower() for word in entry.words):
            places.setdefault(word, []).append(offsets[key])
    rows = (
        f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(f'{offset:08}' for offset in at)}  \n"
        for word, at in sorted(places.items())
    )
    return HEADER + "".join(rows)
