"""Open a CLIP model by open_clip's or OpenAI's name, with the weights, activation and preprocessing its tag demands."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg

from coder_engine.errors import ModelError
from coder_engine.machine.available import first_line
from coder_engine.preprocess import Preprocess
from coder_export import tiny
from coder_export.checkpoint import load_into, read_checkpoint
from coder_export.encode import Tokenizer
from coder_export.hub import fetch, quiet

RANDOM = "random"
_OPENAI_SUFFIX = "@336px"
_MOST_LOGIT_SCALE = 80.0
"""Of the logarithm, which is 4.6 in CLIP; above, fp32 has no such scale."""


@dataclass(frozen=True, kw_only=True)
class ClipModel:
    """A CLIP model ready for export, in eval mode on the CPU.

    Attributes:
        name: open_clip's name.
        pretrained: tag, file name or "random".
        preprocess: resize and crop, done by the run side.
        mean, std: pixel normalisation, folded into the graph.
        logit_scale: exp of the learned scale.
        notes: what a user should know of how the weights were read.
    """

    name: str
    pretrained: str
    model: Any
    tokenizer: Tokenizer
    preprocess: Preprocess
    mean: tuple[float, ...]
    std: tuple[float, ...]
    logit_scale: float
    notes: tuple[str, ...] = field(default=())

    @property
    def visual(self) -> torch.nn.Module:
        """The image tower: float [B, 3, H, W] to features [B, D]."""
        visual: torch.nn.Module = self.model.visual
        return visual

    def tower(self) -> str:
        """sha256 of the image tower: its layers and weights, its normalisation and its preprocessing."""
        # By class, as QuickGELU and GELU differ; not as they are printed, which a new version of torch may change.
        layers = [(name, type(module).__name__) for name, module in self.visual.named_modules()]
        settings = json.dumps([self.preprocess.to_json(), self.mean, self.std, layers], sort_keys=True)
        digest = hashlib.sha256(settings.encode())
        for key, tensor in sorted(self.visual.state_dict().items()):
            digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()))
        return digest.hexdigest()


def open_model(name: str, pretrained: str | None = None, *, checkpoint: Path | None = None, seed: int = 0) -> ClipModel:
    """Open a model.

    Args:
        name: "ViT-B-32", "ViT-B/32", "ViT-L/14@336px", "RN50", "coder-tiny", ...
        pretrained: a tag of open_clip, a local .pt or .safetensors file, or "random". Default: "openai", and for
            coder-tiny the weights in the package.
        checkpoint: a local file with the weights of the tag ``pretrained``, where the hub is out of reach.
        seed: of random weights.

    Raises:
        ModelError: no such model, tag or file, or the weights do not fit.
    """
    name = resolve_name(name)
    if needs_transformers(name):
        raise ModelError(
            f"{name} reads its texts by the package transformers, which is not installed: pip install transformers "
            "(it fetches the tokenizer from the hub)"
        )
    pretrained = pretrained or (tiny.TAG if name == tiny.NAME else "openai")
    if pretrained == RANDOM and checkpoint is not None:
        raise ModelError(f"--pretrained random takes no file, got --checkpoint {checkpoint}; leave one of them out")
    if pretrained == RANDOM:
        torch.manual_seed(seed)
        model = _architecture(name, quick_gelu=None)
        return _ready(name, RANDOM, model, {}, ["random weights: answers are noise, for tests and timing only"])
    if checkpoint is None and Path(pretrained).is_file():
        return _from_file(name, Path(pretrained))
    return _from_tag(name, pretrained, checkpoint)


def resolve_name(name: str) -> str:
    """open_clip's spelling of a model's name.

    Raises:
        ModelError: no such model; the message has near misses.
    """
    if tiny.NAME not in open_clip.list_models():
        open_clip.add_model_config(tiny.CONFIG)
    known: dict[str, str] = {model.lower(): model for model in open_clip.list_models()}
    wanted = name.replace("/", "-").replace(_OPENAI_SUFFIX, "-336").lower()
    if wanted in known:
        return known[wanted]
    near = [known[match] for match in difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)]
    raise ModelError(
        f"no model is called {name!r}; near it are {', '.join(near) or 'none'} (all: coder-export --list-models)"
    )


def needs_transformers(name: str) -> bool:
    """Whether a model of open_clip reads its texts by a package that is not here."""
    ways = {"hf_model_name", "hf_tokenizer_name"}
    return bool(ways & open_clip.get_model_config(name)["text_cfg"].keys()) and find_spec("transformers") is None


def _from_file(name: str, path: Path) -> ClipModel:
    weights = _load(name, path, quick_gelu=None)
    activation = "QuickGELU" if weights.quick_gelu else "the architecture's own activation"
    notes = [f"weights from {path.name} ({weights.layout} layout), {activation}, CLIP's preprocessing"]
    if not weights.quick_gelu:
        notes.append("if the file is of a tag trained otherwise, name both: --pretrained TAG --checkpoint FILE")
    return _ready(name, path.name, weights.model, {}, notes)


def _from_tag(name: str, tag: str, checkpoint: Path | None) -> ClipModel:
    config = _tag_config(name, tag)
    path = checkpoint or (Path(config["file"]) if "file" in config else fetch(name, tag, config))
    # A tag without one leaves it to the architecture, as open_clip does: roberta-ViT-B-32's has it.
    quick_gelu = True if config.get("quick_gelu") else None
    weights = _load(name, path, quick_gelu=quick_gelu, by_layout=False)
    has_it = quick_gelu or open_clip.get_model_config(name).get("quick_gelu", False)
    return _ready(name, tag, weights.model, config, [f"{tag} weights, {'QuickGELU' if has_it else 'no QuickGELU'}"])


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    model: Any
    layout: str
    quick_gelu: bool


def _load(name: str, path: Path, *, quick_gelu: bool | None, by_layout: bool = True) -> _Loaded:
    """Build ``name`` and load ``path`` into it.

    Args:
        quick_gelu: None leaves it to the file's layout, or where ``by_layout`` is False to the architecture.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint file; give a .safetensors or .pt file")
    state, layout = read_checkpoint(path)
    chosen = True if quick_gelu is None and by_layout and layout == "OpenAI" else quick_gelu
    model = _architecture(name, quick_gelu=chosen)
    load_into(model, state, where=f"{path} into {name}")
    return _Loaded(model=model, layout=layout, quick_gelu=bool(chosen))


def _tag_config(name: str, tag: str) -> Mapping[str, Any]:
    if name == tiny.NAME and tag == tiny.TAG:
        return {"file": str(tiny.WEIGHTS)}
    config: Mapping[str, Any] = get_pretrained_cfg(name, tag)
    if config:
        return config
    tags = [tiny.TAG] if name == tiny.NAME else list_pretrained_tags_by_model(name)
    near = difflib.get_close_matches(tag, tags, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ModelError(
        f"{name} has no pretrained tag or file {tag!r}; {hint}tags are {', '.join(tags) or 'none'}, "
        f"or give a .safetensors or .pt file, or {RANDOM!r}"
    )


def _architecture(name: str, *, quick_gelu: bool | None) -> Any:
    overrides = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    try:
        with quiet():
            # create_model warns that weights are random; they are loaded afterwards, or random was asked for.
            model = open_clip.create_model(name, pretrained_text=False, load_weights=False, **overrides)
    except Exception as err:  # some towers are other packages', with errors of their own
        raise ModelError(f"{name} cannot be built ({first_line(err)}); choose another --model") from err
    return model.eval()


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a model by open_clip's name.

    Raises:
        ModelError: it cannot be had.
    """
    try:
        tokenizer: Tokenizer = open_clip.get_tokenizer(name)
    except Exception as err:  # those of transformers come from the hub
        raise ModelError(
            f"the tokenizer of {name} cannot be had ({first_line(err)}); set HF_HOME to a hub cache that has it, "
            "or choose another --model"
        ) from err
    return tokenizer


def _ready(name: str, pretrained: str, model: Any, config: Mapping[str, Any], notes: list[str]) -> ClipModel:
    scale = float(model.logit_scale.detach())
    if not abs(scale) < _MOST_LOGIT_SCALE:
        raise ModelError(f"{name}: its logit_scale is {scale:g}, wanted the logarithm of a scale; the file is damaged")
    size = model.visual.image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    default = PreprocessCfg()
    preprocess = Preprocess(
        size=(int(height), int(width)),
        interpolation=config.get("interpolation", default.interpolation),
        resize_mode=config.get("resize_mode", default.resize_mode),
        fill=int(config.get("fill_color", default.fill_color)),
    )
    return ClipModel(
        name=name,
        pretrained=pretrained,
        model=model.requires_grad_(False),
        tokenizer=open_tokenizer(name),
        preprocess=preprocess,
        mean=tuple(map(float, config.get("mean", default.mean))),
        std=tuple(map(float, config.get("std", default.std))),
        logit_scale=math.exp(scale),
        notes=tuple(notes),
    )
