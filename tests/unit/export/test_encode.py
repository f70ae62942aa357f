"""Running a text tower at the length its batch needs: exact where it is done, and not done where it would not be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from coder_engine.errors import TextsError  # noqa: E402
from coder_export.encode import TextEncoder, count_tokens, text_features, token_lengths  # noqa: E402

CONTEXT = 77
VISION = {"layers": 1, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 16}
TEXT = {"width": 64, "layers": 2, "heads": 2, "context_length": CONTEXT}
SENTENCES = [
    "a photo of a cat.",
    "owl",
    "a photo of an airplane, which has two long rigid wings stretched out from a tube-shaped body.",
    "a photo of a dog.",
    "Because of its whiskers, a cat is different from a dog.",
    "cat",
    "a blurry satellite photo of a river that bends twice between fields and a forest in the evening light.",
]
TRIMMED = {
    "CLIP": ("CLIP", {}),
    "CustomTextCLIP": ("CustomTextCLIP", {}),
    "linear projection": ("CustomTextCLIP", {"proj_bias": True}),
    "no projection": ("CustomTextCLIP", {"proj_type": "none"}),
}
AT_FULL_LENGTH = {
    "CLIP, last token": ("CLIP", {"pool_type": "last"}),
    "last token": ("CustomTextCLIP", {"pool_type": "last"}),
    "first token": ("CustomTextCLIP", {"pool_type": "first"}),
    "token by id": ("CustomTextCLIP", {"pool_type": "eos", "eos_id": 49407}),
    "CLIP, not causal": ("CLIP", {"no_causal_mask": True}),
    "not causal": ("CustomTextCLIP", {"no_causal_mask": True}),
    "not causal, last token": ("CustomTextCLIP", {"no_causal_mask": True, "pool_type": "last"}),
    "class token": ("CustomTextCLIP", {"embed_cls": True}),
}


def build(kind: str, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    width = 64 if options.get("proj_type") == "none" else 32
    model = getattr(open_clip, kind)(width, VISION, {**TEXT, **options}).eval()
    for parameter in model.parameters():  # far from 0, so that a token too many or too few is seen
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture(scope="module")
def model() -> Any:
    return build("CLIP", {})


@pytest.fixture
def encoder(model: Any, tokenizer: Any) -> TextEncoder:
    return TextEncoder(model=model, tokenizer=tokenizer)


class Spy:
    """Shapes [rows, length] that went through a model's text transformer."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, int]] = []
        tower = getattr(model, "text", model)
        self._hook = tower.transformer.register_forward_pre_hook(self._note)

    def _note(self, module: Any, args: tuple[Any, ...]) -> None:
        self.shapes.append(tuple(args[0].shape[:2]))

    def __enter__(self) -> Spy:
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()


def unit_text_features(model: Any, tokens: Any) -> Any:
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.encode_text(tokens), dim=-1).numpy()


def test_token_lengths_count_start_and_end(tokenizer: Any) -> None:
    assert token_lengths(tokenizer(["owl", "a photo of a cat."])).tolist() == [3, 8]


@pytest.mark.parametrize("name", TRIMMED)
def test_trimmed_is_untrimmed(name: str, tokenizer: Any) -> None:
    model = build(*TRIMMED[name])
    tokens = tokenizer(SENTENCES)
    with torch.inference_mode(), Spy(model) as spy:
        got, wanted = text_features(model, tokens), model.encode_text(tokens)
    assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    longest = int(token_lengths(tokens).max())
    assert longest < CONTEXT // 2
    assert spy.shapes == [(len(SENTENCES), longest), (len(SENTENCES), CONTEXT)]


@pytest.mark.parametrize("name", AT_FULL_LENGTH)
def test_other_towers_run_at_full_length(name: str, tokenizer: Any) -> None:
    model = build(*AT_FULL_LENGTH[name])
    tokens = tokenizer(SENTENCES)
    with torch.inference_mode(), Spy(model) as spy:
        got, wanted = text_features(model, tokens), model.encode_text(tokens)
    assert torch.equal(got, wanted)
    assert spy.shapes[0] == spy.shapes[1]
    assert spy.shapes[0][1] >= CONTEXT
    features = TextEncoder(model=model, tokenizer=tokenizer).encode(SENTENCES)
    assert_allclose(features, unit_text_features(model, tokens), atol=1e-5)


def test_a_sentence_as_long_as_the_context(model: Any, tokenizer: Any) -> None:
    tokens = tokenizer([" ".join(["cat"] * (CONTEXT - 2)), "owl"])
    with torch.inference_mode(), Spy(model) as spy:
        assert_allclose(text_features(model, tokens), model.encode_text(tokens), rtol=1e-5, atol=1e-5)
    assert spy.shapes[0] == (2, CONTEXT)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
def test_features_in_the_order_given_whatever_the_batch(model: Any, tokenizer: Any, batch_size: int) -> None:
    got = TextEncoder(model=model, tokenizer=tokenizer, batch_size=batch_size).encode(SENTENCES)
    assert (got.dtype, got.shape) == (np.float32, (len(SENTENCES), 32))
    wanted = unit_text_features(model, tokenizer(SENTENCES))
    assert_allclose(got, wanted, atol=1e-5)
    assert np.abs(wanted[:, None] - wanted[None]).max(axis=2)[~np.eye(len(wanted), dtype=bool)].min() > 1e-2


def test_features_have_unit_length(encoder: TextEncoder) -> None:
    assert_allclose(np.linalg.norm(encoder.encode(SENTENCES), axis=1), 1, atol=1e-6)


def test_short_sentences_do_not_pay_for_long_ones(model: Any, tokenizer: Any) -> None:
    with Spy(model) as spy:
        TextEncoder(model=model, tokenizer=tokenizer, batch_size=2).encode(SENTENCES)
    lengths = sorted(token_lengths(tokenizer(SENTENCES)).tolist())
    assert spy.shapes == [(2, lengths[1]), (2, lengths[3]), (2, lengths[5]), (1, lengths[6])]


def test_equal_sentences_are_encoded_once(model: Any, encoder: TextEncoder) -> None:
    said = ["owl", "cat", "owl", "a photo of a dog.", "owl", "cat"]
    done: list[int] = []
    with Spy(model) as spy:
        got = encoder.encode(said, done.append)
    assert sum(rows for rows, _ in spy.shapes) == sum(done) == 3
    assert_array_equal(got[0], got[2])
    assert_array_equal(got[0], got[4])
    assert_array_equal(got[1], got[5])
    assert_allclose(got, np.concatenate([encoder.encode([text]) for text in said]), atol=1e-5)


def test_progress_is_told_of_each_batch(model: Any, tokenizer: Any) -> None:
    done: list[int] = []
    TextEncoder(model=model, tokenizer=tokenizer, batch_size=3).encode(SENTENCES, done.append)
    assert done == [3, 3, 1]


def test_no_sentences(encoder: TextEncoder) -> None:
    with pytest.raises(TextsError, match="no sentences to encode; a text set needs at least one name a class"):
        encoder.encode([])


# long sentences

FITS = " ".join(["cat"] * (CONTEXT - 2))
LONG = " ".join(["cat"] * (CONTEXT - 1))
LONGER = " ".join(["dog"] * 200)


def test_a_long_sentence_is_an_error(encoder: TextEncoder) -> None:
    wanted = (
        r"^2 of 4 texts exceed the model's 77 tokens, the first is 'cat .*'; shorten them, or pass --on-long truncate$"
    )
    with pytest.raises(TextsError, match=wanted) as caught:
        encoder.encode(["owl", LONG, FITS, LONGER, LONG])
    assert f"{LONG[:100]!r}" in str(caught.value)
    assert len(str(caught.value)) < 250
    assert encoder.truncated == 0


def test_a_sentence_that_just_fits_is_no_error(encoder: TextEncoder) -> None:
    assert encoder.encode([FITS]).shape == (1, 32)


def test_truncated_sentences_are_counted(model: Any, tokenizer: Any) -> None:
    encoder = TextEncoder(model=model, tokenizer=tokenizer, on_long="truncate")
    got = encoder.encode(["owl", LONG, FITS, LONGER, LONG])
    assert encoder.truncated == 2
    assert_allclose(got, unit_text_features(model, tokenizer(["owl", LONG, FITS, LONGER, LONG])), atol=1e-5)
    # The end-of-text token takes the place of the word cut off, so the shorter text is the same now.
    assert_allclose(got[1], got[2], atol=1e-5)
    encoder.encode(["owl", LONGER])
    assert encoder.truncated == 3


class PadsWithOne:
    """CLIP's tokenizer made to pad with 1, as SigLIP's does, and to say so."""

    tokenizer = SimpleNamespace(pad_token_id=1)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, texts: list[str], context_length: int) -> Any:
        tokens = self._inner(texts, context_length=context_length)
        return torch.where(tokens == 0, 1, tokens)


def test_padding_is_not_taken_for_text(model: Any, tokenizer: Any, encoder: TextEncoder) -> None:
    other = TextEncoder(model=model, tokenizer=PadsWithOne(tokenizer))
    assert_allclose(other.encode(SENTENCES), encoder.encode(SENTENCES), atol=1e-5)
    with pytest.raises(TextsError, match="1 of 1 texts exceed the model's 77 tokens"):
        other.encode([LONG])


class Words:
    """A token a word and one for the end of text, cut as Hugging Face's tokenizers cut: the end stays."""

    def __init__(self, *, pad: int, end: int, start: tuple[int, ...] = (), strip: bool = False) -> None:
        self.tokenizer = SimpleNamespace(pad_token_id=pad, eos_token_id=None if strip else end)
        self.strip_sep_token = strip
        self.start, self._end, self._pad = start, 0 if strip else end, pad

    def __call__(self, texts: list[str], context_length: int) -> Any:
        words = [[*self.start, *[100 + len(word) for word in text.split()]][: context_length - 1] for text in texts]
        rows = [[*row, self._end, *[self._pad] * (context_length - 1 - len(row))] for row in words]
        return torch.tensor(rows)


OTHERS = {
    "SigLIP, the end is padding": Words(pad=1, end=1),
    "SigLIP 2, an end of its own": Words(pad=0, end=1),
    "BERT": Words(pad=0, end=12, start=(11,)),
    "CLIPA, the end is stripped to padding": Words(pad=0, end=12, start=(11,), strip=True),
}
ROOM = 8


def words(name: str, tokens: int) -> str:
    """A text of as many tokens, start and end included, its longest word the first."""
    return " ".join(["longest", *["be"] * (tokens - 2 - len(OTHERS[name].start))])


@pytest.mark.parametrize("name", OTHERS)
def test_long_texts_of_other_tokenizers(name: str) -> None:
    model = build("CustomTextCLIP", {"pool_type": "last", "no_causal_mask": True, "context_length": ROOM})
    encoder = TextEncoder(model=model, tokenizer=OTHERS[name])
    fit = [words(name, tokens) for tokens in (3, ROOM - 1, ROOM)]
    assert encoder.encode(fit).shape == (3, 32)
    long = [words(name, tokens) for tokens in (ROOM + 1, ROOM + 2, 5 * ROOM)]
    with pytest.raises(TextsError, match="3 of 6 texts exceed the model's 8 tokens, the first is 'longest be"):
        encoder.encode([*fit, *long])
    cut = TextEncoder(model=model, tokenizer=OTHERS[name], on_long="truncate")
    wanted = unit_text_features(model, OTHERS[name]([*fit, *long], context_length=ROOM))
    assert_allclose(cut.encode([*fit, *long]), wanted, atol=1e-5)
    assert cut.truncated == 3


def test_a_text_cut_at_an_exclamation_mark_is_long(model: Any, tokenizer: Any) -> None:
    said = " ".join(["cat"] * (CONTEXT - 3))
    assert tokenizer([f"{said} !~"])[0, -3:].tolist() == [2368, 0, 49407]  # padding's token, and the next cut off
    for text, long in ((said + " !", 0), (said + " !~", 1), (said + " cat !~", 1)):
        encoder = TextEncoder(model=model, tokenizer=tokenizer, on_long="truncate")
        encoder.encode([text])
        assert encoder.truncated == long


def test_only_full_texts_are_tokenized_twice(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    real = type(tokenizer).__call__

    def note(self: Any, texts: list[str], context_length: int) -> Any:
        calls.append((len(texts), context_length))
        return real(self, texts, context_length)

    monkeypatch.setattr(type(tokenizer), "__call__", note)
    encoder = TextEncoder(model=model, tokenizer=tokenizer, on_long="truncate")
    encoder.encode(SENTENCES)
    encoder.encode(["owl", FITS, LONG])
    assert calls == [(len(SENTENCES), CONTEXT), (3, CONTEXT), (2, CONTEXT + 1)]


@pytest.mark.parametrize(
    "model",
    [
        SimpleNamespace(context_length=16),
        SimpleNamespace(text=SimpleNamespace(context_length=16)),
        SimpleNamespace(context_length=None, text=SimpleNamespace(context_length=16)),
    ],
)
def test_context_length_of_both_layouts(model: Any) -> None:
    assert TextEncoder(model=model, tokenizer=lambda texts: texts).context_length == 16


# counting


def test_tokens_are_counted_with_start_and_end(tokenizer: Any) -> None:
    assert count_tokens(tokenizer, ["owl", "a photo of a cat.", ""], context_length=CONTEXT) == [3, 8, 2]
    assert count_tokens(tokenizer, [], context_length=CONTEXT) == []


def test_an_exclamation_mark_is_no_padding(tokenizer: Any) -> None:
    assert tokenizer(["owl !~^"])[0, :6].tolist() == [49406, 9899, 0, 93, 317, 49407]
    assert count_tokens(tokenizer, ["owl !~^", "owl !~^ owl"], context_length=CONTEXT) == [6, 7]


def test_one_more_than_the_context_stands_for_all_that_is_longer(tokenizer: Any) -> None:
    assert count_tokens(tokenizer, [FITS, LONG, LONGER], context_length=CONTEXT) == [CONTEXT, CONTEXT + 1, CONTEXT + 1]
    assert count_tokens(tokenizer, [LONGER], context_length=512) == [202]


def test_tokens_of_a_tokenizer_with_other_padding(tokenizer: Any) -> None:
    other = PadsWithOne(tokenizer)
    wanted = count_tokens(tokenizer, [*SENTENCES, FITS, LONGER], context_length=CONTEXT)
    assert count_tokens(other, [*SENTENCES, FITS, LONGER], context_length=CONTEXT) == wanted


@pytest.mark.parametrize("name", OTHERS)
def test_tokens_of_other_tokenizers(name: str) -> None:
    lengths = [3, ROOM - 1, ROOM, ROOM + 1, ROOM + 2, 5 * ROOM]
    texts = [words(name, tokens) for tokens in lengths]
    assert count_tokens(OTHERS[name], texts, context_length=ROOM) == [min(tokens, ROOM + 1) for tokens in lengths]
    assert count_tokens(OTHERS[name], texts, context_length=512) == lengths
    assert count_tokens(OTHERS[name], [""], context_length=ROOM) == [1 + len(OTHERS[name].start)]
