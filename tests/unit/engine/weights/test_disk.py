"""A weight file is replaced whole or not at all, whatever the disk does."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

import coder_engine.weights as weights_module
from coder_engine.errors import WeightsError
from coder_engine.weights import save_weights
from helpers_weights import PLAIN, make_tensors


@pytest.mark.parametrize("old", [True, False], ids=["over an old file", "first time"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path, old: bool) -> None:
    resource = pytest.importorskip("resource")
    if old:
        save_weights(path, PLAIN, make_tensors("sparse"))
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert list(before) == ([path.name] if old else [])
    # A limit on the size of files fails as a full disk does: a write comes back short, the next with an error.
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from coder_engine.weightfile import general_texts
from coder_engine.errors import WeightsError
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import save_weights
meta = Metadata(labels=("cat",), model="m", pretrained="p", tower="t", preprocess={{}}, logit_scale=1.0)
tensors = {{"bank": np.ones((2, 300_000)), "name_offsets": np.array([0, 1]), "name_weight": np.ones(1)}}
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))
try:
    save_weights(Path(sys.argv[1]), meta, tensors)
except WeightsError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written (")
    assert done.stdout.endswith("); free space or choose another --out\n")
    assert "File too large" in done.stdout
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_writer_that_stops_half_way_never_touches_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_half_way(tensors: dict[str, object], scratch: Path, metadata: dict[str, str]) -> None:
        Path(scratch).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(weights_module, "save_file", stop_half_way)
    with pytest.raises(WeightsError, match=r"cannot be written \(.*No space left on device\); free space"):
        save_weights(saved, PLAIN, make_tensors("dense"))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"cannot be written \(.*No such file.*\); free space or choose another --out"
    ):
        save_weights(tmp_path / "missing" / "w.safetensors", PLAIN, make_tensors("dense"))


def test_a_folder_in_the_way(path: Path) -> None:
    path.mkdir()
    with pytest.raises(WeightsError, match=r"cannot be written \(.*Is a directory"):
        save_weights(path, PLAIN, make_tensors("dense"))
    assert list(path.parent.iterdir()) == [path]
