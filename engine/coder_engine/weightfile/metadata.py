"""What a weight file says of itself, as JSON in its header."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

LATER = (
    "plans", "temperature", "calibration", "unknown_below", "unknown_record", "margin_record",
    "adapter", "generic",
)  # fmt: skip
"""Fields that older files lack; their defaults are what those files meant."""

_OBJECTS = (
    "preprocess", "texts", "engine_files", "plans", "versions", "fidelity", "digests", "calibration",
    "unknown_record", "margin_record", "adapter", "generic",
)  # fmt: skip


_LEAST, _MOST = 1e-9, 1e9
"""Far beyond any model's, whose is 100, and still within float32."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a weight file says of itself.

    Attributes:
        labels: the C class names, in id order.
        model: open_clip's name of the model, and ``pretrained`` the tag or file of its weights.
        tower: sha256 of the image tower and its preprocessing: weight files with the same tower can be swapped.
        preprocess: see ``coder_engine.preprocess.Preprocess``.
        logit_scale: what the cosines are multiplied with before the softmax.
        margin: rerank only where the two best probabilities differ by less; None reranks always (the paper).
        texts: the text set's name, source and counts.
        engine_files: sha256 by file name of the engine files this weight file belongs to.
        plans: what each .plan among them was built by and for, by file name; see ``coder_engine.plans.record``.
        versions: what made it.
        fidelity: what the export measured.
        digests: sha256 by name of each tensor that opening does not read; see ``coder_engine.weightfile.table``.
        temperature: scores are softmax(logit_scale * o / temperature); the margin's gate goes without it.
        calibration: how the temperature was fitted: errors before and after, how many images and their content hash.
        unknown_below: answers that score less are unknown, unless the caller says otherwise; None: none are.
        unknown_record: how that was chosen, and ``margin_record`` how the margin was.
        adapter: parameters of the few-shot adapter, see ``coder_engine.fewshot``; empty where none is fitted.
        generic: name, source and count of the ``generic_texts``; empty where there are none.
    """

    labels: tuple[str, ...]
    model: str
    pretrained: str
    tower: str
    preprocess: Mapping[str, Any]
    logit_scale: float
    margin: float | None = None
    texts: Mapping[str, Any] = field(default_factory=dict)
    engine_files: Mapping[str, str] = field(default_factory=dict)
    plans: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    fidelity: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    temperature: float = 1.0
    calibration: Mapping[str, Any] = field(default_factory=dict)
    unknown_below: float | None = None
    unknown_record: Mapping[str, Any] = field(default_factory=dict)
    margin_record: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] = field(default_factory=dict)
    generic: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must be one or more, and no two the same, got {len(self.labels)}")
        if not _LEAST <= self.logit_scale <= _MOST:
            raise ValueError(f"logit_scale must be within {_LEAST:g} and {_MOST:g}, got {self.logit_scale}")
        if self.margin is not None and not 0 <= self.margin <= 1:
            raise ValueError(f"margin must be a difference of probabilities, 0 to 1, or None, got {self.margin}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if not _LEAST <= self.logit_scale / self.temperature <= _MOST:
            raise ValueError(
                f"logit_scale / temperature must be within {_LEAST:g} and {_MOST:g}, got {self.logit_scale:g} / "
                f"{self.temperature:g}"
            )
        for name in self.engine_files:
            if not name or name in (".", "..") or not set("/\\\0").isdisjoint(name):
                raise ValueError(f"engine_files must be the names of files beside it, got {name!r}")
        if self.unknown_below is not None and not 0 <= self.unknown_below <= 1:
            raise ValueError(f"unknown_below must be a probability, 0 to 1, got {self.unknown_below}")

    @property
    def text_temperature(self) -> float:
        """The temperature of the texts' own scores: 1 beside a few-shot adapter, as a fit was then of its scores."""
        return 1.0 if self.adapter else self.temperature

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """Inverse of :meth:`to_json`; raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
        data = json.loads(text)
        data["labels"] = tuple(map(str, data["labels"]))
        data["digests"] = {str(name): str(digest) for name, digest in dict(data["digests"]).items()}
        data["logit_scale"] = float(data["logit_scale"])
        data["plans"] = {str(name): dict(record) for name, record in dict(data.get("plans", {})).items()}
        for name in _OBJECTS:
            if not isinstance(data.get(name, {}), dict):
                raise TypeError(f"{name} must be an object, got {type(data[name]).__name__}")
        return cls(
            **{item.name: data[item.name] for item in fields(cls) if item.name in data or item.name not in LATER}
        )
