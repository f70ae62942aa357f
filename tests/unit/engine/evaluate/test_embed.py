"""Images are read once, encoded once, and what cannot be read is told."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image

from coder_engine.errors import DataError
from coder_engine.evaluate import cache, embed
from coder_engine.evaluate.cache import FeatureCache, features_folder
from coder_engine.evaluate.embed import embed_images
from coder_engine.evaluate.images_source import ImageSource


class Colours:
    """Stands in for Engine: the feature of an image is its mean colour, of unit length."""

    def __init__(self) -> None:
        self.encoded = 0

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(image.resize((2, 2)))

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.encoded += len(pixels)
        means = pixels.reshape(len(pixels), -1, 3).mean(axis=1).astype(np.float32)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def pictures(folder: Path, count: int) -> list[str]:
    paths = [folder / f"{n:03}.png" for n in range(count)]
    for n, path in enumerate(paths):
        Image.new("RGB", (4, 4), (10 + n % 200, 100, 250 - n % 100)).save(path)
    return [str(path) for path in paths]


def run(engine: Any, paths: list[str], cache: FeatureCache, **options: Any) -> embed.Embedded:
    return embed_images(engine, paths, list(range(len(paths))), cache, workers=2, **options)


def test_features_labels_and_digests_in_order(tmp_path: Path) -> None:
    paths, calls = pictures(tmp_path, 70), []
    found = run(Colours(), paths, FeatureCache(None), advance=lambda: calls.append(1))
    assert found.data.labels.tolist() == list(range(70))
    assert found.data.paths == tuple(paths)
    assert found.data.digests[3] == hashlib.sha256(Path(paths[3]).read_bytes()).digest()
    wanted = np.array([13.0, 100.0, 247.0])
    assert_allclose(found.data.features[3], wanted / np.linalg.norm(wanted), atol=1e-6)
    assert (len(calls), found.computed, found.failed) == (70, 70, ())


def test_what_is_known_is_not_computed_again(tmp_path: Path) -> None:
    paths, engine = pictures(tmp_path, 40), Colours()
    first = run(engine, paths, FeatureCache(tmp_path / "cache"))
    again = run(engine, paths, FeatureCache(tmp_path / "cache"))
    assert (engine.encoded, first.computed, again.computed) == (40, 40, 0)
    assert_allclose(again.data.features, first.data.features)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(paths[7])  # the content counts, not the name
    assert run(engine, paths, FeatureCache(tmp_path / "cache")).computed == 1


def test_equal_images_are_encoded_once(tmp_path: Path) -> None:
    paths, engine = pictures(tmp_path, 1), Colours()
    found = run(engine, paths * 5, FeatureCache(None))
    assert (engine.encoded, len(found.data)) == (1, 5)


def test_a_stopped_run_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_KEEP_EVERY", 32)
    paths, engine, seen = pictures(tmp_path, 100), Colours(), []

    def stop() -> None:
        seen.append(1)
        if len(seen) == 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(engine, paths, FeatureCache(tmp_path / "cache"), advance=stop)
    assert run(engine, paths, FeatureCache(tmp_path / "cache")).computed == 100 - 64


def test_images_that_cannot_be_read_are_told_and_left_out(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)
    Path(paths[1]).write_bytes(b"no image")
    paths += [str(tmp_path / "gone.png"), str(tmp_path / "no\0name.png")]
    found = run(Colours(), paths, FeatureCache(None))
    assert found.data.labels.tolist() == [0, 2]
    assert [path for path, _ in found.failed] == [paths[1], *paths[3:]]
    assert "001.png" in found.failed[0][1]
    assert "gone.png: No such file or directory; check the path" in found.failed[1][1]
    assert "embedded null byte; check the path" in found.failed[2][1]


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 1 image could be read; the first: .*gone"):
        run(Colours(), [str(tmp_path / "gone.png")], FeatureCache(None))


def test_a_damaged_cache_file_is_computed_again(tmp_path: Path) -> None:
    paths, engine, folder = pictures(tmp_path, 4), Colours(), tmp_path / "cache"
    run(engine, paths, FeatureCache(folder))
    file = next(folder.glob("*.npz"))
    file.write_bytes(file.read_bytes()[:100])
    cache = FeatureCache(folder)
    source: Any = ImageSource(engine, cache, advance=lambda _: lambda: None)
    assert source.notes == [f"{file}: damaged, computed again; delete it"]
    assert run(engine, paths, cache).computed == 4


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache, paths, engine = FeatureCache(tmp_path / "file" / "cache"), pictures(tmp_path, 3), Colours()
    assert len(run(engine, paths[:2], cache).data) == 2
    assert run(engine, paths, cache).computed == 1  # known all the same
    assert len(cache.notes) == 1
    assert "file/cache: features are not kept (" in cache.notes[0]
    assert cache.notes[0].endswith("; free space, or pass --no-cache")


def folder(where: Path, name: str = "a", backend: str = "ORT 1, CPU, fp32, 2 threads", **meta: Any) -> Path | None:
    (where / f"{name}.onnx").write_text(name)
    engine: Any = SimpleNamespace(path=where / f"{name}.onnx", description=f"{backend}; model; 10 classes")
    weights: Any = SimpleNamespace(meta=SimpleNamespace(**{"tower": "t", "preprocess": {"size": 64}, **meta}))
    return features_folder(engine, weights)


def test_another_engine_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    first = folder(tmp_path)
    assert first == folder(tmp_path)
    assert first is not None
    assert first.parent == tmp_path / "xdg" / "coder-engine" / "features"
    others = {
        folder(tmp_path, "b"),
        folder(tmp_path, backend="ORT 1, CPU, bf16, 2 threads"),
        folder(tmp_path, backend="ORT 2, CPU, fp32, 2 threads"),
        folder(tmp_path, tower="u"),
        folder(tmp_path, preprocess={"size": 32}),
    }
    assert len({first, *others}) == 6


@pytest.mark.parametrize("reader", [(PIL, "__version__"), (cache, "__version__")])
def test_another_reader_of_images_has_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: tuple[ModuleType, str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    first = folder(tmp_path)
    monkeypatch.setattr(*reader, "99.0")
    assert folder(tmp_path) != first


def test_threads_change_no_feature_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert folder(tmp_path) == folder(tmp_path, backend="ORT 1, CPU, fp32, 1 thread, not cached")


def test_no_folder_where_none_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert folder(tmp_path) is None

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert folder(tmp_path) is None
