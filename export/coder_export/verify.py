"""Stage 7 of the pipeline: is the engine file what torch computes? What a lower precision costs is ``gate``'s."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coder_engine.backends.onnxruntime import open_session
from coder_engine.errors import ModelError
from coder_export.engine_graph import EngineGraph

BATCHES = (1, 3, 8)
"""1 and two others, so that a batch size baked into the graph shows."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Largest differences between torch and the engine over all batches.

    Attributes:
        cosine: smallest cosine between the two features of an image.
        features: largest absolute difference of a feature.
        coder: largest absolute difference of a bank cosine.
        batches: the batch sizes compared.
    """

    cosine: float
    features: float
    coder: float
    batches: tuple[int, ...] = BATCHES

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"cosine >= {self.cosine:.7f}, features differ by at most {self.features:.1e}, "
            f"cosines by {self.coder:.1e} (B = {', '.join(map(str, self.batches))})"
        )


def verify(
    graph: EngineGraph, path: Path, pixels: NDArray[np.uint8], bank: NDArray[np.float32], *, tolerance: float
) -> Fidelity:
    """Run torch and ONNX Runtime on the same photographs.

    Args:
        pixels: uint8 [8, H, W, 3].
        bank: float32 [C + R, D].
        tolerance: largest absolute difference allowed, of features and of bank cosines.

    Raises:
        ModelError: a value is not finite, or a difference is above ``tolerance``.
    """
    session = open_session(path, threads=None)
    worst = [1.0, 0.0, 0.0]
    for count in BATCHES:
        batch = pixels[:count]
        with torch.inference_mode():
            wanted = [out.numpy() for out in graph(torch.from_numpy(batch), torch.from_numpy(bank))]
        got = session.run(["features", "coder"], {"pixels": batch, "bank": bank})
        if not all(np.isfinite(array).all() for array in (*wanted, *got)):
            raise ModelError(f"{path}: NaN or Inf in the features of {count} photographs; are the weights whole?")
        worst[0] = min(worst[0], float((wanted[0] * got[0]).sum(axis=1).min()))
        worst[1] = max(worst[1], float(np.abs(wanted[0] - got[0]).max()))
        worst[2] = max(worst[2], float(np.abs(wanted[1] - got[1]).max()))
    fidelity = Fidelity(cosine=worst[0], features=worst[1], coder=worst[2])
    if max(worst[1:]) > tolerance:
        raise ModelError(
            f"the engine does not compute what torch does: {fidelity}; allowed is {tolerance:.0e} (--tolerance)"
        )
    return fidelity
