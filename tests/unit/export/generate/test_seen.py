"""Stage 1 on unlabelled images: the first five classes are those of the reference, and bad files are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from coder_engine.errors import TextsError
from coder_engine.images import read_rgb
from coder_export.collapse import GeneralRows, collapse_general
from coder_export.encode import TextEncoder
from coder_export.engine_graph import EngineGraph
from coder_export.generate import seen
from coder_export.generate.seen import candidates
from coder_export.generate.similarity import TextSpace
from coder_export.report import Report
from coder_export.textset import TextSet

torch = pytest.importorskip("torch")

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog")
TEXTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"synonym": ("aeroplane", "plane")},
    {},
    {"attribute": ("a beak",), "analogous": ("bat",)},
    {"attribute": ("whiskers",), "synonym": ("house cat",)},
    {},
    {"attribute": ("a wet nose", "floppy ears")},
    {},
)
TEXTSET = TextSet(name="animals", labels=LABELS, texts=TEXTS, pairs={})
SENTENCES = [TEXTSET.sentences(i) for i in range(len(LABELS))]


@pytest.fixture(scope="module")
def features(space: TextSpace) -> np.ndarray:
    encoder = TextEncoder(model=space.clip.model, tokenizer=space.clip.tokenizer)
    return encoder.encode([sentence.text for own in SENTENCES for sentence in own])


@pytest.fixture(scope="module")
def rows(features: np.ndarray) -> GeneralRows:
    return collapse_general(features, SENTENCES)


def eq_8(space: TextSpace, features: np.ndarray, path: Path) -> list[float]:
    """The heuristic classifier, text by text."""
    pixels = torch.from_numpy(np.asarray(space.clip.preprocess(read_rgb(path)))[None])
    with torch.inference_mode():
        image = EngineGraph(space.clip).eval()(pixels, torch.zeros(1, features.shape[1]))[0].numpy()[0]
    cosines = iter(features @ image)
    logits = []
    for own in SENTENCES:
        found = [(next(cosines), sentence.kind) for sentence in own]
        names = max(cosine for cosine, kind in found if kind in ("name", "synonym"))
        others = [cosine for cosine, kind in found if kind not in ("name", "synonym")]
        logits.append((names + sum(others)) / (len(others) + 1))
    return logits


@pytest.fixture
def folder(photographs: list[Path], tmp_path: Path) -> Path:
    for photograph in photographs[:3]:
        (tmp_path / photograph.name).symlink_to(photograph)
    return tmp_path


def test_the_first_five_of_each_image(
    space: TextSpace, features: np.ndarray, rows: GeneralRows, folder: Path, report: Report
) -> None:
    found = candidates(folder, space.clip, rows, report)
    assert_array_equal(
        found, [np.argsort(-np.array(eq_8(space, features, path)))[:5] for path in sorted(folder.iterdir())]
    )


def test_logits_are_those_of_eq_8() -> None:
    rows = GeneralRows(
        bank=np.zeros((5, 1), np.float32),
        name_offsets=np.array([0, 2, 3], np.int32),
        name_weight=np.array([0.5, 1.0], np.float32),
    )
    coder = np.array([[0.25, 0.0, 0.1, 0.3, 0.2]], np.float32)
    assert_allclose(seen.stage_one(coder, rows), [[0.25 + 0.5 * 0.3, 0.2]], atol=1e-7)


def test_fewer_than_five_classes() -> None:
    assert_array_equal(seen._first(np.array([[0.1, 0.3, 0.2]], np.float32)), [[1, 2, 0]])


def test_batches_hold_what_can_be_read(
    space: TextSpace, rows: GeneralRows, folder: Path, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    whole = candidates(folder, space.clip, rows, report)
    monkeypatch.setattr(seen, "_BATCH", 2)
    assert_array_equal(candidates(folder, space.clip, rows, report), whole)


def test_unreadable_images_are_counted(
    space: TextSpace, rows: GeneralRows, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "broken.jpg").write_bytes(b"no image")
    assert len(candidates(folder, space.clip, rows, Report())) == 3
    assert "  1 of 4 images cannot be read and were left out\n" in capsys.readouterr().out


def test_unreadable_folders_are_told(
    space: TextSpace, rows: GeneralRows, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o000)
    try:
        list(closed.iterdir())
    except PermissionError:
        assert len(candidates(folder, space.clip, rows, Report())) == 3
        assert f"  {closed}: the folder cannot be read" in capsys.readouterr().out
    else:
        pytest.skip("this user may read every folder")
    finally:
        closed.chmod(0o700)


def test_no_such_folder(space: TextSpace, rows: GeneralRows, tmp_path: Path, report: Report) -> None:
    with pytest.raises(TextsError, match=r"--pairs seen:.*/nowhere: no such folder; give one with images"):
        candidates(tmp_path / "nowhere", space.clip, rows, report)


def test_a_folder_without_images(space: TextSpace, rows: GeneralRows, tmp_path: Path, report: Report) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(TextsError, match=r"--pairs seen:.*: no images in "):
        candidates(tmp_path, space.clip, rows, report)


def test_no_readable_image(space: TextSpace, rows: GeneralRows, tmp_path: Path, report: Report) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(TextsError, match=r"--pairs seen:.*: no readable image in it$"):
        candidates(tmp_path, space.clip, rows, report)
