"""The methods by the names that options take, with their titles; apart, so that --help imports nothing else."""

from __future__ import annotations

ZERO_SHOT = {
    "clip": "CLIP",
    "clip-ensemble": "CLIP, ensemble",
    "vcd": "VCD",
    "coder": "CODER",
    "coder-star": "CODER*",
    "votes": "CODER*, votes",
    "gated": "CODER*, gated",
    "adapter": "CODER-Adapter, stored",
}
"""CODER is stage 1 alone, CODER* both stages, as in the paper's Table 1; the last one is what coder-fit wrote into the
weight file, over stage 1."""

RERANKING = frozenset({"coder-star", "votes", "gated"})

FEW_SHOT = {
    "nearest-mean": "nearest class mean",
    "tip-adapter": "Tip-Adapter",
    "tip-x": "TIP-X",
    "coder-adapter": "CODER-Adapter",
    "spectral": "spectral",
}
