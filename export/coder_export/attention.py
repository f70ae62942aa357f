"""A ViT's transformer written for the graph: the operators that runtimes recognise, and nothing around them.

``torch.nn.MultiheadAttention`` exports to 38 nodes a layer: it moves the batch to the middle and back, and cuts, copies
and scales query, key and value one by one. Here are 16, and some more in the last: one product for the three, one
transposition that lays out the heads, two batched products around one softmax. The numbers stay.

CLIP's feature is the class token's, so the last block asks for it alone: of the other tokens only keys and values are
needed there. That is 6.9 % of ViT-B/16's products and 3.5 % of ViT-L/14's, and changes no number either.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class SelfAttention(nn.Module):
    """A MultiheadAttention with its own weights, for x [B, N, width] attending to itself without a mask.

    The scale of the logits, 1 / sqrt(head width), is part of the query's weights; where the head width is a power of
    four, as CLIP's 64 is, that changes no bit.
    """

    batch_first = True

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.head_width = attention.num_heads, attention.head_dim
        scale = torch.ones(3 * attention.embed_dim, 1)
        scale[: attention.embed_dim] = attention.head_dim**-0.5
        self.weight = nn.Parameter(attention.in_proj_weight.detach() * scale)
        self.bias = nn.Parameter(attention.in_proj_bias.detach() * scale[:, 0])
        self.out_proj = attention.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """As ``MultiheadAttention.forward``.

        Raises:
            ValueError: it is no plain self-attention.
        """
        if key is not query or value is not query or need_weights or attn_mask is not None:
            raise ValueError("only self-attention without a mask is exported")
        q, k, v = (part.squeeze(0) for part in self.heads_of(query, self.weight, self.bias).chunk(3))
        return self.attended(q, k, v), None

    def heads_of(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """By n of the projections query, key and value: [n, B, heads, N, head width]."""
        count, places, _ = x.shape
        projected = nn.functional.linear(x, weight, bias)
        return projected.view(count, places, -1, self.heads, self.head_width).permute(2, 0, 3, 1, 4)

    def attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention and output projection of q [B, heads, M, head width] to k and v of N places: [B, M, width]."""
        attended = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        found: torch.Tensor = self.out_proj(attended.permute(0, 2, 1, 3).flatten(2))
        return found


class LastBlock(nn.Module):
    """The last block of a tower whose feature is the class token's: [B, N, width] -> [B, 1, width]."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        attention = self.attention = block.attn
        self.ln_1, self.ln_2, self.mlp, self.ls_1, self.ls_2 = block.ln_1, block.ln_2, block.mlp, block.ls_1, block.ls_2
        # Weights of their own: parts of one would be cut anew in every run, and are none to what makes int8 of them.
        sizes = [attention.heads * attention.head_width, 2 * attention.heads * attention.head_width]
        self.query, self.keys = (nn.Parameter(part.clone()) for part in attention.weight.detach().split(sizes))
        self.query_bias, self.keys_bias = (nn.Parameter(part.clone()) for part in attention.bias.detach().split(sizes))

    def forward(self, x: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        normed, attention = self.ln_1(x), self.attention
        q = attention.heads_of(normed[:, :1], self.query, self.query_bias).squeeze(0)
        k, v = (part.squeeze(0) for part in attention.heads_of(normed, self.keys, self.keys_bias).chunk(2))
        first = x[:, :1] + self.ls_1(attention.attended(q, k, v))
        found: torch.Tensor = first + self.ls_2(self.mlp(self.ln_2(first)))
        return found


def rewritten(module: Module) -> Module:
    """A copy of a module that holds an image tower, the attention of its ViT blocks replaced; other weights are shared.

    Whatever is built in another way (ResNets, timm's towers) stays as it is.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    found = copy.deepcopy(module, shared)
    modules: list[Any] = list(found.modules())
    for block in filter(is_plain, modules):
        block.attn = SelfAttention(block.attn)
    for tower in filter(reads_the_class_token, modules):
        blocks = tower.transformer.resblocks
        blocks[-1] = LastBlock(blocks[-1])
    return found


def is_plain(block: Any) -> bool:
    """Whether it is a block of self-attention and MLP as CLIP's are."""
    return type(block) is ResidualAttentionBlock and bool(block.attn.batch_first)


def reads_the_class_token(tower: Any) -> bool:
    """Whether it is a ViT of plain blocks that asks the last one for the first token alone."""
    if not isinstance(tower, VisionTransformer) or not all(map(is_plain, tower.transformer.resblocks)):
        return False
    return tower.attn_pool is None and tower.pool_type == "tok" and not tower.output_tokens
