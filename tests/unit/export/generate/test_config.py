"""Options of coder-texts: what is refused before anything is opened, and who the expert is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from coder_export.generate.config import TextsConfig
from coder_export.generate.pairs import PairChoice


def config(**options: Any) -> TextsConfig:
    return TextsConfig(labels=Path("labels.txt"), out=Path("out"), **options)


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({}, "wordnet"),
        ({"llm": "m"}, "llm"),
        ({"imports": (Path("a.json"),)}, "import"),
    ],
)
def test_the_expert(options: dict[str, Any], source: str) -> None:
    assert config(**options).source == source


@pytest.mark.parametrize(
    "name", ["attributes", "analogues", "pair_texts", "concurrency", "tries", "attempts", "max_pairs"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_below_one(name: str, value: int) -> None:
    assert getattr(config(llm="m", **{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got {value}$"):
        config(llm="m", **{name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "http://localhost:1/v1"}, "base_url is where an LLM is asked: name the model, too (--llm MODEL)"),
        ({"budget": 3.0}, "budget is for an LLM that is asked: name it (--llm MODEL), or leave budget out"),
        (
            {"pair_texts": 2},
            "pair_texts is for an LLM that is asked: name it (--llm MODEL), or leave pair_texts out",
        ),
        ({"tries": 2}, "tries is for an LLM that is asked: name it (--llm MODEL), or leave tries out"),
        ({"max_pairs": 3}, "pairs and max_pairs choose what an LLM writes about: name one (--llm MODEL)"),
        (
            {"pairs": PairChoice(how="all")},
            "pairs and max_pairs choose what an LLM writes about: name one (--llm MODEL)",
        ),
    ],
)
def test_what_is_for_an_llm_is_not_left_to_wordnet(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        config(**options)
    config(llm="m", **options)
    config(pairs=PairChoice(how="none"))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"pairs": PairChoice(how="all")}, "pair"),
        ({"max_pairs": 3}, "pair"),
        ({"pair_texts": 1}, "pair"),
        ({"attributes": 1}, "attribute"),
        ({"analogues": 1}, "analogous"),
    ],
)
def test_what_is_about_a_kind_goes_with_it(options: dict[str, Any], kind: str) -> None:
    (name,) = options
    config(llm="m", kinds=("synonym", kind), **options)
    config(llm="m", kinds=("synonym",), pairs=PairChoice(how="none"))
    said = f"{name} is about {kind} texts, which kinds leaves out: leave {name} out, or add {kind}"
    with pytest.raises(ValueError, match=f"^{said}$"):
        config(llm="m", kinds=("synonym",), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": PairChoice(how="all")},
        {"max_pairs": 3},
        {"attributes": 1},
        {"analogues": 1},
        {"pair_texts": 1},
        {"threshold": 0.8},
    ],
)
def test_what_says_how_much_to_write_is_not_for_imports(options: dict[str, Any]) -> None:
    (name,) = options
    said = f"{name} is for what is written anew, an import takes all that it finds: leave it out"
    with pytest.raises(ValueError, match=f"^{said}$"):
        config(imports=(Path("a.json"),), **options)
    config(llm="m", **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0.0}, "budget must be more than 0 dollars, got 0.0"),
        ({"budget": -1.0}, "budget must be more than 0 dollars, got -1.0"),
        ({"budget": float("nan")}, "budget must be more than 0 dollars, got nan"),
        ({"timeout": 0.0}, "timeout must be more than 0 seconds, got 0.0"),
        ({"timeout": float("nan")}, "timeout must be more than 0 seconds, got nan"),
        ({"threshold": 0.0}, "threshold must be a cosine above 0 and at most 1, got 0.0"),
        ({"threshold": 1.01}, "threshold must be a cosine above 0 and at most 1, got 1.01"),
        ({"threshold": float("nan")}, "threshold must be a cosine above 0 and at most 1, got nan"),
        ({"domain": " "}, "domain must say what the pictures are, such as 'satellite photo'; it is empty"),
        ({"domain": "{class} photo"}, "domain must be plain words without braces, got '{class} photo'"),
        ({"kinds": ("attribute", "name")}, "kinds are attribute, analogous, synonym, pair, got 'name'"),
        ({"kinds": ()}, "kinds names none; kinds are attribute, analogous, synonym, pair"),
        ({"imports": (Path("a"),), "llm": "m"}, "an import asks no LLM: import first, then run again with --kinds"),
        ({"import_form": "vcd"}, "import_form and import_labels say how a file is read: give it, too (--import FILE)"),
        ({"import_labels": Path("a")}, "import_form and import_labels say how a file is read"),
    ],
)
def test_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        config(**options)


@pytest.mark.parametrize("options", [{"pretrained": "openai"}, {"checkpoint": Path("c")}, {"threshold": 0.8}])
def test_what_is_for_a_model_is_not_left_to_none(options: dict[str, Any]) -> None:
    (name,) = options
    said = f"{name} is for a CLIP model that judges, and model is none: leave one of them out"
    with pytest.raises(ValueError, match=f"^{said}$"):
        config(model="none", **options)
    config(**options)


def test_the_ends_of_the_ranges() -> None:
    found = config(llm="m", budget=None, threshold=1.0, timeout=0.1, kinds=("pair", "synonym"), max_pairs=None)
    assert (found.budget, found.threshold, found.kinds) == (None, 1.0, ("pair", "synonym"))
