"""Read CLIP weights from a local file without running anything in it.

Three layouts: open_clip's (.safetensors, or .pt with a plain state dict), the same inside a training checkpoint, and
OpenAI's own. OpenAI's downloads are TorchScript archives; loading those the usual way runs the program inside, so here
only the tensors are read: the archive's index goes through an unpickler that can make tensors and plain records, and
nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors.torch import load_file

from coder_engine.errors import ModelError
from coder_engine.machine.available import first_line

State = dict[str, torch.Tensor]
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")
_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def read_checkpoint(path: Path) -> tuple[State, str]:
    """The state dict in ``path``, float32, and its layout: "open_clip" or "OpenAI".

    Raises:
        ModelError: the file is damaged, of another kind, or holds more than tensors.
    """
    try:
        read = load_file(path) if _is_safetensors(path) else _read_pt(path)
    except Exception as err:  # a damaged or crafted pickle can raise whatever it likes
        # torch's own words end in how to read the file all the same, by running what is in it.
        unsafe = isinstance(err, pickle.UnpicklingError) and "weights_only" in str(err)
        why = "it holds more than tensors, which are not read as they could run code" if unsafe else first_line(err)
        raise ModelError(
            f"{path}: no readable checkpoint ({why}); give a .safetensors file, or a .pt of tensors only"
        ) from err
    tensors = {key: value for key, value in read.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    state = {key.removeprefix("module."): value for key, value in tensors.items()}
    if not state:
        raise ModelError(f"{path}: holds no tensors; give a CLIP checkpoint")
    layout = "OpenAI" if any(key in state for key in _OPENAI_EXTRAS) else "open_clip"
    kept = {key: value for key, value in state.items() if key not in _OPENAI_EXTRAS}
    return {key: value.float() if value.is_floating_point() else value for key, value in kept.items()}, layout


def _is_safetensors(path: Path) -> bool:
    """By its content: a length, then JSON."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def load_into(model: torch.nn.Module, state: State, *, where: str) -> None:
    """Load ``state`` into ``model``, converting other projects' layouts as open_clip does, and refusing any misfit.

    Raises:
        ModelError: a tensor is missing, superfluous or of another shape.
    """
    try:
        ready = _converted(model, state)
        other = _other_positions(model, ready)
        if other is None:
            model.load_state_dict(ready, strict=True)
    except Exception as err:  # open_clip's conversions index into tensors whose shapes are the file's
        lines = str(err).strip().splitlines()
        detail = "; ".join(line.strip()[:160] for line in lines[1:4]) or first_line(err)
        raise ModelError(
            f"{where}: the weights do not fit ({detail}); give --model the architecture of the file"
        ) from err
    if other is not None:
        raise ModelError(f"{where}: the weights do not fit: {other}")


def _converted(model: torch.nn.Module, state: State) -> State:
    state = convert_state_dict(model, dict(state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    scale = getattr(model, "logit_scale", None)
    if scale is not None and "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(scale.shape)
    state = {key: value for key, value in state.items() if not key.endswith("attn_mask")}
    return state


def _other_positions(model: torch.nn.Module, state: State) -> str | None:
    """How the positions of a file of the same width differ; interpolated, as open_clip does, they are another model."""
    own = model.state_dict()
    for key, what, count, cure in _POSITIONS:
        got, wanted = (tensors[key].shape if key in tensors else None for tensors in (state, own))
        if got and wanted and got[0] != wanted[0] and got[1:] == wanted[1:]:
            return f"positions of {count(got[0])} {what}, wanted {count(wanted[0])}; {cure}"
    return None


def _grid(rows: int) -> str:
    """That of an image tower's positions, the first of which is the class token's."""
    side = math.isqrt(rows - 1)
    return f"{side}x{side}" if side * side == rows - 1 else str(rows)


_RESOLUTION = "give --model the name of the file's resolution and patch size, as ViT-L-14-336 is that of 24x24"
_CONTEXT = "give --model the architecture of the file, with its context length"
_POSITIONS = (
    ("visual.positional_embedding", "patches", _grid, _RESOLUTION),
    ("positional_embedding", "tokens", str, _CONTEXT),
    ("text.positional_embedding", "tokens", str, _CONTEXT),
)


def _read_pt(path: Path) -> dict[str, Any]:
    if _is_torchscript(path):
        return _read_torchscript(path)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"a {type(checkpoint).__name__}, wanted a state dict")
    inner = checkpoint.get("state_dict", checkpoint)
    if not isinstance(inner, dict):
        raise ValueError(f"its state_dict is a {type(inner).__name__}, wanted a state dict")
    return inner


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


class _Record(dict[str, Any]):
    """Stands in for every class of the archived program: keeps attributes, runs nothing."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)


class _TensorsOnly(pickle.Unpickler):
    """Resolves tensors and plain records; whatever else the file names is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Record
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":  # type tags of lists: build_intlist, restore_type_tag, ...
            return _first_argument
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"refused {module}.{name}: a checkpoint may hold tensors only")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


def _rebuild_tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _first_argument(value: Any, *_: Any) -> Any:
    return value


def _read_torchscript(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        roots = [name.rsplit("/", 1)[0] for name in archive.namelist() if name.endswith("/data.pkl")]
        if not roots:
            raise ValueError("an archive without data.pkl")
        root = roots[0]
        top = _TensorsOnly(archive, root).load()
    return dict(_flatten(top, ""))


def _flatten(record: Any, prefix: str) -> list[tuple[str, torch.Tensor]]:
    found: list[tuple[str, torch.Tensor]] = []
    for key, value in record.items() if isinstance(record, dict) else ():
        if isinstance(value, torch.Tensor):
            found.append((prefix + key, value))
        else:
            found += _flatten(value, f"{prefix}{key}.")
    return found
