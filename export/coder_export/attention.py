"""Self-attention written for the graph: the operators that runtimes recognise, and nothing around them.

``torch.nn.MultiheadAttention`` exports to 38 nodes a layer: it moves the batch to the middle and back, and cuts, copies
and scales query, key and value one by one. Here are 16: one product for the three, one transposition that lays out the
heads, two batched products around one softmax. The numbers stay.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class SelfAttention(nn.Module):
    """A MultiheadAttention with its own weights, for x [B, N, width] attending to itself without a mask.

    The scale of the logits, 1 / sqrt(head width), is part of the query's weights; where the head width is a power of
    four, as CLIP's 64 is, that changes no bit.
    """

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
        count, places, width = query.shape
        projected = nn.functional.linear(query, self.weight, self.bias)
        heads = projected.view(count, places, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        q, k, v = (part.squeeze(0) for part in heads.chunk(3))
        attended = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out_proj(attended.permute(0, 2, 1, 3).reshape(count, places, width)), None


def rewritten(module: Module) -> Module:
    """A copy of a module that holds an image tower, the attention of its ViT blocks replaced; other weights are shared.

    Whatever is built in another way (ResNets, timm's towers) stays as it is.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    found = copy.deepcopy(module, shared)
    for block in found.modules():
        if isinstance(block, ResidualAttentionBlock) and block.attn.batch_first:
            block.attn = SelfAttention(block.attn)
    return found
