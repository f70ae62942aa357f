"""The wording of the prompts: what an LLM is told, asked and shown (paper, section 4.2; the words are ours)."""

from __future__ import annotations

SYSTEM = """\
You write texts for an image classifier that compares pictures with sentences. Write of what a camera records and of
nothing else: shape, parts, proportions, colour, pattern, texture, number, surroundings. Leave out behaviour, history,
use, sound, smell, taste and whatever most things have in common. Be concrete and true of nearly every picture of the
class.
A text is a noun phrase of 3 to 15 words. It begins without a capital, ends without a full stop, and reads well after
the words "which has". No text says what another one says, and none is the bare name of the class.
Reply with one JSON object and nothing around it."""

ASK = {
    "attribute": """\
In {a domain}, by which visible features is the class "{class}" told from classes that look like it?
Write {n} texts. Reply as {{"class": "{class}", "texts": [...]}}.""",
    "analogous": """\
Which other kinds of thing look like the class "{class}" in {a domain}, so much that somebody who has never seen it
could picture it from them?
Here a text is the common name of such a class: one to four words, singular, no article; not another name, a part or a
variety of "{class}".{not}
Write {n} texts, the most alike first. Reply as {{"class": "{class}", "texts": [...]}}.""",
    "pair": """\
In {a domain}, what is seen on one class of each pair below and not on the other? Take the differences that decide.
{pairs}
Write {n} texts for either side of every pair. Reply as {{"pairs": [{{"class": first class, "other": second class,
"class_has": [...], "other_has": [...]}}, ...]}}, in the order of the pairs.""",
}
"""By kind; {not} is empty or a sentence of names to leave out, {pairs} a numbered line for each pair."""

EXAMPLES: dict[str, tuple[list[tuple[str, ...]], object]] = {
    "attribute": (
        [("lighthouse",)],
        {
            "class": "lighthouse",
            "texts": [
                "a tall round tower that narrows towards the top",
                "a glazed lantern room under a small dome",
                "a railed gallery just below the light",
                "bold horizontal bands of red and white paint",
                "bare rocks, cliffs or open sea around its foot",
                "few and tiny windows up the shaft",
            ],
        },
    ),
    "analogous": (
        [("tugboat",)],
        {"class": "tugboat", "texts": ["fishing trawler", "pilot boat", "fireboat", "icebreaker", "small ferry"]},
    ),
    "pair": (
        [("banjo", "mandolin"), ("banjo", "ukulele")],
        {
            "pairs": [
                {
                    "class": "banjo",
                    "other": "mandolin",
                    "class_has": ["a flat drum skin inside a round metal rim", "a ring of brackets and tension hooks"],
                    "other_has": ["a teardrop wooden body with a carved top", "four pairs of strings side by side"],
                },
                {
                    "class": "banjo",
                    "other": "ukulele",
                    "class_has": ["a white circular membrane for a top", "a fifth tuning peg half way up the neck"],
                    "other_has": ["a small wooden waist like a guitar's", "a round hole below four nylon strings"],
                },
            ]
        },
    ),
}
"""By kind: the classes or pairs of a worked example, and its reply."""
