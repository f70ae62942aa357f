"""What a reply of a server says: nobody has checked it, openai builds its types from whatever is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a call brought: the text, why the model stopped, and (prompt, completion) tokens as the server counted."""

    text: str
    finish: str
    tokens: tuple[int, int]


def read_completion(reply: object) -> Completion:
    """The completion in a reply.

    What has counted tokens and no text is one, too: it is paid for, and asking again costs the same.

    Raises:
        ValueError: it is no completion.
    """
    usage = getattr(reply, "usage", None)
    tokens = _tokens(usage)
    choices = getattr(reply, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    paid = tokens != (0, 0)
    if (message is None or not hasattr(message, "content")) and not paid:
        raise ValueError(f"no choices in it: {str(reply)[:200]}")
    text = _joined(getattr(message, "content", None)) or getattr(message, "refusal", None) or ""
    if not isinstance(text, str):
        if not paid:
            raise ValueError(f"its content is no string: {str(text)[:200]}")
        text = ""
    return Completion(
        text=text.encode("utf-8", "replace").decode(),  # half a surrogate pair cannot be stored
        finish=str(getattr(choice, "finish_reason", None) or ""),
        tokens=tokens,
    )


def _joined(content: object) -> object:
    """Some servers give the content in parts, each with its text."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(text for text in texts if isinstance(text, str))


def _tokens(usage: object) -> tuple[int, int]:
    """(prompt, completion); some servers leave a model's thinking, which is paid for, out of all but the total."""
    prompt = _count(usage, "prompt_tokens")
    return prompt, max(_count(usage, "completion_tokens"), _count(usage, "total_tokens") - prompt)


def _count(usage: object, name: str) -> int:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and count > 0 else 0
