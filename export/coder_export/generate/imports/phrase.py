"""Descriptors as the end of a sentence: "a lizard", "often green" and "a long tail" take different words before them.

VCD's users choose these words by the first word of the descriptor, and so does this module, but for "a" and "an": of
VCD's descriptors for ImageNet that begin so, most of those that open the list of their class say what the thing is, and
nearly all others what it has.
"""

from __future__ import annotations

import re

from coder_export.generate.wordnet.senses import EXPERT_TEMPLATES
from coder_export.templates import Templates

TEMPLATES = Templates(attribute=EXPERT_TEMPLATES)
"""The sentences that ``phrase`` fits into."""
NOTE = 'Descriptors come after "which has", "which is", "which" or "whose", by the way they begin.'

_SUBJECT = re.compile(r"(?:it|they|that|which)\s+(?=\S)", re.IGNORECASE)
_THERE_IS = re.compile(r"there\s+(?:is|are)\s+(?:(?:often|usually|typically|sometimes)\s+)?(?=\S)", re.IGNORECASE)
_KIND_OF = re.compile(r"an?\s+(?:\S+\s+)?(?:kind|type|sort|form|breed|species|member|piece)\s+of\b", re.IGNORECASE)
_WITH = re.compile(r"with\s", re.IGNORECASE)
_ARTICLE = re.compile(r"an?\s", re.IGNORECASE)
_CLAUSE = re.compile(r"the\s(?=.*\s(?:is|are|has|have|can|may|must|will)\s)", re.IGNORECASE)
_ADVERB = re.compile(
    r"(?:often|usually|typically|sometimes|generally|commonly|frequently|normally|mainly|mostly|primarily|always|also|"
    r"occasionally)\b,?\s*",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"(?:has|have|is|are|was|were|can|cannot|may|might|must|should|will|would|could|does|do|"
    r"comes?|consists?|contains?|includes?|lives?|grows?|looks?|resembles?|covers?|belongs?|features?)\b(?!-)|"
    r"\w+s\s+(?:its|their)\s",
    re.IGNORECASE,
)
# "Webbed feet" are had: only by what a participle brings along does it say what the thing is.
_PARTICIPLE = re.compile(
    r"(?:used|(?:\w+ed|made|worn|found|hung|built|held|kept|seen|known|grown|sold|eaten|drawn|bound|cut|set|"
    r"available|able|similar|capable|native)(?:\s+\w+ly)?\s+"
    r"(?:of|to|in|on|for|with|by|as|from|at|around|over|under|into|between|like|up|out|along|against|through|near|"
    r"together))\b(?!-)",
    re.IGNORECASE,
)
# Of these verbs some forms are nouns, too: "supports on each end", "features of a cat".
_ENDS_A_NOUN = re.compile(r"(?:lives?|looks?|covers?|features?)\s+(?:of|on|at|over)\b|lives?\s+\w+s\b", re.IGNORECASE)


def phrase(text: str, *, first: bool = False) -> str:
    """``text`` after "which has", "which is", "which" or "whose", or as it stands, whichever makes a sentence.

    Args:
        first: whether it is the first text of its class, which mostly says what the thing is.
    """
    if subject := _SUBJECT.match(text):
        return f"which {text[subject.end() :]}"
    if there := _THERE_IS.match(text):
        return f"which has {text[there.end() :]}"
    if _CLAUSE.match(text):
        return f"whose {text[len('the ') :]}"
    adverb = _ADVERB.match(text)
    rest = text[adverb.end() :] if adverb else text
    if _WITH.match(rest):
        return text
    if _VERB.match(rest) and not _ENDS_A_NOUN.match(rest):
        return f"which {text}"
    says_what = adverb or _PARTICIPLE.match(rest) or _KIND_OF.match(text) or (first and _ARTICLE.match(text))
    return f"which is {text}" if says_what else f"which has {text}"
