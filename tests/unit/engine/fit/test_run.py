"""From folders of images to an adapter, with coder-tiny: what is fitted, told and refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coder_engine import Engine
from coder_engine.cli.fit import main
from coder_engine.errors import DataError, WeightsError
from coder_engine.fewshot import CoderAdapter, search_adapter
from coder_engine.fit import FitConfig, Fitted, fit_engine, general_texts, run, summary
from coder_engine.weightfile.general_texts import TENSORS
from coder_engine.weights import load_weights, update_weights

COLOURS = {"airplane": (90, 160, 230), "ship": (20, 40, 120), "frog": (30, 140, 40)}


def picture(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(scale=25, size=(32, 40, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def support(tmp_path: Path) -> Path:
    """Three of coder-tiny's ten classes, four images each."""
    for n, (name, colour) in enumerate(COLOURS.items()):
        for i in range(4):
            picture(tmp_path / "support" / name / f"{i}.png", colour, 10 * n + i)
    return tmp_path / "support"


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    return Engine(tiny, backend="onnxruntime", device="cpu")


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """An engine file whose weight file a test may change."""
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(tiny.with_suffix(suffix), tmp_path / f"engine{suffix}")
    return tmp_path / "engine.onnx"


def fit(engine: Engine, tiny: Path, config: FitConfig) -> tuple[Fitted, list[str]]:
    said: list[str] = []
    texts = general_texts(load_weights(tiny.with_suffix(".safetensors")))
    return fit_engine(engine, texts, config, say=said.append), said


def test_what_is_fitted(engine: Engine, tiny: Path, support: Path) -> None:
    fitted, said = fit(engine, tiny, FitConfig(support=support, views=3))
    adapter = fitted.search.adapter
    counts = dict(zip(engine.labels, adapter.shots.tolist(), strict=True))
    assert {name: count for name, count in counts.items() if count} == dict.fromkeys(COLOURS, 4)
    assert fitted.search.record["chosen_on"] == "folds"
    assert adapter.source == {"support": "support", "images": 12, "views": 3}
    assert any("7 labels have no image" in line for line in said)
    again, _ = fit(engine, tiny, FitConfig(support=support, views=3))
    assert np.array_equal(again.search.adapter.keys, adapter.keys)


def test_the_feature_of_one_view_is_the_engine_s_own(engine: Engine, tiny: Path, support: Path) -> None:
    fitted, _ = fit(engine, tiny, FitConfig(support=support, views=1))
    paths = sorted(support.rglob("*.png"))
    ids = [engine.labels.index(path.parent.name) for path in paths]
    weights = load_weights(tiny.with_suffix(".safetensors"))
    own = CoderAdapter.fit(engine.embed([str(path) for path in paths]), ids, general_texts(weights), classes=10)
    np.testing.assert_allclose(fitted.search.adapter.keys, own.keys, atol=1e-6)


def test_a_copy_teaches_nothing_and_is_told(engine: Engine, tiny: Path, support: Path) -> None:
    plain, _ = fit(engine, tiny, FitConfig(support=support, views=2))
    shutil.copy(support / "frog" / "3.png", support / "frog" / "a copy.png")
    fitted, said = fit(engine, tiny, FitConfig(support=support, views=2))
    assert "left out: 1 support image that the same class has already (equal by sha256)" in said
    assert fitted.search.record["images"] == plain.search.record["images"] == 12
    assert fitted.search.adapter.shots.max() == 4


def test_the_folds_judge_what_a_prediction_sees(
    engine: Engine, tiny: Path, support: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def spy(*args: Any, **options: Any) -> Any:
        given.update(options)
        return search_adapter(*args, **options)

    monkeypatch.setattr(run, "search_adapter", spy)
    fit(engine, tiny, FitConfig(support=support, views=4))
    own = engine.embed([str(path) for path in sorted(support.rglob("*.png"))])
    np.testing.assert_allclose(given["seen"], own, atol=1e-6)
    np.testing.assert_allclose(given["zero_shot"], engine.stage_one(own) * (engine.logit_scale / 100), atol=1e-6)


def test_shots_are_drawn_by_seed(engine: Engine, tiny: Path, support: Path) -> None:
    keys = []
    for seed in (0, 0, 1):
        fitted, _ = fit(engine, tiny, FitConfig(support=support, shots=2, views=1, seed=seed))
        assert fitted.search.adapter.shots.max() == 2
        keys.append(fitted.search.adapter.keys)
    assert np.array_equal(keys[0], keys[1])
    assert not np.array_equal(keys[0], keys[2])


def test_one_image_a_class_and_unequal_shots_are_told(engine: Engine, tiny: Path, support: Path) -> None:
    fitted, said = fit(engine, tiny, FitConfig(support=support, shots=1, views=1))
    assert fitted.search.record["chosen_on"] == "defaults"
    assert any(line.startswith("one image a class: nothing can be held out") for line in said)
    for extra in ("1", "2", "3"):
        (support / "frog" / f"{extra}.png").unlink()
    _, said = fit(engine, tiny, FitConfig(support=support, views=1))
    assert "classes have from 1 ('frog') to 4 images; those with more weigh more" in said


def test_classes_without_images_and_shots_that_are_not_there_are_told(
    engine: Engine, tiny: Path, support: Path
) -> None:
    _, said = fit(engine, tiny, FitConfig(support=support, shots=9, views=1))
    assert said[-2:] == [
        "classes without an image keep the scores of their texts, which the adapter raises for all others: they are "
        "named less often than before",
        "no class has the 9 images that --shots asks for: all of them are taken, at most 4 a class",
    ]
    (support / "frog" / "0.png").unlink()
    _, said = fit(engine, tiny, FitConfig(support=support, shots=4, views=1))
    assert "classes have from 3 ('frog') to 4 images; those with more weigh more" in said
    assert not any("--shots" in line for line in said)


def test_folders_by_order(engine: Engine, tiny: Path, support: Path) -> None:
    for number in range(len(engine.labels)):
        shutil.copytree(support / "frog", support.parent / "numbered" / str(number))
    fitted, _ = fit(engine, tiny, FitConfig(support=support.parent / "numbered", by_order=True, views=1))
    assert fitted.search.adapter.shots.tolist() == [4] * len(engine.labels)


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    [
        (2, 2, "no gain from the adapter was seen: 2 right only with it, 2 right only without; coder-infer "),
        (0, 3, "no gain from the adapter was seen: 0 right only with it, 3 right"),
        (4, 0, "the adapter's gain may be chance: 4 right only with it, 0 right only without; measure it on "),
        (5, 0, "the adapter's gain is clear: 5 right only with it, 0 right only without"),
        (40, 25, "the adapter's gain may be chance"),
    ],
)
def test_whether_a_gain_was_seen(
    engine: Engine, tiny: Path, support: Path, better: int, worse: int, verdict: str
) -> None:
    fitted, _ = fit(engine, tiny, FitConfig(support=support, views=1))
    record = fitted.search.record | {"better": better, "worse": worse}
    told = summary(replace(fitted, search=replace(fitted.search, record=record)))
    assert told[-1].startswith(verdict)


def test_images_that_are_support_too_leave_the_validation(
    engine: Engine, tiny: Path, support: Path, tmp_path: Path
) -> None:
    val = tmp_path / "val"
    shutil.copytree(support / "ship", val / "ship")
    with pytest.raises(DataError, match="every image is one of the support images; give others"):
        fit(engine, tiny, FitConfig(support=support, val=val, views=1))
    picture(val / "frog" / "new.png", COLOURS["frog"], 99)
    fitted, said = fit(engine, tiny, FitConfig(support=support, val=val, views=1))
    assert fitted.search.record["images"] == 1
    assert any("4 images of the support too" in line for line in said)


def test_labels_of_validation_images_only_choose(engine: Engine, tiny: Path, support: Path, tmp_path: Path) -> None:
    for n, (name, colour) in enumerate(COLOURS.items()):
        picture(tmp_path / "val" / name / "v.png", colour, 200 + n)
    fitted, _ = fit(engine, tiny, FitConfig(support=support, val=tmp_path / "val", views=1))
    assert fitted.search.record["chosen_on"] == "validation"
    plain, _ = fit(engine, tiny, FitConfig(support=support, views=1))
    assert np.array_equal(fitted.search.adapter.keys, plain.search.adapter.keys)


def test_folders_that_are_no_labels(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    picture(tmp_path / "s" / "unicorn" / "0.png", (1, 2, 3), 0)
    with pytest.raises(DataError, match=r"'unicorn'.*wanted names like 'airplane'"):
        fit(engine, tiny, FitConfig(support=tmp_path / "s"))
    with pytest.raises(DataError, match="no such folder or file"):
        fit(engine, tiny, FitConfig(support=tmp_path / "none"))


def test_nothing_readable(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "s" / "ship").mkdir(parents=True)
    (tmp_path / "s" / "ship" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of 1 image could be read; the first"):
        fit(engine, tiny, FitConfig(support=tmp_path / "s"))


@pytest.mark.parametrize("name", ["shots", "views"])
def test_counts_start_at_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        FitConfig(support=Path("s"), **{name: 0})


def test_texts_that_were_not_kept(tiny: Path) -> None:
    weights = load_weights(tiny.with_suffix(".safetensors"))
    with pytest.raises(WeightsError, match=r"--keep-texts or --general-texts generic, or give coder-fit"):
        general_texts(replace(weights, **dict.fromkeys(TENSORS)))


def test_the_command_and_the_engine_after_it(copied: Path, support: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", str(copied), "--support", str(support), "--views", "2", "--norm", "l2"]) == 0
    said = capsys.readouterr().err
    assert "few-shot adapter: 0 to 4 shots, 12 images, 245 texts; exponent 0.5" in said
    assert "chosen on 12 support images in 4 folds" in said
    assert f"next: coder-eval IMAGES --engine {copied}  " in said
    images = [str(path) for path in sorted(support.rglob("*.png"))]
    with_it, without = Engine(copied), Engine(copied, adapter=False)
    assert "few-shot adapter, 0 to 4 shots" in with_it.description
    assert "few-shot" not in without.description
    assert without.adapter is None
    assert with_it.adapter is not None
    features = with_it.embed(images)
    scaled = without.stage_one(features) * (with_it.logit_scale / 100)
    logits = with_it.adapter.logits(features, scaled)
    found = with_it.predict(images)
    assert [one.label for one in found] == [with_it.labels[i] for i in logits.argmax(axis=1)]
    assert [one.label for one in with_it.predict_features(features)] == [one.label for one in found]
    assert [one.label for one in with_it.predict_stream(images)] == [one.label for one in found]
    assert [one.label for one in found] == [Path(path).parent.name for path in images]
    assert not any(one.reranked for one in found)
    explained = with_it.explain(images[0])
    assert explained.note == f"the few-shot adapter ranks here, and says {found[0].label}; below is what the texts say"
    assert str(explained).endswith("\n" + str(without.explain(images[0])))


def test_what_was_fitted_to_the_adapters_scores_is_not_the_texts(copied: Path, support: Path) -> None:
    images = [str(path) for path in sorted(support.rglob("*.png"))]
    plain = Engine(copied)
    wanted, explained = plain.predict(images), plain.explain(images[0])
    adapter = CoderAdapter.fit(
        plain.embed(images), [0, 1] * (len(images) // 2), np.eye(plain.embed([]).shape[1]), classes=10
    )
    adapter.save(copied.with_suffix(".safetensors"))
    update_weights(copied.with_suffix(".safetensors"), temperature=3.0, unknown_below=1.0)
    with_it, without = Engine(copied), Engine(copied, adapter=False)
    assert without.predict(images) == wanted
    assert without.explain(images[0]).to_json() == explained.to_json()
    assert "temperature" not in without.description
    assert "unknown" not in without.description
    assert "temperature 3; unknown below 1" in with_it.description
    assert all(one.unknown for one in with_it.predict(images) if one.score < 1)


def test_the_command_with_an_unreadable_image(
    copied: Path, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (support / "ship" / "broken.png").write_bytes(b"no picture")
    before = copied.with_suffix(".safetensors").read_bytes()
    out = tmp_path / "other.safetensors"
    argv = ["--engine", str(copied), "--support", str(support), "--views", "1", "--out", str(out), "--exponent", "1"]
    assert main([*argv, "--no-centre", "--ridge", "0"]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert copied.with_suffix(".safetensors").read_bytes() == before
    adapter = CoderAdapter.load(load_weights(out))
    assert adapter is not None
    assert (adapter.form.exponent, adapter.form.centre, adapter.form.ridge) == (1, False, 0)


def test_the_command_with_texts_that_do_not_fit(
    copied: Path, support: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--engine", str(copied), "--support", str(support), "--general-texts"]
    np.savez(tmp_path / "wide.npz", some=np.ones((3, 512), np.float32))
    assert main([*argv, str(tmp_path / "wide.npz")]) == 1
    width = load_weights(copied.with_suffix(".safetensors")).width
    assert f"wide.npz is 512 wide, {copied.with_suffix('.safetensors')} is {width} wide" in capsys.readouterr().err
    (tmp_path / "labels.txt").write_text("frog\nship\n")
    assert main([*argv, str(tmp_path / "labels.txt")]) == 1
    said = capsys.readouterr().err
    assert "labels.txt: no whole .npz file; save one with numpy.savez, of text features by the engine's model" in said
    assert "coder-export --general-texts" in said


def test_the_command_with_texts_of_a_file(copied: Path, support: Path, tmp_path: Path) -> None:
    texts = np.random.default_rng(0).normal(size=(40, load_weights(copied.with_suffix(".safetensors")).width))
    np.savez(tmp_path / "texts.npz", some=texts.astype(np.float16))
    argv = ["--engine", str(copied), "--support", str(support), "--views", "1", "--quiet"]
    assert main([*argv, "--general-texts", str(tmp_path / "texts.npz")]) == 0
    assert load_weights(copied.with_suffix(".safetensors")).meta.adapter["texts"] == 40


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--support", "none"], "none: no such folder or file"),
        (["--support", ".", "--general-texts", "none.npz"], "none.npz: no such file"),
        (["--support", ".", "--exponent", "7"], "exponent must be from 0"),
        (["--support", ".", "--weights", "none.safetensors"], "no such weight file"),
    ],
)
def test_the_command_refuses(copied: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", str(copied), *argv]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--shots", "--views"])
def test_counts_are_checked_as_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["--engine", "e", "--support", "s", option, "0"])
    assert f"argument {option}: must be a whole number, at least 1, got '0'" in capsys.readouterr().err


def test_real_images(engine: Engine, tiny: Path, copied: Path, cifar_test: Path, tmp_path: Path) -> None:
    """Eight photographs a class that coder-tiny was not trained on, judged on others: no worse than its texts alone."""
    rows, judged = [], []
    for folder in sorted(path for path in cifar_test.iterdir() if path.is_dir()):
        images = sorted(folder.glob("*.jpg"))
        rows += [f"{image},{folder.name}\n" for image in images[:8]]
        judged += [(str(image), folder.name) for image in images[100:130]]
    (tmp_path / "support.csv").write_text("path,label\n" + "".join(rows), encoding="utf-8")
    fitted, said = fit(engine, tiny, FitConfig(support=tmp_path / "support.csv", views=2))
    assert said == []
    assert fitted.search.adapter.shots.tolist() == [8] * 10
    assert (fitted.search.record["chosen_on"], fitted.search.record["images"]) == ("folds", 80)
    fitted.search.adapter.save(copied.with_suffix(".safetensors"))
    features = engine.embed([path for path, _ in judged])
    with_it = Engine(copied, backend="onnxruntime", device="cpu")
    right = [
        sum(found.label == label for found, (_, label) in zip(one.predict_features(features), judged, strict=True))
        for one in (engine, with_it)
    ]
    assert right[1] >= right[0] - 9  # of 300: two standard errors are some 12
