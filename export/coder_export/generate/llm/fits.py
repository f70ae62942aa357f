"""Whether a text that an LLM wrote fits the text tower, in every sentence it is put into."""

from __future__ import annotations

from functools import lru_cache

import open_clip

from coder_export.encode import count_tokens
from coder_export.generate.llm.replies import Fits
from coder_export.generate.similarity import TextSpace
from coder_export.labels import spoken_names
from coder_export.templates import Templates

_ANY_CLIP, _CONTEXT = "ViT-B-32", 77
"""Without a model: the tokenizer and the context of all of OpenAI's, which come with open_clip."""


def fits_context(templates: Templates, space: TextSpace | None) -> Fits:
    """Whether a text, put into every template of its kind, stays within the text tower's context."""
    tokenizer = space.clip.tokenizer if space else open_clip.get_tokenizer(_ANY_CLIP)
    context = space.context_length if space else _CONTEXT

    @lru_cache(maxsize=1 << 16)
    def word_tokens(word: str) -> int:
        return count_tokens(tokenizer, [word], context_length=context)[0]

    @lru_cache(maxsize=8192)  # a reply is judged when it comes and again when the set is put together
    def fits(kind: str, label: str, other: str, text: str) -> bool:
        (name,), (rival,) = spoken_names((label,)), spoken_names((other,))
        sentences = templates.render(kind, {"class": name, "other": rival, "text": text})
        # No word costs more in a sentence than alone with its start and end tokens, and most words are known: the whole
        # sentence is only counted where that bound is not enough.
        if all(sum(map(word_tokens, sentence.split())) <= context for sentence in sentences):
            return True
        return max(count_tokens(tokenizer, sentences, context_length=context)) <= context

    return fits
