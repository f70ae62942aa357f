"""What one run of coder-texts is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coder_export.generate.draft import KINDS
from coder_export.generate.pairs import PairChoice

LLM, WORDNET, IMPORT = "llm", "wordnet", "import"
_KIND_OF = {
    "attributes": "attribute",
    "analogues": "analogous",
    "pairs": "pair",
    "max_pairs": "pair",
    "pair_texts": "pair",
}
"""The kind that an option is about."""

NO_MODEL = "none"
"""``--model none``: no CLIP text space; names alone decide what a duplicate of a class is."""


@dataclass(frozen=True, kw_only=True)
class TextsConfig:
    """Options of ``coder-texts``; see its ``--help``. Paths are not opened here.

    Raises:
        ValueError: a value is out of range, or two options contradict each other.
    """

    labels: Path
    out: Path
    kinds: tuple[str, ...] | None = None
    domain: str = "photo"
    overwrite: bool = False
    dry_run: bool = False
    # experts
    llm: str | None = None
    imports: tuple[Path, ...] = ()
    import_form: str | None = None
    import_labels: Path | None = None
    # how many
    attributes: int = 8
    analogues: int = 6
    pair_texts: int = 4
    pairs: PairChoice | None = None
    max_pairs: int | None = None
    # the LLM's server
    base_url: str | None = None
    budget: float | None = 10.0
    prices: Path | None = None
    concurrency: int = 16
    timeout: float = 120.0
    tries: int = 8
    attempts: int = 3
    # CLIP's text space
    model: str = "ViT-B/16"
    pretrained: str | None = None
    checkpoint: Path | None = None
    threshold: float = 0.9
    """Between CLIP ViT-B/32 features of "a NAME" of LVIS and Objects365: one name in two spellings 0.94 and up,
    synonyms around 0.93, two different things 0.74 in the median and 0.895 at the 99.9th percentile."""

    def __post_init__(self) -> None:
        self._check_kinds()
        for name in ("attributes", "analogues", "pair_texts", "concurrency", "tries", "attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise ValueError(f"max_pairs must be at least 1, got {self.max_pairs}")
        if self.budget is not None and not self.budget > 0:  # not a number is no limit either
            raise ValueError(f"budget must be more than 0 dollars, got {self.budget}")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, got {self.timeout}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be a cosine above 0 and at most 1, got {self.threshold}")
        if not self.domain.strip():
            raise ValueError("domain must say what the pictures are, such as 'satellite photo'; it is empty")
        if set("{}") & set(self.domain):
            raise ValueError(f"domain must be plain words without braces, got {self.domain!r}")
        self._check_experts()

    def _check_kinds(self) -> None:
        if self.kinds is not None and not self.kinds:
            raise ValueError(f"kinds names none; kinds are {', '.join(KINDS)}")
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise ValueError(f"kinds are {', '.join(KINDS)}, got {kind!r}")
        for name, kind in _KIND_OF.items():
            idle = not self._given(name) or getattr(self, name) == PairChoice(how="none")
            if self.kinds and kind not in self.kinds and not idle:
                raise ValueError(
                    f"{name} is about {kind} texts, which kinds leaves out: leave {name} out, or add {kind}"
                )

    def _check_experts(self) -> None:
        if self.imports and self.llm:
            raise ValueError("an import asks no LLM: import first, then run again with --kinds for what is missing")
        if not self.imports and (self.import_form or self.import_labels):
            raise ValueError("import_form and import_labels say how a file is read: give it, too (--import FILE)")
        for name in ("pairs", "max_pairs", "attributes", "analogues", "pair_texts", "threshold"):
            if self.imports and self._given(name):
                raise ValueError(f"{name} is for what is written anew, an import takes all that it finds: leave it out")
        for name in ("budget", "prices", "concurrency", "timeout", "tries", "attempts", "pair_texts"):
            if not self.llm and self._given(name):
                raise ValueError(f"{name} is for an LLM that is asked: name it (--llm MODEL), or leave {name} out")
        for name in ("pretrained", "checkpoint", "threshold"):
            if self.model == NO_MODEL and self._given(name):
                raise ValueError(f"{name} is for a CLIP model that judges, and model is none: leave one of them out")
        if self.base_url and not self.llm:
            raise ValueError("base_url is where an LLM is asked: name the model, too (--llm MODEL)")
        if self.source == WORDNET and (self.max_pairs is not None or (self.pairs and self.pairs.how != "none")):
            raise ValueError("pairs and max_pairs choose what an LLM writes about: name one (--llm MODEL)")

    def _given(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(TextsConfig, name))

    @property
    def source(self) -> str:
        """Who writes the texts: "llm", "wordnet" or "import"."""
        if self.imports:
            return IMPORT
        return LLM if self.llm else WORDNET
