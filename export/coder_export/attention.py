"""A ViT's transformer written for the graph: the operators that runtimes recognise, and nothing around them.

``torch.nn.MultiheadAttention`` exports to 38 nodes a layer: it moves the batch to the middle and back, and cuts, copies
and scales query, key and value one by one. Here are 16: one product for the three, one transposition that lays out the
heads, two batched products around one softmax. The numbers stay.

CLIP's feature is the class token's, so the last block asks for it alone: of the other tokens only keys and values are
needed there. That is 7 % of ViT-B/16's products and 4 % of ViT-L/14's, and changes no number either.
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
        q, k, v = self._projected(query, slice(None))
        return self._attended(q, k, v), None

    def of_the_class_token(self, x: torch.Tensor) -> torch.Tensor:
        """What :meth:`forward` gives for the first of N tokens: [B, N, width] -> [B, 1, width]."""
        width = x.shape[-1]
        (q,) = self._projected(x[:, :1], slice(width))
        k, v = self._projected(x, slice(width, None))
        return self._attended(q, k, v)

    def _projected(self, x: torch.Tensor, rows: slice) -> list[torch.Tensor]:
        """By these rows of the weights, some whole ones of query, key and value: each [B, heads, N, head width]."""
        count, places, _ = x.shape
        projected = nn.functional.linear(x, self.weight[rows], self.bias[rows])
        heads = projected.view(count, places, -1, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        return [part.squeeze(0) for part in heads.chunk(heads.shape[0])]

    def _attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        attended = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        found: torch.Tensor = self.out_proj(attended.permute(0, 2, 1, 3).flatten(2))
        return found


class LastBlock(nn.Module):
    """The last block of a tower whose feature is the class token's: [B, N, width] -> [B, 1, width]."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        block = self.block
        first = x[:, :1] + block.ls_1(block.attn.of_the_class_token(block.ln_1(x)))
        found: torch.Tensor = first + block.ls_2(block.mlp(block.ln_2(first)))
        return found


def copied(module: Module) -> Module:
    """A copy whose modules may be replaced; the weights are shared."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)


def rewritten(module: Module) -> Module:
    """A copy of a module that holds an image tower, the attention of its ViT blocks replaced; other weights are shared.

    Whatever is built in another way (ResNets, timm's towers) stays as it is.
    """
    found = copied(module)
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
