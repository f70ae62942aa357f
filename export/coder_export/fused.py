"""A ViT's transformer in ONNX Runtime's own operators, for its CUDA provider.

What is cheap to compute is dear to move: between a block's six products, standard operators read and write the tokens
some 30 times, which on a large GPU takes longer than the products. ONNX Runtime has operators that do several of these
steps at once, but does not find them by itself in a graph of this kind, as each sum is read twice. So they are written
here: flash attention, residual sum with bias and LayerNormalization, bias with GELU.

Two biases need no addition of their own. That of the keys moves all of a query's logits alike, which softmax does not
see; that of the values passes through attention, as its weights sum to 1, and is part of the output's bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn

from coder_engine.errors import ModelError
from coder_export.attention import is_plain, reads_the_class_token
from coder_export.engine_graph import EngineGraph, unit

DOMAIN = "com.microsoft"
_UNUSED_OUTPUTS = {"SkipLayerNormalization": (1, 2)}
"""Mean and deviation, which its CUDA kernel does not give."""


class Block(nn.Module):
    """One block, from the normed tokens and the sum before them to those of the block after it.

    Args:
        block: as open_clip has it.
        after: the LayerNormalization that comes next; None after the last block, which gives the class token's sum.
    """

    def __init__(self, block: ResidualAttentionBlock, after: nn.LayerNorm | None) -> None:
        super().__init__()
        attention = block.attn
        self.heads = attention.num_heads
        self.query, self.key, self.value = attention.in_proj_weight.detach().chunk(3)
        self.query_bias, _, value_bias = attention.in_proj_bias.detach().chunk(3)
        self.out = attention.out_proj.weight.detach()
        self.out_bias = attention.out_proj.bias.detach() + self.out @ value_bias
        self.norm, self.mlp, self.after = block.ln_2, block.mlp, after

    def forward(self, normed: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.after is None:
            asking, total = normed[:, :1], total[:, :1]
        else:
            asking = normed
        q, k, v = asking @ self.query.T + self.query_bias, normed @ self.key.T, normed @ self.value.T
        attended = _operator("MultiHeadAttention", (q, k, v), {"num_heads": self.heads}, like=q)
        normed, total = _sum_and_norm(attended @ self.out.T, total, self.norm, self.out_bias)
        inner = _activated(normed @ self.mlp.c_fc.weight.T, self.mlp.c_fc.bias, self.mlp.gelu)
        branch, bias = inner @ self.mlp.c_proj.weight.T, self.mlp.c_proj.bias
        if self.after is None:
            return normed, total + (branch + bias)
        return _sum_and_norm(branch, total, self.after, bias)


class Transformer(nn.Module):
    """All blocks: tokens [B, N, width] to the class token [B, 1, width]."""

    def __init__(self, blocks: Sequence[ResidualAttentionBlock]) -> None:
        super().__init__()
        self.first = blocks[0].ln_1
        after = [*(block.ln_1 for block in blocks[1:]), None]
        self.blocks = nn.ModuleList(Block(*pair) for pair in zip(blocks, after, strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed, total = self.first(x), x
        for block in self.blocks:
            normed, total = block(normed, total)
        return total


class Graph(nn.Module):
    """All of an engine, as ``EngineGraph`` computes it.

    The patches are cut from the pixels as they come, and the convolution over them is a product, which has scale and
    mean of the pixels in it: 0 to 255 are exact in fp16.
    """

    tower: Any

    def __init__(self, graph: EngineGraph) -> None:
        super().__init__()
        tower: Any = graph.visual
        convolution = tower.conv1.weight.detach()
        self.patch, self.grid = int(convolution.shape[-1]), tower.grid_size
        scaled = convolution * graph.scale.view(1, 3, 1, 1)
        self.patches = scaled.permute(2, 3, 1, 0).flatten(0, 2)  # [patch * patch * 3, width]
        self.places = tower.positional_embedding.detach().clone()
        self.places[1:] += (convolution * graph.shift.view(1, 3, 1, 1)).sum((1, 2, 3))
        self.transformer = Transformer(list(tower.transformer.resblocks))
        self.tower = tower

    def forward(self, pixels: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count, (rows, columns), patch, tower = pixels.shape[0], self.grid, self.patch, self.tower
        cut = pixels.view(count, rows, patch, columns, patch * 3).permute(0, 1, 3, 2, 4)
        tokens = cut.reshape(count, rows * columns, patch * patch * 3).float() @ self.patches
        first = tower.class_embedding.expand(count, 1, -1)
        tokens = tower.ln_pre(torch.cat([first, tokens], dim=1) + self.places)
        pooled, _ = tower._pool(self.transformer(tokens))
        return unit(pooled if tower.proj is None else pooled @ tower.proj, bank)


def fused(graph: EngineGraph) -> Graph:
    """The engine in ONNX Runtime's operators, which runs only there; the weights are shared.

    Raises:
        ModelError: see :func:`check_fusible`.
    """
    check_fusible(graph.visual, graph.name)
    return Graph(graph)


def check_fusible(tower: Any, name: str) -> None:
    """Refuse what is not written in these operators.

    Raises:
        ModelError: the tower of the model ``name`` is no ViT of plain blocks with a class token.
    """
    if not reads_the_class_token(tower) or not all(map(_is_fusible, tower.transformer.resblocks)):
        raise ModelError(
            f"{name}: --format cuda is for ViTs of plain blocks, without LayerScale, whose feature is the class "
            "token's, as OpenAI's are; leave it out"
        )


def drop_unused_outputs(model: onnx.ModelProto) -> None:
    """Leave outputs that nobody reads without a name, as a kernel that does not give them wants it."""
    for node in model.graph.node:
        for place in _UNUSED_OUTPUTS.get(node.op_type, ()):
            node.output[place] = ""


def _is_fusible(block: ResidualAttentionBlock) -> bool:
    return is_plain(block) and all(isinstance(scale, nn.Identity) for scale in (block.ls_1, block.ls_2))


def _sum_and_norm(
    branch: torch.Tensor, total: torch.Tensor, norm: nn.LayerNorm, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """branch + bias + total, normed and as it is."""
    per_token = (*total.shape[:-1], 1)
    normed, _, _, found = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::SkipLayerNormalization",
        (branch, total, norm.weight, norm.bias, bias),
        {"epsilon": norm.eps},
        dtypes=[total.dtype] * 4,
        shapes=[total.shape, per_token, per_token, total.shape],
        version=1,
    )
    return normed, found


def _activated(x: torch.Tensor, bias: torch.Tensor, activation: nn.Module) -> torch.Tensor:
    if isinstance(activation, QuickGELU):
        return _operator("QuickGelu", (x + bias,), {"alpha": 1.702}, like=x)
    if isinstance(activation, nn.GELU) and activation.approximate == "none":
        return _operator("BiasGelu", (x, bias), {}, like=x)
    found: torch.Tensor = activation(x + bias)
    return found


def _operator(
    name: str, inputs: tuple[torch.Tensor, ...], attributes: dict[str, int | float], *, like: torch.Tensor
) -> torch.Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}", inputs, dict(attributes), dtype=like.dtype, shape=like.shape, version=1
    )
