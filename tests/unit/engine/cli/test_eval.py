"""coder-eval from the command line: feature files without an engine, and usage that is refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from coder_engine.cli import eval_run
from coder_engine.cli.eval import main
from coder_engine.cli.eval_options import parse
from coder_engine.cli.eval_task import open_task
from coder_engine.fewshot import CoderAdapter
from coder_engine.fit import general_texts
from coder_engine.weightfile.general_texts import TENSORS
from coder_engine.weights import load_weights, update_weights
from helpers_evaluate import CLASSES, clusters, images_of, label_set, result
from parity.cases import unit_rows


def test_features_alone(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    got = result(capsys, files[0], "--texts", files[1], "--shots", "1,2", "--norm", "minmax")
    assert {(one["method"], one["shots"]) for one in got["few_shot"]} == {
        (method, shots)
        for method in ("nearest class mean", "Tip-Adapter", "TIP-X", "CODER-Adapter", "spectral")
        for shots in (1, 2)
    }
    assert got["zero_shot"] == []
    assert got["labels"] == ["0", "1", "2", "3"]


def test_without_texts_what_needs_none_runs(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    got = result(capsys, files[0], "--norm", "both")  # all supports of the file
    assert {(one["method"], one["norm"], one["shots"]) for one in got["few_shot"]} == {
        *(("nearest class mean", "", m) for m in (1, 2)),
        *(("Tip-Adapter", norm, m) for norm in ("minmax", "l2") for m in (1, 2)),
    }


def test_class_features_bring_the_zero_shot_term(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(files[0]))
    arrays["class_features"] = clusters(CLASSES, 1, noise=0.0).features
    np.savez(tmp_path / "classes.npz", **arrays)
    path = str(tmp_path / "classes.npz")
    got = result(capsys, path, "--methods", "clip,tip-adapter", "--norm", "l2")
    assert [one["method"] for one in got["zero_shot"]] == ["CLIP"]
    plain = result(capsys, path, "--methods", "tip-adapter", "--norm", "l2", "--no-zero-shot")
    assert got["few_shot"][0]["top1"] > plain["few_shot"][0]["top1"]


def test_test_labels_reach_no_parameter(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(files[0]))
    arrays["test_labels"] = np.random.default_rng(0).permutation(arrays["test_labels"])
    np.savez(tmp_path / "shuffled.npz", **arrays)
    one = result(capsys, files[0], "--texts", files[1])
    other = result(capsys, str(tmp_path / "shuffled.npz"), "--texts", files[1])
    assert [row["chosen"] for row in one["few_shot"]] == [row["chosen"] for row in other["few_shot"]]
    assert [row["top1"] for row in one["few_shot"]] != [row["top1"] for row in other["few_shot"]]


def test_support_is_drawn_from_the_val_split_or_another_file(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {name: array for name, array in np.load(files[0]).items() if not name.startswith("support")}
    np.savez(tmp_path / "bare.npz", **arrays)
    path = str(tmp_path / "bare.npz")
    options = ("--shots", "2", "--seeds", "3", "--methods", "tip-adapter", "--norm", "l2")
    got = result(capsys, path, *options)
    assert len(got["few_shot"][0]["by_seed"]) == 3
    assert got["notes"] == []
    np.savez(tmp_path / "pool.npz", features=arrays["test_features"], labels=arrays["test_labels"])
    got = result(capsys, path, *options, "--support", str(tmp_path / "pool.npz"))
    assert re.match(r"in the support too, by hash: [\d,]+ test images? \(such as test row", got["notes"][0])


def test_what_is_support_is_not_validation(files: tuple[str, str], tmp_path: Path) -> None:
    arrays = {name: array for name, array in np.load(files[0]).items() if not name.startswith("support")}
    np.savez(tmp_path / "bare.npz", **arrays)
    opened = open_task(parse([str(tmp_path / "bare.npz"), "--shots", "2", "--seeds", "3"]), lambda _: None)
    support = {digest for one in opened.task.supports[2] for digest in one.digests}
    assert opened.task.val is not None
    assert not support & set(opened.task.val.digests)
    assert len(support) + len(opened.task.val) == len(arrays["val_labels"])


def test_classes_are_those_of_all_files(files: tuple[str, str], tmp_path: Path) -> None:
    arrays = dict(np.load(files[0]))
    few = arrays["test_labels"] < 2
    np.savez(tmp_path / "few.npz", features=arrays["test_features"][few], labels=arrays["test_labels"][few])
    np.savez(tmp_path / "pool.npz", features=arrays["support2_features"], labels=arrays["support2_labels"])
    options = [str(tmp_path / "few.npz"), "--support", str(tmp_path / "pool.npz"), "--shots", "2"]
    opened = open_task(parse(options), lambda _: None)
    assert opened.task.classes == CLASSES
    assert set(opened.task.supports[2][0].labels) == set(range(CLASSES))


@pytest.mark.parametrize("option", ["--val", "--support"])
def test_files_that_do_not_fit_together(
    option: str, files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = unit_rows(np.random.default_rng(0), 8, 8)
    np.savez(tmp_path / "other.npz", features=rows, labels=np.arange(8) % CLASSES)
    other = [option, str(tmp_path / "other.npz"), "--shots", "1"]
    assert main([files[0], *other]) == 1
    assert "other.npz is 8 wide" in capsys.readouterr().err
    arrays = dict(np.load(files[0]))
    np.savez(tmp_path / "c.npz", **arrays, class_features=clusters(CLASSES, 1, noise=0.0).features)
    np.savez(tmp_path / "other.npz", features=arrays["val_features"], labels=arrays["val_labels"] + 3)
    assert main([str(tmp_path / "c.npz"), *other]) == 1
    assert "labels must be class ids, 0 to 3, got 6" in capsys.readouterr().err


def test_validation_images_that_are_support_choose_nothing(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(files[0]))
    support = arrays["support2_features"], arrays["support2_labels"]
    some = [np.concatenate(pair) for pair in zip(support, (arrays["val_features"], arrays["val_labels"]), strict=True)]
    np.savez(tmp_path / "val.npz", features=some[0], labels=some[1])
    np.savez(tmp_path / "same.npz", features=support[0], labels=support[1])
    options = ("--shots", "2", "--methods", "tip-adapter", "--norm", "l2")
    alone = result(capsys, files[0], *options)
    got = result(capsys, files[0], *options, "--val", str(tmp_path / "val.npz"))
    assert got["notes"] == ["in the support too, by hash, and left out: 8 validation images"]
    assert got["few_shot"] == alone["few_shot"]
    got = result(capsys, files[0], *options, "--val", str(tmp_path / "same.npz"))
    assert got["notes"] == [
        "in the support too, by hash, and left out: 8 validation images, which is all: parameters are chosen as without"
    ]


def test_a_test_split_chooses_nothing(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--shots", "1,2", "--texts", files[1])
    own = result(capsys, files[0], *options)
    named = result(capsys, files[0], *options, "--val", files[0])  # its val split
    assert (named["few_shot"], named["notes"]) == (own["few_shot"], [])
    arrays = {name: array for name, array in np.load(files[0]).items() if not name.startswith("val_")}
    np.savez(tmp_path / "tests.npz", **arrays)
    assert main([files[0], *options, "--val", str(tmp_path / "tests.npz")]) == 1
    assert "nothing is chosen on a test split: give --val a file with val_features" in capsys.readouterr().err
    assert main([files[0], *options, "--support", files[0]]) == 1
    assert "features.npz: has test_ arrays and no plain features, and a test split is no" in capsys.readouterr().err


def test_validation_images_that_are_under_test_choose_nothing(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(files[0]))
    both = [np.concatenate([arrays[f"test_{name}"], arrays[f"val_{name}"]]) for name in ("features", "labels")]
    np.savez(tmp_path / "val.npz", features=both[0], labels=both[1])
    np.savez(tmp_path / "same.npz", features=arrays["test_features"], labels=arrays["test_labels"])
    options = ("--shots", "2", "--methods", "tip-adapter", "--norm", "l2")
    alone = result(capsys, files[0], *options)
    got = result(capsys, files[0], *options, "--val", str(tmp_path / "val.npz"))
    assert got["notes"] == ["in the data under test too, by hash, and left out: 80 validation images"]
    assert got["few_shot"] == alone["few_shot"]
    assert main([files[0], *options, "--val", str(tmp_path / "same.npz")]) == 1
    assert (
        "in the data under test too, by hash, and left out: 80 validation images, which is all: none is left to choose "
        "on; give --val images that are not in DATA"
    ) in capsys.readouterr().err


def test_what_is_asked_for_and_cannot_be_measured_is_told(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = clusters(CLASSES, 3)
    np.savez(tmp_path / "plain.npz", features=data.features, labels=data.labels)
    plain = str(tmp_path / "plain.npz")
    assert main([plain, "--methods", "clip"]) == 1
    assert "no array 'class_features' for --methods clip; or give --engine or --weights" in capsys.readouterr().err
    assert main([plain, "--methods", "spectral", "--texts", files[1]]) == 1
    assert "no support for --methods spectral; give --shots, and --support" in capsys.readouterr().err
    got = result(capsys, files[0], "--seeds", "3", "--methods", "nearest-mean")
    assert got["notes"] == [
        f"{files[0]}: has one support set a number of shots; --seeds draws more from --support alone"
    ]


def test_a_number_of_shots_that_is_not_there(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files[0], "--shots", "4"]) == 1
    assert "no array support4_features; it has supports of 1, 2 shots" in capsys.readouterr().err


def test_nothing_to_measure(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = clusters(CLASSES, 3)
    np.savez(tmp_path / "plain.npz", features=data.features, labels=data.labels)
    assert main([str(tmp_path / "plain.npz")]) == 1
    assert "nothing to measure; give --engine for zero-shot methods, or --shots" in capsys.readouterr().err
    assert main([str(tmp_path / "plain.npz"), "--shots", "1"]) == 1
    assert "no support{M} arrays and no val split to draw from" in capsys.readouterr().err
    assert main([files[0], "--methods", "spectral"]) == 1
    assert "spectral needs general texts; give --texts" in capsys.readouterr().err


def test_texts_of_another_model(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "wide.npz", a=np.ones((3, 20)))
    assert main([files[0], "--texts", str(tmp_path / "wide.npz")]) == 1
    assert "is 20 wide" in capsys.readouterr().err


def test_fits_are_stored_in_the_weight_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path)
    data = images_of(found, 120)
    np.savez(tmp_path / "val.npz", features=data.features, labels=data.labels)
    path = str(found.weights.path)
    got = result(capsys, str(tmp_path / "val.npz"), "--weights", path, "--fit-temperature", "--fit-margin")
    meta = load_weights(path).meta
    assert meta.temperature != 1
    assert got["fitted"][-1] == f"stored in {path}"
    by_name = {one["method"]: one["calibration_error"] for one in got["zero_shot"]}
    assert by_name["CODER*"] < meta.calibration["error_before"]


def test_a_temperature_that_cannot_be_fitted_is_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path)
    data, path = images_of(found, 20, noise=0.0), str(found.weights.path)
    np.savez(tmp_path / "val.npz", features=data.features, labels=data.labels)
    assert main([str(tmp_path / "val.npz"), "--weights", path, "--fit-temperature"]) == 1
    assert "no temperature can be fitted on 20 images, of which stage 1 has 20 right" in capsys.readouterr().err
    assert load_weights(path).meta.temperature == 1


def test_a_margin_that_was_chosen_on_these_images_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path)
    path = str(found.weights.path)
    for name, seed in (("val", 1), ("test", 2)):
        data = images_of(found, 100, seed=seed)
        np.savez(tmp_path / f"{name}.npz", features=data.features, labels=data.labels)
    note = "the margin of CODER*, gated 0.2 was chosen on these same images: its row flatters it; measure it on other"
    args = [str(tmp_path / "val.npz"), "--weights", path]
    assert result(capsys, *args)["notes"] == []
    for more in (["--fit-margin"], []):
        assert result(capsys, *args, *more)["notes"][0].startswith(note)
    assert result(capsys, *args, "--margin", "0.3")["notes"] == []
    assert result(capsys, *args, "--methods", "coder-star")["notes"] == []
    assert result(capsys, str(tmp_path / "test.npz"), "--weights", path)["notes"] == []


def test_a_fit_on_an_adapters_scores_changes_no_other_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path)
    data, support, path = images_of(found, 120), images_of(found, 24), str(found.weights.path)
    np.savez(tmp_path / "val.npz", features=data.features, labels=data.labels)
    CoderAdapter.fit(support.features, support.labels, np.asarray(found.weights.texts), classes=7).save(path)
    before = result(capsys, str(tmp_path / "val.npz"), "--weights", path)
    after = result(capsys, str(tmp_path / "val.npz"), "--weights", path, "--fit-temperature")
    assert after["zero_shot"][-1]["method"] == "CODER-Adapter, stored"
    assert before["zero_shot"][:-1] == after["zero_shot"][:-1]
    errors = load_weights(path).meta.calibration
    for rows, wanted in ((before, errors["error_before"]), (after, errors["error_after"])):
        assert rows["zero_shot"][-1]["calibration_error"] == pytest.approx(wanted, abs=1e-4)
    assert before["notes"] == []
    assert after["notes"][0].startswith("ECE of CODER-Adapter, stored is with the weight file's temperature ")


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    option: str, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eval_run, "open_task", lambda *_: pytest.fail("the work began"))
    assert main([files[0], option, "/nonexistent/x"]) == 1
    assert "cannot write /nonexistent/x: no folder /nonexistent; make it" in capsys.readouterr().err


def test_out_and_report(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the [eval] extra is not installed")
    out, report = tmp_path / "found.txt", tmp_path / "found.html"
    args = [files[0], "--methods", "nearest-mean", "--bootstrap", "20", "--out", str(out), "--report", str(report)]
    assert main(args) == 0
    assert "nearest class mean" in out.read_text()
    assert "nearest class mean" in report.read_text()
    assert f"coder-eval {shlex.join(args)}" in report.read_text()
    assert re.search(r">\d{4}-\d\d-\d\d \d\d:\d\d UTC<", report.read_text())
    assert f"report in {report}" in capsys.readouterr().err
    with_both = [*args[:-4], "--out", str(out), "--report", f"{tmp_path}/../{tmp_path.name}/found.txt"]
    assert main(with_both) == 1
    assert f"--out and --report are both {out}: one would replace the other" in capsys.readouterr().err
    out.unlink()
    report.unlink()
    assert main([*args, "--methods", "spectral"]) == 1  # needs texts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "texts.npz"]


@pytest.mark.parametrize(
    ("out", "options", "form"),
    [
        (None, [], "table"),
        ("a.txt", [], "table"),
        ("a.JSON", [], "json"),
        ("table.csv", [], "csv"),
        ("a.csv", ["--format", "table"], "table"),
    ],
)
def test_the_suffix_says_the_format(out: str | None, options: list[str], form: str) -> None:
    place = [] if out is None else ["--out", out]
    assert parse(["features.npz", *place, *options]).format == form


def test_a_number_of_the_weight_files_own_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path)
    data, path = images_of(found, 30), str(found.weights.path)
    np.savez(tmp_path / "val.npz", features=data.features, labels=data.labels)
    args = [str(tmp_path / "val.npz"), "--weights", path, "--text-count"]
    opened = open_task(parse([*args, "5"]), lambda _: None)
    assert opened.task.texts is not None
    assert opened.task.texts.shape == (5, 12)
    assert main([*args, "57"]) == 1
    assert f"{path} has 56 texts, cannot take 57; ask for at most that many" in capsys.readouterr().err


def test_generic_texts_of_the_weight_file_are_those_that_coder_fit_has(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = label_set(tmp_path, classes=CLASSES, width=16)
    path, generic = str(found.weights.path), unit_rows(np.random.default_rng(6), 30, 16).astype(np.float32)
    record = {"name": "generic", "source": "", "count": 30}
    both = update_weights(path, tensors={"generic_texts": generic}, generic=record)
    opened = open_task(parse([files[0], "--weights", path]), lambda _: None)
    assert opened.task.texts is not None
    assert_array_equal(opened.task.texts, general_texts(both))
    assert len(opened.task.texts) == 30 + 32
    update_weights(path, tensors=dict.fromkeys(TENSORS))
    got = result(capsys, files[0], "--weights", path, "--methods", "spectral", "--norm", "l2")
    assert [one["shots"] for one in got["few_shot"]] == [1, 2]
    got = result(capsys, files[0], "--weights", path, "--norm", "l2")
    assert "the weight file has no texts of its classes: no CLIP or VCD (coder-export" in got["notes"][0]
    assert "spectral" in {one["method"] for one in got["few_shot"]}


def test_a_number_of_no_texts(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files[0], "--text-count", "5"]) == 1
    assert "--text-count 5: there are no general texts to draw from; give --texts" in (said := capsys.readouterr().err)
    assert "an engine exported with --keep-texts or --general-texts" in said


def test_weights_of_fewer_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = label_set(tmp_path, classes=3)
    data = images_of(found, 9)
    np.savez(tmp_path / "val.npz", features=data.features, labels=data.labels + 2)
    assert main([str(tmp_path / "val.npz"), "--weights", str(found.weights.path)]) == 1
    assert "labels must be class ids, 0 to 2, got 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["photos"], "images need --engine FILE"),
        (["a.npz", "--fit-temperature"], "give --engine or --weights"),
        (["a.npz", "--weights", "w", "--unknown-from", "f"], "--unknown-from reads images: give --engine"),
        (["photos", "--engine", "e", "--shots", "1"], "--shots on images needs --support"),
        (["photos", "--engine", "e", "--support", "s"], "--support needs --shots"),
        (
            ["photos", "--engine", "e", "--methods", "coder,spectral"],
            "--methods spectral is few-shot: it needs --support",
        ),
        (["a.npz", "--methods", "clip,coder"], "--methods coder measures a weight file's texts: give --engine or"),
        (["a.npz", "--texts-ablation"], "--texts-ablation measures a weight file's texts: give --engine or"),
        (
            ["photos", "--engine", "e", "--seeds", "3"],
            "--seeds is for few-shot methods: it needs --support and --shots",
        ),
        (["photos", "--engine", "e", "--no-zero-shot"], "--no-zero-shot is for few-shot methods: it needs --support"),
        (["photos", "--engine", "e", "--text-count", "9"], "--text-count is for few-shot methods: it needs --support"),
        (["photos", "--engine", "e", "--false-accepts", "0.1"], "--false-accepts is of --unknown-from FOLDER, which"),
        (["a.npz", "--by-order"], "--by-order is for images, and features (.npz) are read: leave it out"),
        (["a.npz", "--no-cache"], "--no-cache is for images, and features (.npz) are read: leave it out"),
        (["a.npz", "--engine", "e", "--device", "cpu"], "--device is for images, and features (.npz) are read"),
        (
            ["photos", "--engine", "e", "--methods", "coder", "--margin", "0.2"],
            "--margin is of the method gated, which",
        ),
        (["a.npz", "--shots", "0"], "must be a whole number, at least 1, got '0'"),
        (["a.npz", "--methods", "clip,zip"], "got 'zip'"),
        (["a.npz", "--false-accepts", "5"], "must be a number from 0 to 1, got '5'"),
        (["a.npz", "--seed", "-1"], "must be a whole number from 0 to 4294967295, got '-1'"),
        (["a.npz", "--seed", "4294967296"], "must be a whole number from 0 to 4294967295, got '4294967296'"),
    ],
)
def test_usage(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 1
    assert message in capsys.readouterr().err
