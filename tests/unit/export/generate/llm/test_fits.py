"""Texts against the context of the text tower: any CLIP's, or the model's own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coder_export.generate.llm.fits import fits_context
from coder_export.generate.similarity import TextSpace
from coder_export.templates import Templates


def test_texts_must_fit_the_context() -> None:
    fits = fits_context(Templates(), None)
    assert fits("attribute", "cat", "cat", "whiskers")
    assert not fits("attribute", "cat", "cat", " ".join(["whiskers"] * 80))


def test_every_template_must_fit() -> None:
    words = " ".join(["cat"] * 60)
    assert fits_context(Templates(), None)("pair", "cat", "elk", words)
    templates = Templates(pair=("{text}", "{text} and {text}"))
    assert not fits_context(templates, None)("pair", "cat", "elk", words)


def test_a_class_is_counted_as_sentences_say_it() -> None:
    seen: list[str] = []

    class Spy(Templates):
        def render(self, kind: str, words: Mapping[str, str]) -> list[str]:
            seen.extend((words["class"], words["other"]))
            return super().render(kind, words)

    assert fits_context(Spy(), None)("pair", "ceiling_fan", "grand_piano", "its blades")
    assert seen == ["ceiling fan", "grand piano"]


def test_the_models_own_tokenizer_counts(space: TextSpace) -> None:
    # "a photo of a cat, which has" and ".", start and end: 11 tokens of 77.
    fits = fits_context(Templates(), space)
    assert fits("attribute", "cat", "cat", " ".join(["fur"] * 66))
    assert not fits("attribute", "cat", "cat", " ".join(["fur"] * 67))


def test_the_models_own_context_counts(space: TextSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space.clip.model, "context_length", 32)
    fits = fits_context(Templates(), space)
    assert fits("attribute", "cat", "cat", " ".join(["fur"] * 21))
    assert not fits("attribute", "cat", "cat", " ".join(["fur"] * 22))
