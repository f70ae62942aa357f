"""Text features at the length a batch needs against the full context: ViT-B/32's text tower, random weights."""

from __future__ import annotations

import numpy as np
import torch
from table import show

from coder_export.encode import text_features, token_lengths
from coder_export.measure import interleaved
from coder_export.model import open_model
from coder_export.shipped import open_textset


def run() -> None:
    clip = open_model("ViT-B/32", "random")
    textset = open_textset("cifar10")
    sentences = [sentence.text for i in range(len(textset.labels)) for sentence in textset.sentences(i)]
    tokens = clip.tokenizer(sentences)
    tokens = tokens[torch.argsort(token_lengths(tokens))][:: len(tokens) // 64][:64]
    with torch.inference_mode():
        calls = {
            "trimmed": lambda: text_features(clip.model, tokens),
            "full": lambda: clip.model.encode_text(tokens),
        }
        times = interleaved(calls, seconds=10)
        trimmed, full = times["trimmed"].p50, times["full"].p50
        apart = np.abs((text_features(clip.model, tokens) - clip.model.encode_text(tokens)).numpy()).max()
    rows = [
        (
            "64 sentences of the cifar10 text set, tokens at most",
            f"{int(token_lengths(tokens).max())} of {tokens.shape[1]}",
        ),
        ("at the full context", f"{full:.0f} ms"),
        ("at the length the batch needs", f"{trimmed:.0f} ms, {full / trimmed:.1f}x"),
        ("largest difference", f"{apart:.1e}"),
    ]
    show("Text features, ViT-B/32, batch 64", rows)


if __name__ == "__main__":
    run()
