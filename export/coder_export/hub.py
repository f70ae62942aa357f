"""Weights by a tag of open_clip's, from the hub or its cache."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session
from huggingface_hub.file_download import repo_folder_name
from open_clip.pretrained import download_pretrained

from coder_engine.errors import ModelError

_FILE = "open_clip_model.safetensors"


def fetch(name: str, tag: str, config: Mapping[str, Any]) -> Path:
    """The file with the weights of model ``name`` and its ``tag``, downloaded where the cache lacks it.

    Args:
        config: open_clip's, of that tag.

    Raises:
        ModelError: they are out of reach; the message says which file to bring.
    """
    repository, _, file = str(config.get("hf_hub", "")).rpartition("/")
    try:
        _check_reachable(repository)
        with quiet():  # the hub client tells of every attempt
            return Path(download_pretrained(dict(config)))
    except Exception as err:  # the hub client raises its own, its HTTP library's and OS errors
        why = textwrap.shorten(_words(_cause(err)), 200).rstrip(".")
        raise ModelError(
            f"the weights of {name} {tag} cannot be fetched: {why}. Bring {file or _FILE} of {repository} "
            f"from a machine with network, and pass --pretrained {tag} --checkpoint FILE; "
            "or set HF_HOME to a copied hub cache"
        ) from err


def _check_reachable(repository: str) -> None:
    """One request instead of the hub client's six for each of two files; none where the cache may have them."""
    if _cached(repository):
        return
    if constants.HF_HUB_OFFLINE:
        raise ModelError("HF_HUB_OFFLINE is set, and the hub's cache has none of them")
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as err:  # which, depends on the HTTP library of the hub client's version
        raise ModelError(f"{constants.ENDPOINT} is out of reach ({_words(err)})") from err


def _cached(repository: str) -> bool:
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    return any((Path(constants.HF_HUB_CACHE) / folder / "snapshots").glob("*/*"))


def _words(err: BaseException) -> str:
    return str(err) or type(err).__name__


def _cause(err: Exception) -> BaseException:
    """What the hub client said, where open_clip put words of its own around it."""
    return (err.__context__ or err) if isinstance(err, FileNotFoundError) else err


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines below errors meanwhile: torch, open_clip and the hub client remark on what this project decides."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
