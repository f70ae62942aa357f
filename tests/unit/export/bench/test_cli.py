"""coder-bench on coder-tiny: figures of every stage, peers and their reasons, the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coder_export.bench import cli
from coder_export.bench.stages import STAGES, cold_start


@pytest.fixture(scope="module")
def arguments(tiny: Path, photographs: list[Path]) -> list[str]:
    return [str(photographs[0]), "--engine", str(tiny), "--batch", "1,2", "--seconds", "0.1", "--threads", "1"]


@pytest.fixture(scope="module")
def figures(arguments: list[str]) -> dict[str, Any]:
    args = cli._parser().parse_args([*arguments, "--peers", "open_clip,onnxruntime,torch_bf16,numpy,loop"])
    return cli.measure(args)


def test_every_stage_and_peer_has_figures(figures: dict[str, Any]) -> None:
    for batch in figures["batches"]:
        times = batch["ms"]
        assert set(STAGES) < set(times)
        assert len(times) == len(STAGES) + 5
        assert all(0 < row["p50"] <= row["p90"] <= row["p99"] for row in times.values())
        assert batch["images_per_second"] > 0
        assert batch["skipped"] == {}
    assert [batch["batch"] for batch in figures["batches"]] == [1, 2]
    # The whole is at least its dearest parts, whatever the noise.
    one = figures["batches"][0]["ms"]
    assert one["total"]["p99"] > one["decode"]["p50"] / 2


def test_a_cold_start_has_all_its_parts(figures: dict[str, Any]) -> None:
    cold = figures["cold_start"]
    assert min(cold["imported"], cold["opened"], cold["warmed"], cold["first"]) > 0
    assert cold["peak_mb"] > 20


def test_the_table_has_a_row_for_each(figures: dict[str, Any]) -> None:
    lines = cli.table(figures).splitlines()
    assert sum(line.startswith("peer: ") for line in lines) == 10
    assert sum(line.startswith("total") for line in lines) == 2
    assert any("peak memory" in line for line in lines)
    assert sum(line.startswith("label swap: ") for line in lines) == 1


def test_figures_belong_to_a_machine(figures: dict[str, Any]) -> None:
    import numpy

    machine = figures["machine"]
    assert machine["versions"]["numpy"] == numpy.__version__
    assert machine["cpus"] >= 1
    assert json.loads(json.dumps(machine)) == machine
    assert figures["label_swap_ms"] > 0
    assert all(batch["warm_up_ms"] > 0 for batch in figures["batches"])


def test_what_is_asked_of_the_engine_is_passed_on(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("backend", "device", "precision"):
        assert cli.main([*arguments, f"--{option}", "none"]) == 1
        assert f"{option} must be auto or one of" in capsys.readouterr().err
    assert cli.main([*arguments, "--batch", "1", "--backend", "onnxruntime", "--precision", "fp32"]) == 0
    out, err = capsys.readouterr()
    assert "ONNX Runtime" in out.splitlines()[0]
    assert "coder-bench: B = 1: 0.1 s" in err


def test_a_peer_that_cannot_run_says_why(
    arguments: list[str], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    args = cli._parser().parse_args([*arguments, "--batch", "1", "--peers", "openvino_bf16,open_clip_fp16"])
    found = cli.measure(args)
    missing, slow = found["batches"][0]["skipped"].values()
    assert "openvino" in missing
    assert "on a GPU" in slow
    assert "left out" in cli.table(found)


def test_json_and_the_gate(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    for batch in before["batches"]:
        batch["ms"]["total"]["p50"] *= 1e3
        batch["images_per_second"] /= 1e3
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(before))
    assert cli.main([*arguments, "--baseline", str(slow)]) == 0
    for batch in before["batches"]:
        batch["ms"]["total"]["p50"] /= 1e6
    slow.write_text(json.dumps(before))
    assert cli.main([*arguments, "--baseline", str(slow)]) == 2
    assert "by more than 10%: B = 1: latency +" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--peers", "tensorflow"], "peers are open_clip"),
        (["--batch", "0"], "batch sizes are 1 or more"),
        (["--batch", "x"], "invalid _sizes value"),
    ],
)
def test_wrong_usage_ends_in_one(
    wrong: list[str], said: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, *wrong])
    assert caught.value.code == 1
    assert said in capsys.readouterr().err


def test_errors_are_told(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([arguments[0], "--engine", str(tmp_path / "none.onnx")]) == 1
    assert "no such engine file" in capsys.readouterr().err
    assert cli.main([*arguments, "--baseline", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_a_process_that_fails_says_so(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(cli.CoderError, match="a fresh process could not run it"):
        cold_start(tmp_path / "none.onnx", "x.jpg", {})
