"""Why an image got its label: what stage 1 said, which texts spoke for it, and which duels decided the rerank."""

from coder_engine.explain.explanation import ClassParts, Duel, Explanation, Part
from coder_engine.explain.parts import TEXTS, explain

__all__ = ["TEXTS", "ClassParts", "Duel", "Explanation", "Part", "explain"]
