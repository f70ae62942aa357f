"""What an engine file computes, as a torch module."""

from __future__ import annotations

import torch

from coder_export.model import ClipModel


class EngineGraph(torch.nn.Module):
    """What the engine file computes, as a torch module; the reference of the fidelity check."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, clip: ClipModel) -> None:
        super().__init__()
        self.name = clip.name
        self.visual = clip.visual
        std = torch.tensor(clip.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -torch.tensor(clip.mean).view(1, 3, 1, 1) / std)
        self.size = clip.preprocess.size

    def forward(self, pixels: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Cast before the transpose: TensorRT transposes no uint8.
        images = pixels.float().permute(0, 3, 1, 2) * self.scale + self.shift
        features = self.visual(images)
        return unit(features[0] if isinstance(features, tuple) else features, bank)  # CoCa gives its tokens, too


def unit(features: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An engine's two outputs: features [B, D] at unit length, and their cosines with the bank [C + R, D]."""
    # F.normalize exports an Expand to the features' own shape: OpenVINO gives wrong features from that once a graph
    # with int8 layers has a batch size left open. Division broadcasts without it.
    features = features / torch.linalg.vector_norm(features, dim=-1, keepdim=True).clamp_min(1e-12)
    return features, features @ bank.T
