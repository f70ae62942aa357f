"""The choice among backends: what is tried, in which order, and what is said of those that were not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from coder_engine import backends
from coder_engine.backends import BACKENDS, Backend, PassedOver, Unavailable, open_backend
from coder_engine.errors import BackendError, CoderError, EngineError
from coder_engine.machine.available import import_runtime

ENGINE = Path("engine.onnx")


class Fake(Backend):
    """Opens anything, or fails with ``fault``."""

    suffixes = (".onnx",)
    precisions = ("fp32",)
    fault: CoderError | None = None

    @classmethod
    def require(cls) -> str:
        return "Fake 1"

    def _open(self, threads: int, precision: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.opened_with = (threads, precision)

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class Gpu(Fake):
    name, title, device = "plain", "Plain GPU", "cuda"


class Fast(Fake):
    name, title, device, precisions = "fast", "Fast", "cpu", ("bf16", "fp32")


class Plain(Fake):
    name, title, device, suffixes = "plain", "Plain", "cpu", (".onnx", ".ort")


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (Gpu, Fast, Plain))
    for kind in (Gpu, Fast, Plain):
        monkeypatch.setattr(kind, "fault", None)


def chosen(path: Path = ENGINE, **asked: str) -> Backend:
    return open_backend(path, threads=2, **asked)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({}, Gpu),
        ({"device": "cpu"}, Fast),
        ({"device": "cuda"}, Gpu),
        ({"backend": "fast"}, Fast),
        ({"backend": "plain"}, Gpu),
        ({"backend": "plain", "device": "cpu"}, Plain),
        ({"precision": "bf16"}, Fast),
        ({"precision": "fp32"}, Gpu),
    ],
)
def test_the_best_of_those_asked_for(asked: dict[str, str], kind: type[Backend]) -> None:
    found: Any = chosen(**asked)
    assert type(found) is kind
    assert found.passed_over == ()
    assert found.opened_with == (2, asked.get("precision", "auto"))


def test_the_better_ones_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "fault", Unavailable("no GPU", "no GPU; buy one"))
    monkeypatch.setattr(Fast, "fault", EngineError("engine.onnx: operator Foo"))
    found = chosen()
    assert type(found) is Plain
    assert found.passed_over == (
        PassedOver(title="Plain GPU", short="no GPU", reason="no GPU; buy one"),
        PassedOver(title="Fast", short="cannot run this file", reason="engine.onnx: operator Foo"),
    )
    assert [str(item) for item in found.passed_over] == ["Plain GPU (no GPU)", "Fast (cannot run this file)"]
    assert chosen(device="cpu").passed_over == found.passed_over[1:]


def test_what_was_asked_for_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fast, "fault", Unavailable("not installed", "Fast is not installed; install it"))
    with pytest.raises(Unavailable, match=r"^Fast is not installed; install it$"):
        chosen(backend="fast")
    monkeypatch.setattr(Gpu, "fault", Unavailable("no GPU", "no GPU; buy one"))
    with pytest.raises(Unavailable, match=r"^no GPU; buy one$"):
        chosen(device="cuda")


def test_nothing_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Gpu, Fast, Plain):
        monkeypatch.setattr(kind, "fault", Unavailable("gone", f"{kind.title} is gone"))
    wanted = (
        r"^nothing here runs this engine\. Plain GPU: Plain GPU is gone\. Fast: Fast is gone\. Plain: Plain is gone$"
    )
    with pytest.raises(BackendError, match=wanted):
        chosen()


def test_a_fault_of_the_file_comes_before_one_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "fault", EngineError("GPU: damaged"))
    monkeypatch.setattr(Fast, "fault", EngineError("Fast: damaged"))
    monkeypatch.setattr(Plain, "fault", Unavailable("gone", "Plain is gone"))
    with pytest.raises(EngineError, match=r"^Fast: damaged$"):
        chosen()


def test_other_errors_are_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "fault", ZeroDivisionError("a fault of ours"))
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        chosen()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"backend": "abacus"}, r"^backend must be auto or one of plain, fast, got 'abacus'$"),
        ({"device": "tpu"}, r"^device must be auto or one of cpu, cuda, got 'tpu'$"),
        ({"precision": "int1"}, r"^precision must be auto or one of fp32, fp16, bf16, int8, got 'int1'$"),
        (
            {"backend": "fast", "device": "cuda"},
            r"^no backend has backend fast, device cuda, precision auto; there are: plain on cuda in fp32, "
            r"fast on cpu in bf16 or fp32, plain on cpu in fp32$",
        ),
        (
            {"backend": "plain", "precision": "bf16"},
            r"^no backend has backend plain, device auto, precision bf16; there",
        ),
    ],
)
def test_wrong_options(asked: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(**asked)


@pytest.mark.parametrize("name", ["engine.plan", "engine", "engine.onnx.data", "weights.safetensors"])
@pytest.mark.parametrize(("backend", "readable"), [("auto", r"\.onnx, \.ort"), ("fast", r"\.onnx")])
def test_a_file_of_another_kind(name: str, backend: str, readable: str) -> None:
    wanted = rf"^{name}: not a kind of engine file this can run \({readable}\); coder-export makes one$"
    with pytest.raises(EngineError, match=wanted):
        chosen(Path(name), backend=backend)


def test_a_file_that_only_some_read() -> None:
    found = chosen(Path("engine.ort"))
    assert type(found) is Plain
    assert found.passed_over == ()


def test_the_registry() -> None:
    assert [(kind.name, kind.device) for kind in BACKENDS] == [
        ("tensorrt", "cuda"),
        ("onnxruntime", "cuda"),
        ("openvino", "cpu"),
        ("onnxruntime", "cpu"),
    ]
    for kind in BACKENDS:
        assert kind.precisions
        assert all(suffix.startswith(".") for suffix in kind.suffixes)
        assert "auto" not in (kind.name, kind.device, *kind.precisions)


def test_a_folder_that_uninstalling_left_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        Unavailable, match=r"^Left is not installed \(its folder is empty: .*left_behind.*\); install it"
    ):
        import_runtime("left_behind", "Left", "cpu")
