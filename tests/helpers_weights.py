"""A small weight file's content, ways to write, seal and take apart files without the project's writer; refusals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from coder_engine.errors import WeightsError
from coder_engine.weightfile.general_texts import pack_texts
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weightfile.pair_texts import pack_sides
from coder_engine.weights import load_weights

RNG = np.random.default_rng(3)
D = 8
Tensors = dict[str, NDArray[Any]]

META = Metadata(
    labels=("cat", "elk", "büffel", "フクロウ"),
    model="ViT-B-32",
    pretrained="openai",
    tower="ab" * 32,
    preprocess={"size": [224, 224], "interpolation": "bicubic", "resize_mode": "shortest", "fill": 0},
    logit_scale=99.99999237060547,
    margin=0.125,
    texts={"name": "animals", "source": {"writer": "us", "model": None}, "counts": [3, 4]},
    engine_files={"engine.onnx": "cd" * 32},
    versions={"coder-engine": "0.1.0"},
    fidelity={"cosine": 0.9999998807907104, "images": 16},
)
PLAIN = replace(META, texts={})
WITH_ALL = replace(PLAIN, adapter={"norm": "minmax"}, generic={"count": 2})


def normal(*shape: int, dtype: type = np.float32) -> NDArray[Any]:
    return RNG.normal(size=shape).astype(dtype)


def make_tensors(kind: str) -> Tensors:
    """C = 4 classes with 1, 3, 1 and 2 name rows."""
    tensors: Tensors = {
        "bank": normal(4 + 7, D),
        "name_offsets": np.array([0, 1, 4, 5, 7], np.int32),
        "name_weight": np.array([1, 0.5, 0.25, 1 / 3], np.float32),
    }
    if kind == "dense":
        tensors["pair_rows"] = normal(6, D, dtype=np.float16)
    if kind == "sparse":
        tensors["pair_rows"] = normal(3, D, dtype=np.float16)
        tensors["pair_starts"] = np.array([0, 2, 2, 3, 3], np.int64)
        tensors["pair_others"] = np.array([1, 3, 3], np.int32)
    return tensors


def with_large_bank(tensors: Tensors) -> Tensors:
    """A bank whose digest is of three blocks, the last of them half full."""
    names = 5 * 2**19 // (4 * D) - 4
    return tensors | {"bank": normal(4 + names, D), "name_offsets": np.array([0, 1, 4, 5, names], np.int32)}


CLASS_TEXTS = (
    [("name", "a photo of a cat."), ("attribute", 'with "whiskers" \\ é\n')],
    [],
    [],
    [("synonym", "フクロウ")],
)


def with_texts(tensors: Tensors) -> Tensors:
    """Three general texts, two classes without any."""
    return tensors | pack_texts(normal(3, D), CLASS_TEXTS)


def with_pair_texts(tensors: Tensors) -> Tensors:
    """A text or two for each side of each pair."""
    sides = [[f"side {n}"] * (1 + n % 2) for n in range(2 * len(tensors["pair_rows"]))]
    return tensors | pack_sides(normal(sum(map(len, sides)), D, dtype=np.float16), sides)


def with_all(tensors: Tensors) -> Tensors:
    """Every tensor that a file with pairs can have; its metadata are ``WITH_ALL``."""
    adapter = {
        "adapter_keys": normal(3, D),
        "adapter_labels": np.array([0, 0, 2], np.int32),
        "adapter_mean": normal(D),
    }
    return with_pair_texts(with_texts(tensors)) | {"generic_texts": normal(2, D), **adapter}


# The format written out once more, so that a change of it is noticed.


MAPPED = (
    "pair_rows", "texts", "text_sentences", "pair_texts", "pair_sentences", "generic_texts", "adapter_keys",
)  # fmt: skip


def sha256(*arrays: NDArray[Any]) -> str:
    parts = []
    for array in arrays:
        data = array.tobytes()
        parts.append(f"{array.dtype.str}{array.shape}".encode())
        parts += [hashlib.sha256(data[at : at + 2**20]).digest() for at in range(0, len(data), 2**20)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def with_digests(meta: Metadata, tensors: Tensors) -> Metadata:
    return replace(meta, digests={name: sha256(tensors[name]) for name in MAPPED if name in tensors})


def seal(path: Path, header: dict[str, str], tensors: Tensors) -> None:
    """Write any content under the digest that belongs to it."""
    text = "\0".join(header.get(key, "") for key in ("format", "format_version", "coder")).encode()
    covered = [tensors[name] for name in sorted(tensors) if name not in MAPPED]
    digest = sha256(np.frombuffer(text, np.uint8), *covered)
    save_file(tensors, path, metadata={**header, "digest": digest})


def header_of(meta: Metadata, **changes: str) -> dict[str, str]:
    return {"format": "coder-engine weights", "format_version": "3", "coder": meta.to_json(), **changes}


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors' bytes of a safetensors file."""
    content = path.read_bytes()
    body = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:body]), content[body:]


def join(path: Path, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def place(path: Path, name: str) -> tuple[int, int]:
    """Where the bytes of a tensor start and end in the file."""
    header, body = split(path)
    start, end = header[name]["data_offsets"]
    offset = path.stat().st_size - len(body)
    return offset + start, offset + end


def damage(path: Path, name: str, at: float = 0) -> None:
    """Flip a bit of a tensor, from its first byte (0) to its last (1)."""
    start, end = place(path, name)
    content = bytearray(path.read_bytes())
    content[start + int(at * (end - start - 1))] ^= 1
    path.write_bytes(content)


def refusal(path: Path) -> str:
    """What is said of a weight file that does not open."""
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "export" in message
    return message
