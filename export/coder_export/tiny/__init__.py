"""coder-tiny: a CLIP of a few megabytes, trained on CIFAR-10. A test model: see docs/coder-tiny.md."""

from __future__ import annotations

from pathlib import Path

NAME = "coder-tiny"
TAG = "cifar10"
"""The pretrained tag of the weights inside the package."""

CONFIG = Path(__file__).with_name("coder-tiny.json")
WEIGHTS = Path(__file__).with_name("coder-tiny.safetensors")
