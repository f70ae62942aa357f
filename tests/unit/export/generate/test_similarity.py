"""CLIP's text space: names are read with their article, glosses as they stand."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from coder_export.encode import TextEncoder
from coder_export.generate.similarity import TextSpace


def encoded(space: TextSpace, *sentences: str) -> np.ndarray:
    return TextEncoder(model=space.clip.model, tokenizer=space.clip.tokenizer).encode(sentences)


def test_the_space_says_which_model_it_is(space: TextSpace) -> None:
    assert space.name == "coder-tiny (cifar10)"


def test_names_are_read_with_their_article(space: TextSpace) -> None:
    found = space.features(["cat", "owl"])
    assert_allclose(found, encoded(space, "a cat", "an owl"), atol=1e-6)
    assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_cosines_of_names_with_names(space: TextSpace) -> None:
    found = space.between(["cat", "truck"], ["cat", "dog", "truck"])
    assert found.shape == (2, 3)
    assert_allclose([found[0, 0], found[1, 2]], 1, atol=1e-6)
    assert_allclose(found[0, 1], float(space.features(["cat"])[0] @ space.features(["dog"])[0]), atol=1e-6)


def test_glosses_are_read_as_they_stand(space: TextSpace) -> None:
    rows = encoded(space, "cat", "an animal with fur", "a machine")
    assert_allclose(space.of_gloss("cat", ["an animal with fur", "a machine"]), rows[1:] @ rows[0], atol=1e-6)


def test_a_gloss_longer_than_the_context_is_cut_not_refused(space: TextSpace) -> None:
    assert len(space.of_gloss("cat", [" ".join(["fur"] * 200)])) == 1
