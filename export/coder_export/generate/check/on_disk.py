"""The check of a text set on disk, its sentences measured by the text tower that will read them."""

from __future__ import annotations

import open_clip

from coder_export.encode import count_tokens
from coder_export.generate.check.check import Check, check_textset
from coder_export.generate.check.opened import open_given
from coder_export.generate.config import NO_MODEL
from coder_export.model import open_tokenizer, resolve_name

_CONTEXT = 77
"""Of towers that do not say: open_clip's own default."""
_LONGEST = 512
"""Lengths are counted up to here; a sentence past the tower's context is told by how much."""


def check_file(name_or_folder: str, model: str) -> Check:
    """Check a text set, its sentences' lengths by the tokenizer and the context of ``model``; no weights are read.

    Args:
        name_or_folder: a shipped text set or one's own.
        model: whose text tower will read it; "none" leaves the lengths unchecked.

    Raises:
        TextsError: no such text set, or it cannot be read.
        ModelError: no such model, or its tokenizer cannot be had.
    """
    textset = open_given(name_or_folder)
    if model == NO_MODEL:
        return check_textset(textset, token_lengths=None)
    name = resolve_name(model)
    tokenizer = open_tokenizer(name)
    return check_textset(
        textset,
        token_lengths=lambda sentences: count_tokens(tokenizer, sentences, context_length=_LONGEST),
        context_length=open_clip.get_model_config(name)["text_cfg"].get("context_length", _CONTEXT),
    )
