"""Tables and the HTML report: what is in them, and that nothing is fetched or run."""

from __future__ import annotations

import builtins
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coder_engine.errors import DataError
from coder_engine.evaluate import plots
from coder_engine.evaluate.evaluation import Evaluation, evaluate_zero_shot
from coder_engine.evaluate.extra import needs_extra
from coder_engine.evaluate.few_shot import FewShot
from coder_engine.evaluate.project import project
from coder_engine.evaluate.reliability import reliability
from coder_engine.evaluate.report import render_report
from coder_engine.evaluate.tables import as_csv, as_json, as_table, columns, percent, render
from coder_engine.fewshot import CoderAdapter
from coder_engine.head import Head
from helpers_evaluate import images_of, label_set

pytest.importorskip("matplotlib", reason="the [eval] extra is not installed")
pytest.importorskip("sklearn", reason="the [eval] extra is not installed")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("report")
    texts = label_set(folder)
    data = images_of(texts, 40)
    paths = []
    for n in range(40):
        paths.append(str(folder / f"{n} <b>&.png"))
        Image.new("RGB", (300, 200), (n, 100, 200)).save(paths[-1])
    result = evaluate_zero_shot(
        ("clip", "coder", "coder-star"), data, texts.weights, margin=0.2, with_ablation=True, rounds=50
    )
    few = [
        FewShot(
            method=method,
            norm=norm,
            shots=m,
            by_seed=(0.5 + m / 20, 0.6),
            interval=(0.4, 0.7),
            chosen=({"beta": 1.0},) * 2,
        )
        for method, norm in (("spectral", "minmax"), ("spectral", "l2"), ("TIP-X", ""))
        for m in (1, 4)
    ]
    return Evaluation(
        source="photos <script>alert(1)</script>",
        engine="an engine",
        labels=("<i>cat</i>", *texts.weights.meta.labels[1:]),
        test=replace(data, paths=tuple(paths)),
        notes=("a note & more",),
        failed=(("gone.png", "gone.png: no such file"),),
        few_shot=tuple(few),
        fitted=("temperature 1.5",),
        weights=texts.weights,
        texts=texts.weights.texts,
        **vars(result),
    )


class Parsed(HTMLParser):
    """Counts tags, and gathers what would be fetched and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.named: list[str | None] = []
        self.images: list[str | None] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = dict(attrs)
        self.tags.append(tag)
        self.fetched += [value for key in ("src", "href", "xlink:href", "data") if (value := got.get(key))]
        if tag == "svg":
            self.named.append(got.get("aria-label"))
        if tag == "img":
            self.images.append(got.get("alt"))


def test_the_report_fetches_nothing_and_runs_nothing(found: Evaluation) -> None:
    text = render_report(found)
    page = Parsed(text)
    assert all(url.startswith(("data:image/", "#")) for url in page.fetched)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "<script>" not in text
    assert "<i>cat</i>" not in text


def test_every_picture_has_words(found: Evaluation) -> None:
    page = Parsed(render_report(found))
    assert len(page.named) == 7  # bars twice, reliability, two norms, confusion, t-SNE
    assert all(page.named)
    assert page.images
    assert all(page.images)
    assert "Top-1 accuracy: CLIP " in str(page.named[0])


def test_the_report_has_the_numbers(found: Evaluation) -> None:
    text = render_report(found)
    for one in (*found.zero_shot, *found.ablation):
        assert f">{percent(one.top_one)}</td>" in text
    for words in ("a note &amp; more", "temperature 1.5", "1 image could not be read", "silhouette", "TIP-X"):
        assert words in text
    wrong = found.answers[2].first != found.test.labels
    assert text.count('class="card"') == min(12, wrong.sum()) > 0
    assert re.search(r"<li>(beats|loses to) class \d [+-]0\.\d{4}</li>", text)


def test_a_stored_adapter_is_what_the_report_shows_and_it_has_no_duels(found: Evaluation, tmp_path: Path) -> None:
    assert found.weights is not None
    support = found.test.take(np.arange(24))
    adapter = CoderAdapter.fit(support.features, support.labels, np.asarray(found.texts), classes=7, alpha=20.0)
    weights = adapter.save(found.weights.path, out=tmp_path / "fitted.safetensors")
    result = evaluate_zero_shot(("coder-star", "adapter"), found.test, weights, margin=0.2, rounds=50)
    assert result.answered_by == "CODER-Adapter, stored"
    fitted = replace(found, weights=weights, texts=None, **vars(result))  # no texts, no t-SNE
    text = render_report(fitted)
    assert "<h2>Zero-shot, and the stored adapter</h2>" in text
    assert "Reliability of CODER-Adapter, stored" in text
    assert text.count('class="card"') == min(12, (result.answers[1].first != found.test.labels).sum()) > 0
    assert not re.search(r"<li>(beats|loses to)", text)
    rows = list(csv.DictReader(io.StringIO(as_csv(fitted))))
    assert [row["part"] for row in rows[:2]] == ["zero-shot", "adapter"]


def test_a_method_that_reranks_nothing_has_no_duels(found: Evaluation) -> None:
    assert found.weights is not None
    result = evaluate_zero_shot(("coder",), found.test, found.weights, margin=0.2, rounds=50)
    text = render_report(replace(found, texts=None, **vars(result)))
    assert 'class="card"' in text
    assert not re.search(r"<li[^>]*>(beats|loses to|has no duel)", text)


@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0])
def test_under_a_gate_only_what_was_reranked_has_duels(found: Evaluation, margin: float) -> None:
    assert found.weights is not None
    result = evaluate_zero_shot(("gated",), found.test, found.weights, margin=margin, rounds=50)
    assert not result.answered_by  # the weight file has no margin
    text = render_report(replace(found, texts=None, **vars(result)))
    shown = result.answers[0]
    wrong = np.flatnonzero(shown.first != found.test.labels)
    rows = wrong[np.argsort(-shown.confidence[wrong], kind="stable")][:12]
    reranked = Head(found.weights).rank(found.test.features[rows], margin=margin).reranked
    cards = text.split('class="card"')[1:]
    assert [bool(re.search(r"<li[^>]*>(beats|loses to)", card)) for card in cards] == reranked.tolist()
    assert {0.0: not reranked.any(), 1.0: reranked.all()}.get(margin, True)


def test_the_report_of_features_alone(found: Evaluation) -> None:
    bare = replace(found, weights=None, texts=None, answers=(), zero_shot=(), ablation=(), rerank=None)
    text = render_report(replace(bare, test=replace(found.test, paths=())))
    assert "<h2>Few-shot</h2>" in text
    assert "<h2>Zero-shot</h2>" not in text
    assert 'class="card"' not in text


def test_an_image_that_went_away_does_not_end_the_report(found: Evaluation) -> None:
    gone = replace(found.test, paths=tuple(f"/nowhere/{n}.png" for n in range(40)))
    assert "data:image/gif" in render_report(replace(found, test=gone))


def test_how_it_was_made(found: Evaluation) -> None:
    made = {"command": "coder-eval <photos>", "engine": "birds.onnx, sha256 0123"}
    text = render_report(replace(found, made=made))
    assert "<h2>How this was made</h2>" in text
    assert "coder-eval &lt;photos&gt;" in text
    assert "birds.onnx, sha256 0123" in text
    assert as_json(replace(found, made=made))["made"] == made
    assert "How this was made" not in render_report(found)


def test_the_same_evaluation_gives_the_same_report(found: Evaluation) -> None:
    assert render_report(found) == render_report(found)


def test_plots_take_the_ink_of_the_page(found: Evaluation) -> None:
    svg = plots.accuracy_bars(found.zero_shot)
    assert svg.startswith("<svg")
    assert plots.INK not in svg
    assert "currentColor" in svg
    alone = plots.curves(found.few_shot[:2], ink="#777777")
    assert alone.startswith("<?xml")
    assert "currentColor" not in alone
    assert "#777777" in alone


def test_class_names_are_no_formulas(found: Evaluation) -> None:
    names = (r"a$\foo$", "b$^$", *found.labels[2:])
    assert r"a$\foo$" in plots.confusion(found.zero_shot[0].confusion, names)


@pytest.mark.parametrize(("classes", "named"), [(2, True), (20, True), (21, False)])
def test_classes_are_named_beside_their_points(classes: int, named: bool) -> None:
    ids = np.arange(classes).repeat(2)
    places = [np.random.default_rng(seed).normal(size=(len(ids), 2)) for seed in (0, 1)]
    svg = plots.scatter(places, ["one", "two"], ids, [f"name {n}$" for n in range(classes)])
    assert (svg.count(">name 1$<"), svg.count(f">name {classes - 1}$<")) == ((1, 1) if named else (0, 0))


def test_plots_leave_the_users_settings_alone(found: Evaluation) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.reliability(reliability(found.answers[0].confidence, found.answers[0].first == found.test.labels), "m", 0.1)
    assert dict(matplotlib.rcParams) == before


def test_coder_distances_are_those_of_the_text_wide_space(found: Evaluation) -> None:
    assert found.texts is not None
    views = project(found.test, found.texts)
    assert [one.title for one in views] == ["image features", "CODER, 56 texts"]
    from sklearn.metrics import silhouette_score

    wide = found.test.features @ found.texts.T
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    assert views[1].silhouette == pytest.approx(silhouette_score(wide, found.test.labels), abs=1e-5)
    assert views[0].points.shape == (40, 2)


def test_a_missing_extra_names_its_command() -> None:
    with (
        pytest.raises(
            DataError, match=r"plots need nonesuch, which is not installed: pip install 'coder-engine\[eval\]'"
        ),
        needs_extra("plots"),
    ):
        builtins.__import__("nonesuch")


def test_table(found: Evaluation) -> None:
    text = as_table(found)
    assert "40 images, 7 classes" in text
    assert "method  top-1" in text
    assert "few-shot, minmax norm" in text
    assert "few-shot, l2 norm" in text
    assert text.count("TIP-X") == 2  # no norm of its own: beside either
    assert "temperature 1.5" in text
    assert re.search(r"the rerank turned \d+ wrong answers right and \d+ right ones wrong", text)


def test_json_is_plain(found: Evaluation) -> None:
    got: Any = json.loads(render(found, "json"))
    assert [one["method"] for one in got["zero_shot"]] == ["CLIP", "CODER", "CODER*"]
    assert got["zero_shot"][0]["top1"] == found.zero_shot[0].top_one
    assert np.array(got["zero_shot"][0]["confusion"]).sum() == 40
    assert got["few_shot"][0]["chosen"] == [{"beta": 1.0}] * 2
    assert got["rerank"]["coverage"] == 1.0
    empty = replace(found.zero_shot[0], by_class=np.array([np.nan, 1.0]))
    assert as_json(replace(found, zero_shot=(empty,)))["zero_shot"][0]["by_class"] == [None, 1.0]


def test_csv_has_a_row_each(found: Evaluation) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(rows) == 3 + 5 + 6
    assert float(rows[0]["top1"]) == found.zero_shot[0].top_one
    assert (rows[-1]["part"], rows[-1]["method"], rows[-1]["shots"]) == ("few-shot", "TIP-X", "4")


def test_columns() -> None:
    assert columns([["a", "1"], ["long", "22"]]) == "a      1\nlong  22"
    assert (percent(0.85751), percent(float("nan"))) == ("85.75", "-")


def test_the_template_is_in_the_package() -> None:
    import coder_engine.evaluate.report as module

    assert (Path(module.__file__).parent / "report.html").is_file()
