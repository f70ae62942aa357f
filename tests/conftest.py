"""Fixtures that several folders share: one exported coder-tiny, photographs, and labelled images where they are."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models of tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def labels_file() -> Path:
    return ROOT / "textsets" / "cifar10" / "labels.txt"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, labels_file: Path) -> Path:
    """The engine file of coder-tiny with the cifar10 texts; its weight file, texts kept, lies beside it."""
    pytest.importorskip("open_clip", reason="the build side is not installed: pip install '.[export,cpu]'")
    from coder_export.config import ExportConfig
    from coder_export.pipeline import export
    from coder_export.report import Report

    out = tmp_path_factory.mktemp("tiny") / "tiny"
    config = ExportConfig(model="coder-tiny", labels=labels_file, texts="cifar10", out=out, keep_texts=True)
    export(config, Report(quiet=True))
    return config.engine_path


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Photographs that scikit-image carries in its wheel."""
    pytest.importorskip("skimage", reason="scikit-image, whose photographs these tests use, is not installed")
    from coder_export.photographs import sample_photographs

    return sample_photographs()


@pytest.fixture(scope="session")
def cifar_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 2,000 labelled CIFAR-10 test images, one folder a class. They have no licence: not shipped."""
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(_cifar("test_2000.tar.gz")) as tar:
        tar.extractall(folder, filter="data")
    return next(path.parent.parent for path in sorted(folder.rglob("*.jpg")))


@pytest.fixture(scope="session")
def cifar_train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 390 CIFAR-10 training images, of all classes, for what must not see the test images."""
    folder = tmp_path_factory.mktemp("cifar-train")
    wanted = {f"{i:04}.jpg" for i in range(39)}
    with tarfile.open(_cifar("train.tar.gz")) as tar:
        some = (member for member in tar if Path(member.name).name in wanted)
        tar.extractall(folder, members=some, filter="data")
    return folder


def _cifar(name: str) -> Path:
    data = Path(os.environ.get("CODER_DATA", ROOT / ".." / "shared" / "data"))
    archive = data / "cifar10" / name
    if not archive.is_file():
        pytest.skip(f"no labelled images: {archive} is not there; point CODER_DATA at a folder with cifar10/{name}")
    return archive
