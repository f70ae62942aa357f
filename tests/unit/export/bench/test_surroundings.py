"""coder-bench where something is odd around it: folders that nobody may read, modules of the user's, telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coder_engine.errors import CoderError
from coder_engine.prediction import Fault, Prediction
from coder_export.bench import cli
from coder_export.bench.stages import cold_start


@pytest.mark.parametrize("readable", [[], ["photo.jpg"]])
def test_a_folder_that_nobody_may_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: list[str]
) -> None:
    """What is measured is all that was asked for, or nothing."""

    def failed(*_: Any, **__: Any) -> list[str | Prediction]:
        faults = [Fault(kind="unreadable", message=f"{name}: the folder cannot be read") for name in ("one", "two")]
        rows = [Prediction(label=None, score=None, top=(), reranked=False, path="x", error=fault) for fault in faults]
        return [*readable, *rows]

    monkeypatch.setattr(cli, "Inputs", failed)  # whoever runs the tests may read every folder
    args = cli._parser().parse_args([str(tmp_path), "--engine", str(tiny)])
    with pytest.raises(CoderError, match=r"^one: the folder cannot be read$"):
        cli.measure(args)


def test_a_cold_start_takes_no_module_of_the_current_folder(
    tiny: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not NumPy')")
    monkeypatch.chdir(tmp_path)
    assert cold_start(tiny.resolve(), str(photographs[0].resolve()), {"threads": 1}).first > 0


def test_openvino_as_a_peer_calls_nobody(tiny: Path, photographs: list[Path], tmp_path: Path) -> None:
    """Its telemetry writes ~/intel and asks for its server when OpenVINO is first imported: in a new process."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'coder-engine[openvino]'")
    code = (
        "import sys; from pathlib import Path;"
        "from coder_engine import Engine; from coder_export.bench.peers import Peers;"
        "path, image = map(Path, sys.argv[1:]); engine = Engine(path, backend='onnxruntime', threads=1);"
        "peers = Peers(engine, path, path.with_suffix('.safetensors'), threads=1);"
        "print(peers.calls(('openvino_fp32',), [str(image)])[1]);"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}
    command = [sys.executable, "-c", code, str(tiny), str(photographs[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "{}\n[]\n"
    assert not (home / "intel").exists()
