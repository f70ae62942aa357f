"""Attention rewritten for the graph: torch's own numbers, the operators it is for, the model itself untouched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the build side is not installed: pip install '.[export,cpu]'")
onnx = pytest.importorskip("onnx")
pytest.importorskip("open_clip")

from open_clip.transformer import ResidualAttentionBlock  # noqa: E402
from torch import nn  # noqa: E402

from coder_export.attention import LastBlock, SelfAttention, rewritten  # noqa: E402
from coder_export.model import open_model  # noqa: E402


def attention(width: int = 128, heads: int = 2) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    found = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    nn.init.normal_(found.in_proj_bias)
    return found


@pytest.mark.parametrize("heads", [2, 4])  # a head width of 64, as CLIP's, and one that scales by no power of two
@torch.inference_mode()
def test_numbers_are_torchs(heads: int) -> None:
    theirs = attention(heads=heads)
    x = torch.randn(3, 17, 128)
    wanted, _ = theirs(x, x, x, need_weights=False)
    found, weights = SelfAttention(theirs)(x, x, x, need_weights=False)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-6)
    assert weights is None


def test_only_self_attention_without_a_mask() -> None:
    ours = SelfAttention(attention())
    x, y = torch.randn(1, 4, 128), torch.randn(1, 4, 128)
    for arguments, options in (
        ((x, y, y), {}),
        ((x, x, y), {}),
        ((x, x, x), {"need_weights": True}),
        ((x, x, x), {"attn_mask": torch.zeros(4, 4)}),
    ):
        with pytest.raises(ValueError, match="only self-attention"):
            ours(*arguments, **options)


@pytest.mark.usefixtures("small_vit")  # which makes the model known
def test_the_model_itself_stays() -> None:
    visual = open_model("small-vit", "random").visual
    before = {name: id(tensor) for name, tensor in visual.named_parameters()}
    copy = rewritten(visual)
    assert not any(isinstance(module, SelfAttention) for module in visual.modules())
    assert {name: id(tensor) for name, tensor in visual.named_parameters()} == before
    replaced = [name for name, module in copy.named_modules() if isinstance(module, SelfAttention)]
    assert len(replaced) == sum(isinstance(module, nn.MultiheadAttention) for module in visual.modules()) > 0
    assert sum(id(tensor) in before.values() for tensor in copy.parameters()) == len(before) - 2 * len(replaced)


@pytest.mark.usefixtures("small_vit")
@pytest.mark.parametrize(
    ("change", "last"),
    [
        ({}, LastBlock),
        ({"pool_type": "avg"}, ResidualAttentionBlock),
        ({"output_tokens": True}, ResidualAttentionBlock),
    ],
    ids=str,
)
@torch.inference_mode()
def test_other_tokens_are_left_out_where_nobody_reads_them(change: dict[str, object], last: type[nn.Module]) -> None:
    visual = open_model("small-vit", "random").visual
    for name, value in change.items():
        setattr(visual, name, value)
    copy = rewritten(visual)
    assert type(copy.transformer.resblocks[-1]) is last
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(copy(images), visual(images), rtol=1e-5, atol=2e-6)


def test_operators_a_layer(small_vit: Path) -> None:
    model = onnx.load(small_vit)
    seen = Counter(node.op_type for node in model.graph.node)
    assert seen["Softmax"] == 2
    # qkv, logits, values, out and the MLP's two, in the last block q and kv apart; then the projection, the bank
    assert seen["MatMul"] == 2 * 6 + 1 + 2
    assert (seen["Split"], seen["Squeeze"], seen["Gather"]) == (2, 6, 1)  # Gather: the class token
    assert seen["Transpose"] == 2 * 3 + 1 + 3  # in the last block q and kv apart; pixels, patches, bank
    assert seen["Slice"] == 2  # the class token, normed and as it is
