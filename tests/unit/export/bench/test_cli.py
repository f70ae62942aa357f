"""coder-bench on coder-tiny: figures of every stage, peers and their reasons, the gate."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from coder_engine import Engine, __version__
from coder_engine.errors import EngineError, ImageError
from coder_export import model
from coder_export.bench import cli
from coder_export.bench.baseline import by_content, doubts, read_baseline, worse_than
from coder_export.bench.peers import PEERS, Peers
from coder_export.bench.stages import cold_start, throughput
from coder_export.measure import Call
from coder_export.precision import mark

STAGES = ("decode", "preprocess", "encode", "head", "total")


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
    assert not any(line.endswith(" ") for line in lines)


def test_a_table_without_peers_has_no_room_for_them(figures: dict[str, Any]) -> None:
    batch = figures["batches"][0]
    own = {name: batch["ms"][name] for name in STAGES}
    lines = cli.table({**figures, "batches": [{**batch, "ms": own}]}).splitlines()
    (head,) = (line for line in lines if line.startswith("ms "))
    assert head == "ms              p50      p90      p99"
    assert "timed apart" in lines[-1]


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


def test_a_peer_that_cannot_run_says_why(arguments: list[str], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    args = cli._parser().parse_args([*arguments, "--batch", "1", "--peers", "openvino_bf16,open_clip_fp16"])
    found = cli.measure(args)
    missing, slow = found["batches"][0]["skipped"].values()
    assert "openvino" in missing
    assert "on a GPU" in slow
    assert "left out" in cli.table(found)


RUN: dict[str, Any] = {
    "setup": {
        "model": "coder-tiny (cifar10)",
        "labels": "10 classes and 45 pairs",
        "backend": "ONNX Runtime",
        "device": "cpu",
        "precision": "fp32",
    },
    "seconds": 20.0,
    "threads": 2,
    "machine": {"cpu": "one", "cpus": 2, "gpus": []},
}


@pytest.fixture(scope="module", autouse=True)
def _same_images(photographs: list[Path]) -> None:
    RUN["setup"]["images"] = by_content([str(photographs[0])])


def baseline(path: Path, **sizes: tuple[float, float]) -> Path:
    """A file of earlier figures: by batch size, the p50 of the total in ms and images a second."""
    batches = [
        {"batch": int(size[1:]), "ms": {"total": {"p50": p50}}, "images_per_second": rate}
        for size, (p50, rate) in sizes.items()
    ]
    path.write_text(json.dumps({**RUN, "batches": batches}))
    return path


@pytest.mark.parametrize(
    ("p50", "rate", "said"),
    [
        (10.0, 100.0, []),
        (9.1, 111.0, []),
        (9.0, 100.0, ["B = 1: latency +11.1%, throughput +0.0%"]),
        (10.0, 112.0, ["B = 1: latency +0.0%, throughput -10.7%"]),
        (20.0, 50.0, []),
    ],
)
def test_what_the_gate_lets_through(tmp_path: Path, p50: float, rate: float, said: list[str]) -> None:
    before = read_baseline(baseline(tmp_path / "b.json", b1=(p50, rate)), [1])
    now = {"batches": [{"batch": 1, "ms": {"total": {"p50": 10.0}}, "images_per_second": 100.0}]}
    assert worse_than(before, now, most=0.1) == said


def test_the_gate_of_the_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {**RUN, "batches": [{"batch": 1, "ms": {"total": {"p50": 10.0}}, "images_per_second": 100.0}]}
    monkeypatch.setattr(cli, "measure", lambda args, before: now)
    words = [*arguments, "--batch", "1", "--json", "--baseline"]
    assert cli.main([*words, str(baseline(tmp_path / "b.json", b1=(10.0, 100.0)))]) == 0
    assert json.loads(capsys.readouterr().out) == now
    assert cli.main([*words, str(baseline(tmp_path / "b.json", b1=(5.0, 100.0)))]) == 2
    assert "b.json by more than 10%: B = 1: latency +100.0%, throughput +0.0%\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "no figures of coder-bench"),
        ("[]", "no figures of coder-bench"),
        ('{"batches": [{"batch": 1}]}', "no figures of coder-bench"),
        (
            '{"batches": [{"batch": 1, "ms": {"total": {"p50": "x"}}, "images_per_second": 1}]}',
            "no figures of coder-bench",
        ),
        ('{"batches": [], "setup": "x", "seconds": 20, "threads": 1, "machine": {}}', "no figures of coder-bench"),
        ('{"batches": [], "setup": {}, "seconds": "x", "threads": 1, "machine": {}}', "no figures of coder-bench"),
        ("not json", "no figures of coder-bench"),
        (b"\xff\xfe", "no figures of coder-bench"),
        (dict(b1=(10.0, 0.0), b2=(1.0, 1.0)), "no figures of coder-bench"),
        (dict(b1=(float("nan"), 1.0), b2=(1.0, 1.0)), "no figures of coder-bench"),
        (dict(b16=(10.0, 100.0)), "has B = 16, not B = 1, 2 of this run"),
        (dict(b1=(10.0, 100.0)), "has B = 1, not B = 2 of this run"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_baseline_that_cannot_be_compared_is_told_before_the_work(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: Any,
    said: str,
) -> None:
    monkeypatch.setattr(cli, "measure", lambda args, before: pytest.fail("it was measured"))
    path = tmp_path / "b.json"
    if isinstance(content, dict):
        baseline(path, **content)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main([*arguments, "--baseline", str(path)]) == 1
    err = capsys.readouterr().err
    assert f"coder-bench: {path}" in err
    assert said in err
    assert err.count("\n") == 1


def test_another_engine_is_no_baseline(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = baseline(tmp_path / "b.json", b1=(10.0, 100.0))
    monkeypatch.setattr(cli, "_batch", lambda *args: pytest.fail("it was measured"))
    words = [*arguments, "--batch", "1", "--backend", "onnxruntime", "--baseline", str(path)]
    others = {"model": "RN50 (openai)", "labels": "3 classes and 3 pairs", "images": "1 of sha256 0123456789abcdef"}
    for name, other in {**others, "backend": "OpenVINO", "precision": "bf16"}.items():
        own = json.loads(path.read_text())
        path.write_text(json.dumps({**own, "setup": {**RUN["setup"], name: other}}))
        assert cli.main(words) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"coder-bench: {path}: was measured with {name} {other}, not {RUN['setup'][name]}; meas")


def test_a_baseline_of_the_same_engine_is_compared(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = baseline(tmp_path / "b.json", b1=(1e6, 1e-6))
    words = [*arguments, "--batch", "1", "--backend", "onnxruntime", "--baseline", str(path)]
    assert cli.main(words) == 0
    said = capsys.readouterr().err
    assert f"compared with {path}, but another machine: cpu one then, " in said
    assert f"compared with {path}, but 0.1 s a batch size are short, two runs of one engine may differ so much" in said
    assert doubts(RUN, RUN) == []
    assert doubts(RUN, {**RUN, "threads": 1}) == ["other threads: 2 then, 1 now (--threads)"]


def test_a_peer_that_fails_when_called_is_left_out(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(peers: Peers, images: object) -> Call:
        def call() -> object:
            raise RuntimeError("a backend raised:\n  no compiler found" + " here is a long story" * 20)

        return call

    monkeypatch.setattr(Peers, "_compiled", broken)
    found = cli.measure(cli._parser().parse_args([*arguments, "--batch", "1", "--peers", "compiled,numpy"]))
    (batch,) = found["batches"]
    (reason,) = batch["skipped"].values()
    assert reason.startswith("a backend raised: no compiler found here")
    assert len(reason) == 200
    assert f"peer: {PEERS['numpy']}" in batch["ms"]


def test_the_model_is_opened_once(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = model.open_model
    monkeypatch.setattr(model, "open_model", lambda *names: opened.append(names) or real(*names))
    found = cli.measure(cli._parser().parse_args([*arguments, "--peers", "open_clip,torch_bf16"]))
    assert [batch["skipped"] for batch in found["batches"]] == [{}, {}]
    assert len(opened) == 1


def test_interrupted(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "measure", stopped)
    assert cli.main(arguments) == 130
    assert capsys.readouterr().err == "coder-bench: interrupted\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--peers", "tensorflow"], "peers are open_clip"),
        (["--batch", "0"], "batch sizes are 1 or more"),
        (["--batch", "x"], "batch sizes are 1 or more, got x"),
        (["--seconds", "0"], "must be above 0 and finite, got '0'"),
        (["--seconds", "nan"], "must be above 0 and finite, got 'nan'"),
        (["--max-drop", "-1"], "must be a number from 0 to 1, got '-1'"),
        (["--threads", "0"], "must be a whole number, at least 1"),
    ],
)
def test_wrong_usage_ends_in_one(
    wrong: list[str], said: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, *wrong])
    assert caught.value.code == 1
    assert said in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option, start in (("--help", "usage: coder-bench [-h]"), ("--version", f"coder-bench {__version__}")):
        with pytest.raises(SystemExit, match="0"):
            cli.main([option])
        assert capsys.readouterr().out.startswith(start)


def test_figures_that_cannot_be_written(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "measure", lambda args, before: {})
    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main([*arguments, "--json"]) == 1
    said = "coder-bench: cannot write to standard output (No space left on device); make room, or redirect it\n"
    assert capsys.readouterr().err == said


def test_errors_are_told(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([arguments[0], "--engine", str(tmp_path / "none.onnx")]) == 1
    assert "no such engine file" in capsys.readouterr().err


def test_a_drop_from_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments, "--max-drop", "0.2"]) == 1
    assert "--max-drop compares with --baseline FILE, which is missing" in capsys.readouterr().err


def test_images_by_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert by_content([a, b]) == by_content([c, b]) != by_content([b, a])
    assert by_content([a]).startswith("1 of sha256 ")


def test_the_peak_of_a_cold_start_is_its_own(tiny: Path, photographs: list[Path]) -> None:
    held = np.ones(200 << 20, np.uint8)
    del held
    assert cold_start(tiny, str(photographs[0]), {"backend": "onnxruntime", "threads": 1}).peak_mb < 200


@pytest.mark.parametrize(("images", "size", "seconds", "batches"), [(1, 4, 0, 1), (3, 2, 0, 2), (1, 4, 2, 3)])
def test_a_stream_is_of_full_batches(
    tiny: Path,
    photographs: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    size: int,
    seconds: float,
    batches: int,
) -> None:
    """Of an encoder that takes one second a batch."""
    now, ran, engine = [0.0], [], Engine(tiny)
    encode = engine._backend.encode

    def slow(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        now[0] += 1
        ran.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr("coder_export.bench.stages.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(engine._backend, "encode", slow)
    assert throughput(engine, [str(path) for path in photographs[:images]], batch_size=size, seconds=seconds) == size
    assert set(ran) == {size}
    assert len(ran) >= batches  # more where some were read ahead when the time was over


def test_an_image_that_cannot_be_read_is_not_a_fast_one(tiny: Path, photographs: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    paths = [str(photographs[0]), str(broken)]
    with pytest.raises(ImageError, match=r"broken\.jpg: .*or leave it out of what is measured"):
        throughput(Engine(tiny), paths, batch_size=1, seconds=0)
    with pytest.raises(EngineError, match=r"a fresh process could not run it: .*broken\.jpg"):
        cold_start(tiny, str(broken), {})


def test_a_raw_runtime_is_named_by_the_file_it_runs(tiny: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"m{suffix}")
    graph = onnx.load(tmp_path / "m.onnx")
    mark(graph, "int8")
    peers = Peers(Engine(tiny), tmp_path / "m.onnx", tmp_path / "m.safetensors", threads=1)
    assert peers._title("onnxruntime") == PEERS["onnxruntime"] == "ONNX Runtime fp32, encoder alone"
    onnx.save(graph, tmp_path / "m.onnx")
    assert peers._title("onnxruntime") == "ONNX Runtime on the int8 file, encoder alone"
    assert peers._title("openvino_bf16") == "OpenVINO on the int8 file, bf16, encoder alone"
    assert peers._title("open_clip") == PEERS["open_clip"]


def test_a_process_that_fails_says_so(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"none\.onnx: a fresh process could not run it: coder_engine\S+Error: .*none"
    ):
        cold_start(tmp_path / "none.onnx", "x.jpg", {})
