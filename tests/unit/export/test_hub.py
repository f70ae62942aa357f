"""Weights from the hub: when it is asked, and what is said where it does not answer."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("open_clip")

from huggingface_hub import constants

from coder_engine.errors import ModelError
from coder_export import hub

CONFIG = {"hf_hub": "someone/weights/"}


class Session:
    """A hub that counts who asks, and fails them with ``fault``."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.asked = 0
        self._fault = fault

    def head(self, url: str, *, timeout: float) -> None:
        self.asked += 1
        if self._fault is not None:
            raise self._fault


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with nothing in it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "download_pretrained", lambda config: str(tmp_path / "file"))
    return tmp_path


def session(monkeypatch: pytest.MonkeyPatch, fault: Exception | None = None) -> Session:
    found = Session(fault)
    monkeypatch.setattr(hub, "get_session", lambda: found)
    return found


def test_the_hub_is_asked_whether_it_is_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = session(monkeypatch)
    assert hub.fetch("m", "t", CONFIG) == cache / "file"
    assert there.asked == 1


def test_weights_in_the_cache_need_no_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = session(monkeypatch, OSError("no route to host"))
    with pytest.raises(ModelError, match=r"fetched: https?://\S+ is out of reach \(no route to host\)\. Bring "):
        hub.fetch("m", "t", CONFIG)
    kept = cache / "models--someone--weights" / "snapshots" / "0" / "open_clip_model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert hub.fetch("m", "t", CONFIG) == cache / "file"
    assert gone.asked == 1


def test_offline_mode_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    there = session(monkeypatch)
    with pytest.raises(ModelError, match=r"cannot be fetched: HF_HUB_OFFLINE is set, and the hub's cache has none"):
        hub.fetch("m", "t", CONFIG)
    assert there.asked == 0


def test_what_the_hub_says_is_cut_between_words(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(config: object) -> str:
        logging.getLogger("huggingface_hub").warning("Retrying in 1s")
        try:
            raise OSError("a long story " * 40)
        except OSError as err:
            raise FileNotFoundError(f"Failed to download. Last error: {err}") from None

    session(monkeypatch)
    monkeypatch.setattr(hub, "download_pretrained", failing)
    with pytest.raises(ModelError, match=r"fetched: (a long story )+\[\.\.\.\]\. Bring") as caught:
        hub.fetch("m", "t", CONFIG)
    assert len(str(caught.value)) < 500
    assert not caplog.records


def test_the_file_to_bring_is_the_tags_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, OSError())
    with pytest.raises(ModelError, match=r"of reach \(OSError\)\. Bring pytorch_model\.bin of someone/weights from"):
        hub.fetch("m", "t", {"hf_hub": "someone/weights/pytorch_model.bin"})
