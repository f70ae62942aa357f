"""Names, tags, checkpoints and the hub: the weights that were meant are the weights that load."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from safetensors.torch import save_file  # noqa: E402

from coder_engine.errors import ModelError  # noqa: E402
from coder_export import model  # noqa: E402
from coder_export.checkpoint import load_into, read_checkpoint  # noqa: E402
from coder_export.model import ClipModel, open_model, resolve_name  # noqa: E402
from fake_hub import fake_hub  # noqa: E402

REPOSITORIES = {
    "openai": "timm/vit_base_patch32_clip_224.openai",
    "laion2b_s34b_b79k": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
}


@pytest.fixture(scope="module")
def vit_b32() -> ClipModel:
    return open_model("ViT-B/32", "random", seed=7)


@pytest.fixture(scope="module")
def state(vit_b32: ClipModel) -> dict[str, torch.Tensor]:
    """The random weights in half precision, as OpenAI ships them."""
    return {key: value.half().contiguous() for key, value in vit_b32.model.state_dict().items()}


@pytest.fixture(scope="module")
def safetensors_file(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "open_clip_model.safetensors"
    save_file(state, path)
    return path


def same_weights(clip: ClipModel, state: dict[str, torch.Tensor]) -> bool:
    own = clip.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key].float()) for key in own)


def quick_gelus(clip: ClipModel) -> int:
    return sum(isinstance(module, open_clip.transformer.QuickGELU) for module in clip.model.modules())


def test_a_tower_is_its_layers_and_not_how_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = open_model("coder-tiny")
    before = clip.tower()
    monkeypatch.setattr(torch.nn.ReLU, "extra_repr", lambda self: "as another version of torch prints it")
    assert clip.tower() == before
    clip.visual.act1 = open_clip.transformer.QuickGELU()
    assert clip.tower() != before


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("ViT-B/32", "ViT-B-32"),
        ("vit-b-16", "ViT-B-16"),
        ("ViT-L/14@336px", "ViT-L-14-336"),
        ("RN50", "RN50"),
        ("RN50x4", "RN50x4"),
        ("coder-tiny", "coder-tiny"),
    ],
)
def test_names_of_open_clip_and_openai(given: str, wanted: str) -> None:
    assert resolve_name(given) == wanted


def test_wrong_name_gets_near_misses() -> None:
    with pytest.raises(ModelError, match=r"no model is called 'ViT-B/61'; near it are .*ViT-B-16"):
        resolve_name("ViT-B/61")


def test_wrong_tag_gets_near_misses() -> None:
    with pytest.raises(ModelError, match=r"no pretrained tag or file 'opnai'; did you mean openai\?"):
        open_model("ViT-B/32", "opnai")


def test_random_weights_are_said_loudly_and_seeded(vit_b32: ClipModel) -> None:
    assert "random weights" in vit_b32.notes[0]
    assert open_model("ViT-B/32", "random", seed=7).tower() == vit_b32.tower()
    assert open_model("ViT-B/32", "random", seed=8).tower() != vit_b32.tower()


def test_safetensors_file(safetensors_file: Path, state: dict[str, torch.Tensor]) -> None:
    clip = open_model("ViT-B/32", str(safetensors_file))
    assert same_weights(clip, state)
    assert quick_gelus(clip) == 0


def test_plain_state_dict_and_training_checkpoint(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    for name, content in {"plain.pt": state, "training.pt": wrapped}.items():
        torch.save(content, tmp_path / name)
        assert same_weights(open_model("ViT-B/32", str(tmp_path / name)), state)


def test_openai_layout_brings_quickgelu(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    extras = {
        name: torch.tensor(value)
        for name, value in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408))
    }
    torch.save({**state, **extras}, tmp_path / "ViT-B-32.pt")
    clip = open_model("ViT-B/32", str(tmp_path / "ViT-B-32.pt"))
    assert same_weights(clip, state)
    assert quick_gelus(clip) == 24
    assert "OpenAI layout" in clip.notes[0]


class _Archived(torch.nn.Module):
    """A module tree whose TorchScript archive holds parameters and buffers under dotted names."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).half()
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.5))
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.logit_scale


def test_openai_torchscript_archive_is_read_without_running_it(tmp_path: Path) -> None:
    module = _Archived().eval()
    path = tmp_path / "archive.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; OpenAI's downloads stay what they are
        torch.jit.save(torch.jit.trace(module, torch.zeros(1)), path)
    state, layout = read_checkpoint(path)
    wanted = module.state_dict()
    del wanted["input_resolution"]
    assert layout == "OpenAI"
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key].to(value.dtype), value) for key, value in wanted.items())


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("archive", [False, True])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, archive: bool) -> None:
    target, path = tmp_path / "ran", tmp_path / "evil.pt"
    if archive:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("evil/constants.pkl", b"")
            file.writestr("evil/data.pkl", pickle.dumps({"weight": _Payload(target)}))
    else:
        torch.save({"weight": _Payload(target)}, path)
    with pytest.raises(ModelError, match="no readable checkpoint"):
        open_model("ViT-B/32", str(path))
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_checkpoint(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged.*no readable checkpoint"):
        open_model("ViT-B/32", str(path))


HOSTILE = {
    "an index that takes two arguments for four": b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI2\ntR.",
    "a number for a storage": b"I1\nQ.",
    "an empty stack": b"0.",
    "an attribute of nothing": b"N}(S'a'\nI1\nub.",
    "no index": None,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_crafted_archive(tmp_path: Path, name: str) -> None:
    path, index = tmp_path / "crafted.pt", HOSTILE[name]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/constants.pkl", b"")
        if index is not None:
            file.writestr("x/data.pkl", index)
    with pytest.raises(ModelError, match=r"crafted\.pt: (no readable checkpoint \(\S|holds no tensors)"):
        open_model("ViT-B/32", str(path))


@pytest.mark.parametrize("content", [{0: torch.zeros(1)}, {"state_dict": 5}, {"state_dict": [1]}, [1], {}])
def test_a_pt_file_of_something_else(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"other\.pt: (no readable checkpoint \(\S|holds no tensors)"):
        open_model("ViT-B/32", str(tmp_path / "other.pt"))


def test_tensors_of_impossible_shapes(vit_b32: ClipModel, state: dict[str, torch.Tensor]) -> None:
    for key, value in (("logit_scale", torch.zeros(3)), ("positional_embedding", torch.zeros(()))):
        with pytest.raises(ModelError, match="here: the weights do not fit"):
            load_into(vit_b32.model, {**state, key: value}, where="here")


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "ViT-B-16-SigLIP"])
def test_a_model_that_needs_transformers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=rf"{name} reads its texts by .*transformers, .*pip install transformers"):
        open_model(name, "random")


@pytest.mark.parametrize(
    ("broken", "said"),
    [("create_model", "ViT-B-32 cannot be built"), ("get_tokenizer", "the tokenizer of ViT-B-32 cannot be had")],
)
def test_an_architecture_that_open_clip_cannot_make(monkeypatch: pytest.MonkeyPatch, broken: str, said: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the hub is out of reach\nlonger")

    monkeypatch.setattr(open_clip, broken, fail)
    with pytest.raises(ModelError, match=said + r" \(the hub is out of reach\); \S"):
        open_model("ViT-B/32", "random")


def test_checkpoint_of_another_architecture(safetensors_file: Path) -> None:
    with pytest.raises(ModelError, match=r"into RN50: the weights do not fit .*give --model the architecture"):
        open_model("RN50", str(safetensors_file))


POSITIONS = {
    "larger images": (
        "visual.positional_embedding",
        (65, 768),
        "positions of 8x8 patches, wanted 7x7; give --model the n",
    ),
    "smaller images": ("visual.positional_embedding", (17, 768), "positions of 4x4 patches, wanted 7x7; give --model"),
    "no square": (
        "visual.positional_embedding",
        (57, 768),
        "positions of 57 patches, wanted 7x7; give --model the name",
    ),
    "longer texts": ("positional_embedding", (248, 512), "positions of 248 tokens, wanted 77; give --model the arch"),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_are_not_interpolated(vit_b32: ClipModel, state: dict[str, torch.Tensor], name: str) -> None:
    key, shape, said = POSITIONS[name]
    before = vit_b32.tower()
    with pytest.raises(ModelError, match=f"here: the weights do not fit: {said}"):
        load_into(vit_b32.model, {**state, key: torch.zeros(shape)}, where="here")
    assert vit_b32.tower() == before


def test_positions_of_a_text_tower_of_its_own() -> None:
    size = {"layers": 1, "width": 32, "head_width": 32, "image_size": 32, "patch_size": 16}
    long, short = (
        open_clip.CustomTextCLIP(32, size, {"width": 32, "layers": 1, "heads": 1, "context_length": context})
        for context in (16, 8)
    )
    with pytest.raises(
        ModelError, match="here: the weights do not fit: positions of 16 tokens, wanted 8; give --model"
    ):
        load_into(short, long.state_dict(), where="here")
    load_into(long, long.state_dict(), where="here")


def test_missing_and_superfluous_tensors_are_refused(vit_b32: ClipModel, state: dict[str, torch.Tensor]) -> None:
    less = {key: value for key, value in state.items() if key != "visual.proj"}
    with pytest.raises(ModelError, match=r"do not fit \(Missing key.*visual\.proj"):
        load_into(vit_b32.model, less, where="here")
    with pytest.raises(ModelError, match=r"do not fit \(Unexpected key.*surplus"):
        load_into(vit_b32.model, {**state, "surplus": torch.zeros(1)}, where="here")


def test_no_such_checkpoint_file() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pt: no such checkpoint file"):
        open_model("ViT-B/32", "openai", checkpoint=Path("nowhere.pt"))


def test_tag_with_a_file_takes_the_tags_activation(safetensors_file: Path, state: dict[str, torch.Tensor]) -> None:
    openai = open_model("ViT-B/32", "openai", checkpoint=safetensors_file)
    laion = open_model("ViT-B/32", "laion2b_s34b_b79k", checkpoint=safetensors_file)
    assert same_weights(openai, state)
    assert (quick_gelus(openai), quick_gelus(laion)) == (24, 0)
    assert openai.tower() != laion.tower()


def test_a_tag_that_says_nothing_leaves_the_activation_to_the_architecture(
    safetensors_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "_tag_config", lambda name, tag: {"hf_hub": "some/repository"})
    clip = open_model("ViT-B-32-quickgelu", "some-tag", checkpoint=safetensors_file)
    assert quick_gelus(clip) == 24
    assert clip.notes == ("some-tag weights, QuickGELU",)
    assert quick_gelus(open_model("ViT-B/32", "some-tag", checkpoint=safetensors_file)) == 0


@pytest.mark.parametrize("value", [1e4, -1e4, float("nan")])
def test_a_damaged_scale(state: dict[str, torch.Tensor], tmp_path: Path, value: float) -> None:
    save_file(
        {**{key: own.clone() for key, own in state.items()}, "logit_scale": torch.tensor(value)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(
        ModelError, match=r"its logit_scale is .*, wanted the logarithm of a scale; the file is damaged"
    ):
        open_model("ViT-B/32", str(tmp_path / "a.safetensors"))


def test_safetensors_by_its_content(safetensors_file: Path, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    shutil.copy(safetensors_file, tmp_path / "clip.pt")
    assert same_weights(open_model("ViT-B/32", str(tmp_path / "clip.pt")), state)


def test_more_than_tensors_is_told_in_our_words(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / "training.pt")
    wanted = r"training\.pt: no readable checkpoint \(it holds more than tensors, which are not read as they could"
    with pytest.raises(ModelError, match=wanted):
        open_model("ViT-B/32", str(tmp_path / "training.pt"))


def test_preprocessing_follows_the_tag(tmp_path: Path) -> None:
    path = tmp_path / "mobile.safetensors"
    own = open_model("MobileCLIP2-S0", "random").model.state_dict()
    save_file({key: value.clone() for key, value in own.items()}, path)
    clip = open_model("MobileCLIP2-S0", "dfndr2b", checkpoint=path)
    assert clip.preprocess.interpolation == "bilinear"
    assert (clip.mean, clip.std) == ((0.0,) * 3, (1.0,) * 3)


_OPEN = """
import json, sys, open_clip
from coder_engine.errors import ModelError
from coder_export.model import open_model
try:
    clip = open_model("ViT-B/32", sys.argv[1])
except ModelError as err:
    print(json.dumps({"error": str(err)}))
else:
    quick = sum(isinstance(module, open_clip.transformer.QuickGELU) for module in clip.model.modules())
    print(json.dumps({"tower": clip.tower(), "quick": quick, "mean": clip.mean}))
"""


def open_in_subprocess(tag: str, endpoint: str, cache: Path) -> dict[str, object]:
    """The hub client reads its endpoint when imported, so each endpoint takes a process of its own.

    ``told`` is what it wrote for people.
    """
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, tag], env=env, capture_output=True, text=True, check=True, timeout=300
    )
    return {**json.loads(done.stdout.splitlines()[-1]), "told": done.stderr}


def test_by_tag_through_the_hub_client(safetensors_file: Path, tmp_path: Path) -> None:
    with fake_hub(safetensors_file, list(REPOSITORIES.values())) as (endpoint, log):
        openai = open_in_subprocess("openai", endpoint, tmp_path)
        laion = open_in_subprocess("laion2b_s34b_b79k", endpoint, tmp_path)
    assert any(line.startswith(f"GET /{REPOSITORIES['openai']}/") for line in log)
    assert openai["tower"] == open_model("ViT-B/32", "openai", checkpoint=safetensors_file).tower()
    assert (openai["quick"], laion["quick"]) == (24, 0)


def test_a_hub_out_of_reach_is_asked_once_and_told_in_a_line(tmp_path: Path) -> None:
    answer = open_in_subprocess("openai", "http://127.0.0.1:9", tmp_path)
    assert answer["told"] == ""
    assert answer["error"] == (
        "the weights of ViT-B-32 openai cannot be fetched: http://127.0.0.1:9 is out of reach ([Errno 111] Connection "
        f"refused). Bring open_clip_model.safetensors of {REPOSITORIES['openai']} from a machine with network, and "
        "pass --pretrained openai --checkpoint FILE; or set HF_HOME to a copied hub cache"
    )
