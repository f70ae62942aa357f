"""Where WordNet's files are, and NLTK's reader on them.

WordNet comes from ``$CODER_WORDNET``, NLTK's data folders, Debian's package wordnet-base, or NLTK's download, and is
read where it lies.
"""

from __future__ import annotations

import io
import os
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from coder_engine.errors import TextsError

DEBIAN = Path("/usr/share/wordnet")
"""Where the package wordnet-base puts the files."""

_FILES = ("data.noun", "index.noun", "noun.exc")
_INSTALL = (
    "run `python -m nltk.downloader wordnet` or `apt-get install wordnet-base`, "
    f"or set CODER_WORDNET to a folder with WordNet's files {', '.join(_FILES)}"
)
# lexnames(5WN), in the order of their numbers, with their categories: synsets refer to it, and Debian leaves it out.
_CATEGORY = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
_LEXNAMES = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition
    noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person
    noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state
    noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption
    verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative
    verb.weather adj.ppl
"""


def find_wordnet(*, download: bool = True) -> Path:
    """Find WordNet's noun files, in this order: ``$CODER_WORDNET``, NLTK's data folders, Debian's, a download.

    Args:
        download: let NLTK download WordNet (10 MB, once) into the cache folder where there is none.

    Returns:
        The folder with data.noun, index.noun and noun.exc; ``.../wordnet.zip/wordnet`` where NLTK keeps them zipped.

    Raises:
        TextsError: nltk is not installed, there is no WordNet, or the folder named lacks a file.
    """
    nltk = _import_nltk()
    named = os.environ.get("CODER_WORDNET")
    if named:
        return _complete(Path(named).resolve(), said="CODER_WORDNET: ")
    found = _in_nltk_data(nltk) or (DEBIAN if DEBIAN.is_dir() else None)
    trouble = ""
    if found is None and download:
        trouble = _download(nltk)
        found = _in_nltk_data(nltk)
    if found is None:
        raise TextsError(f"no WordNet in NLTK's data folders, none in {DEBIAN}{trouble}; {_INSTALL}")
    return _complete(found)


def cache_folder() -> Path:
    """The NLTK data folder that downloads go to."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coder-engine" / "nltk_data"


def open_nouns(folder: Path) -> Any:
    """Open NLTK's WordNet reader on ``folder`` for nouns.

    The index is read now, under a second; synsets are read one by one when they are asked for.

    Raises:
        TextsError: NLTK cannot read the files or refuses to.
    """
    nltk = _import_nltk()
    from nltk.corpus.reader import WordNetCorpusReader

    class NounReader(WordNetCorpusReader):  # type: ignore[misc]  # nltk has no types
        """Reads the nouns' files alone: opens a third faster, and Debian has these."""

        def open(self, file: str) -> Any:
            if file == "lexnames":
                return io.StringIO(_lexnames())
            if file not in _FILES:
                return io.StringIO()
            stream = super().open(file)
            # NLTK leaves data.noun open until the reader is collected, and then Python warns.
            weakref.finalize(self, stream.close)
            return stream

        def synset_from_pos_and_offset(self, pos: str, offset: int) -> Any:
            synset = super().synset_from_pos_and_offset(pos, offset)
            if synset is None:  # NLTK only warns
                raise ValueError(f"no synset begins at byte {offset} of data.noun; is index.noun of the same WordNet?")
            return synset

        def map_wn(self, version: str = "wordnet") -> None:
            """Map nothing: for other languages only, and from whichever WordNet lies in NLTK's own folders."""

    if not _zipped(folder):
        _allow(nltk, folder)
    with wordnet_errors(folder):
        # None would warn that there are no other languages; the reader uses the object for nothing else.
        return NounReader(f"{folder.as_posix()}/", omw_reader=object())


@contextmanager
def wordnet_errors(folder: Path) -> Iterator[None]:
    """Turn what NLTK raises on damaged or refused files into TextsError."""
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        yield
    # A line cut short ends as StopIteration or LookupError in NLTK's parser.
    except (OSError, ValueError, LookupError, StopIteration, zipfile.BadZipFile, WordNetError) as err:
        reason = f"{type(err).__name__}: {err}"
        raise TextsError(f"{folder}: NLTK cannot read WordNet's files ({reason}); mend them, or {_INSTALL}") from err


def _import_nltk() -> Any:
    try:
        import nltk
    except ImportError as err:
        raise TextsError(f"WordNet is read by nltk ({err}); install it: pip install 'coder-engine[texts]'") from err
    return nltk


def _complete(folder: Path, *, said: str = "") -> Path:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing and not _zipped(folder):  # the reader looks into a zip
        raise TextsError(f"{said}{folder}: not WordNet, it has no {', '.join(missing)}; {_INSTALL}")
    return folder


def _zipped(folder: Path) -> bool:
    return folder.parent.suffix == ".zip"


def _in_nltk_data(nltk: Any) -> Path | None:
    _allow(nltk, cache_folder())
    # NLTK's download leaves the zip as it is; find() takes a folder in one only with the slash at its end.
    for resource in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            return Path(str(nltk.data.find(resource)))
        except zipfile.BadZipFile as err:
            raise TextsError(
                f"corpora/wordnet.zip in one of NLTK's data folders is damaged ({err}); remove it, then {_INSTALL}"
            ) from err
        except LookupError:
            continue
    return None


def _download(nltk: Any) -> str:
    """Download into the cache folder; returns what went wrong, to go on a sentence with."""
    try:
        nltk.download(
            "wordnet",
            download_dir=str(cache_folder()),
            quiet=True,
            raise_on_error=True,
            print_error_to=io.StringIO(),
        )
    except (OSError, ValueError, HTTPException, ParseError) as err:
        if "urlopen error" in str(err):
            return ", and it cannot be downloaded: no way to NLTK's server from here"
        return f", and its download failed ({err})"
    return ", and NLTK's download left no files"


def _allow(nltk: Any, folder: Path) -> None:
    # NLTK 3.10 reads nothing outside the folders on this list.
    if str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))


def _lexnames() -> str:
    rows = (f"{i:02}\t{name}\t{_CATEGORY[name.partition('.')[0]]}\n" for i, name in enumerate(_LEXNAMES.split()))
    return "".join(rows)
