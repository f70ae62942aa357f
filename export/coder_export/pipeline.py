"""The stages in order: labels -> texts -> text features -> collapsed weights -> graph -> engine, verified."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coder_engine.errors import EngineError, ModelError
from coder_engine.evaluate.images import find_images
from coder_engine.files import sha256_of
from coder_engine.general_texts import pack_texts
from coder_engine.metadata import Metadata
from coder_engine.plans.build import find_builder
from coder_engine.weights import load_weights, save_weights
from coder_export.collapse import (
    MAX_KEPT,
    GeneralRows,
    PairRows,
    collapse_general,
    collapse_pairs,
    count_duel_texts,
    duelling_pairs,
    one_sided_pairs,
)
from coder_export.config import NO_TEXTS, ExportConfig
from coder_export.encode import TextEncoder
from coder_export.few_shot import fit_adapter
from coder_export.generate.wordnet.lexicon import names_and_synonyms
from coder_export.generic import GenericTexts, open_generic
from coder_export.labels import load_labels
from coder_export.model import ClipModel, open_model
from coder_export.narrow import narrow
from coder_export.onnx_model import EngineGraph, export_onnx
from coder_export.photographs import photograph_pixels
from coder_export.plan import check_plan, make_plan
from coder_export.report import Report
from coder_export.shipped import find_shipped, open_textset
from coder_export.standalone import export_standalone
from coder_export.textset import GENERAL_KINDS, Sentence, TextSet, names_only
from coder_export.verify import verify

_PACKAGES = ("coder-engine", "torch", "open_clip_torch", "onnx", "onnxruntime", "numpy", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The text set's features, collapsed.

    Attributes:
        sentences: the T general texts, by class.
        features: float32 [T, D].
        generic: texts of no class, and ``generic_features`` theirs, float32 [G, D]; None where none were asked for.
    """

    textset: TextSet
    sentences: list[list[Sentence]]
    features: NDArray[np.float32]
    general: GeneralRows
    pairs: PairRows | None
    truncated: int
    generic: GenericTexts | None = None
    generic_features: NDArray[np.float32] | None = None


def export(config: ExportConfig, report: Report) -> None:
    """Run every stage; writes the engine (unless one is reused) and its weight file, both or neither.

    Raises:
        TextsError, ModelError, EngineError, WeightsError: see the stages; nothing is then written.
    """
    labels = load_labels(config.labels)
    textset = choose_texts(config, labels, report)
    generic = None if config.general_texts is None else open_generic(config.general_texts)
    _check_writable(config)
    if config.format == "plan":
        find_builder(config.engine_path, config.trt)
    if config.support is not None:
        find_images(config.support, labels)  # a folder that does not fit should not wait for the export
    clip = open_model(config.model, config.pretrained, checkpoint=config.checkpoint, seed=config.seed)
    report.say(f"{clip.name}: " + "; ".join(clip.notes))
    if textset is None:
        textset = names_and_synonyms(labels, clip, report)
        report.say(
            "  texts gave ViT-B/16 4 to 14 points top-1 more on the paper's nine datasets: "
            f"coder-texts --labels {config.labels} --out texts --llm MODEL writes some; then --texts texts"
        )
    texts = embed_texts(textset, clip, config, report, generic)
    if config.engine is not None:
        save_weights(config.weights_path, _reused(config.engine, clip, texts, config), _tensors(texts, config))
        report.wrote(config.weights_path)
    else:
        _export_both(config, clip, texts, report)
    if config.support is not None:
        kept = [texts.features] if texts.generic_features is None else [texts.features, texts.generic_features]
        fit_adapter(config, np.concatenate(kept), report)
    if config.standalone:
        pixels = photograph_pixels(config.verify_images, clip.preprocess)
        export_standalone(config.engine_path, config.weights_path, config.standalone_path, pixels, report)
    runs = config.plan_path if config.format == "plan" else config.engine_path
    report.next_command(runs, None if config.engine is None else config.weights_path)


def choose_texts(config: ExportConfig, labels: tuple[str, ...], report: Report) -> TextSet | None:
    """The text set asked for, else the shipped one that covers the labels; None where there is none."""
    if config.texts == NO_TEXTS:
        return names_only(labels)
    if config.texts is not None:
        return open_textset(config.texts).for_labels(labels)
    shipped = find_shipped(labels)
    if shipped is None:
        return None
    report.say(
        f"{config.labels} is covered by the shipped text set {shipped.name!r} ({shipped.source['domain']}): using it "
        "(--texts none for class names only)"
    )
    return shipped.for_labels(labels)


def embed_texts(
    textset: TextSet, clip: ClipModel, config: ExportConfig, report: Report, generic: GenericTexts | None = None
) -> Texts:
    """Encode and collapse all texts of a text set, and encode those of no class."""
    encoder = TextEncoder(
        model=clip.model, tokenizer=clip.tokenizer, batch_size=config.batch_size, on_long=config.on_long
    )
    sentences = [textset.sentences(i) for i in range(len(textset.labels))]
    flat = [sentence.text for own in sentences for sentence in own]
    with report.progress("general texts", len(set(flat))) as advance:
        features = encoder.encode(flat, advance)
    generic_features = None
    if generic is not None:
        with report.progress(f"{generic.name} texts", len(generic.sentences)) as advance:
            generic_features = encoder.encode(generic.sentences, advance)
    with report.progress("pairs", len(duelling_pairs(textset))) as advance:
        pairs = collapse_pairs(textset, encoder, advance, keep_texts=config.keep_texts)
    texts = Texts(
        textset=textset,
        sentences=sentences,
        features=features,
        general=collapse_general(features, sentences),
        pairs=pairs,
        truncated=encoder.truncated,
        generic=generic,
        generic_features=generic_features,
    )
    report.texts(_counts(texts), textset)
    if config.keep_texts and pairs is not None and not pairs.texts:
        report.say(
            f"  the {count_duel_texts(textset):,} one-to-one texts are not kept, only up to {MAX_KEPT:,} are: "
            "explanations will tell duels, not their texts"
        )
    return texts


def _export_both(config: ExportConfig, clip: ClipModel, texts: Texts, report: Report) -> None:
    """Build in a scratch folder beside the target, verify there, and only then move into place."""
    target = config.engine_path
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        built = Path(folder) / target.name
        graph = EngineGraph(clip).eval()
        tower = clip.tower()
        with report.stage("ONNX graph"):
            files = _written(graph, built, width=texts.features.shape[1], tower=tower)
        pixels = photograph_pixels(config.verify_images, clip.preprocess)
        with report.stage("fidelity"):
            fidelity = verify(graph, built, pixels, texts.general.bank, tolerance=config.tolerance)
        report.say(f"torch against ONNX Runtime: {fidelity}")
        narrowed = narrow(config, files, clip.preprocess, texts.general, report)
        files, plans = narrowed.files, {}
        if config.format == "plan":
            built_plan = Path(folder) / config.plan_path.name
            plans[built_plan.name] = make_plan(config, files[0], built_plan, narrowed.precision, report)
            files = [*files, built_plan]
        weights = Path(folder) / config.weights_path.name
        hashes = {file.name: sha256_of(file) for file in files}
        measured = {**fidelity.to_json(), **narrowed.to_json()}
        meta = replace(_metadata(clip, texts, config, tower, hashes, measured), plans=plans)
        if plans:
            ran = check_plan(config, built_plan, meta, graph, pixels, report)
            meta = replace(meta, fidelity={**meta.fidelity, "plan": ran})
        save_weights(weights, meta, _tensors(texts, config))
        placed = [file.replace(target.with_name(file.name)) for file in [*files, weights]]
        report.wrote(*placed)


def _written(graph: EngineGraph, path: Path, *, width: int, tower: str) -> list[Path]:
    try:
        return export_onnx(graph, path, width=width, tower=tower)
    except OSError as err:
        raise EngineError(
            f"{path.name}: cannot be written ({err.strerror}); free space or choose another --out"
        ) from err


def _reused(engine: Path, clip: ClipModel, texts: Texts, config: ExportConfig) -> Metadata:
    """Metadata for a further weight file of an engine that exists; refuses an engine of another image tower."""
    known = load_weights(engine.with_suffix(".safetensors")).meta
    tower = clip.tower()
    if known.tower != tower:
        raise ModelError(
            f"{engine} was made from {known.model} ({known.pretrained}), got {clip.name} ({clip.pretrained}); "
            "give the same --model and --pretrained, or leave out --engine to make a new engine"
        )
    if sha256_of(engine) not in known.engine_files.values():
        raise EngineError(f"{engine} and its weight file do not belong together; export the engine again")
    found = _metadata(clip, texts, config, tower, dict(known.engine_files), known.fidelity)
    return replace(found, plans=known.plans)


def _metadata(
    clip: ClipModel,
    texts: Texts,
    config: ExportConfig,
    tower: str,
    engine_files: dict[str, str],
    fidelity: Mapping[str, Any],
) -> Metadata:
    return Metadata(
        labels=texts.textset.labels,
        model=clip.name,
        pretrained=clip.pretrained,
        tower=tower,
        preprocess=clip.preprocess.to_json(),
        logit_scale=clip.logit_scale,
        margin=config.margin,
        texts={"name": texts.textset.name, "source": dict(texts.textset.source), **_counts(texts)},
        engine_files=engine_files,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        fidelity=dict(fidelity),
        generic={} if texts.generic is None else texts.generic.to_json(),
    )


def _tensors(texts: Texts, config: ExportConfig) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = dict(texts.general.__dict__)
    if texts.pairs is not None:
        tensors.update(pair_rows=texts.pairs.rows, **texts.pairs.texts)
        if texts.pairs.starts is not None and texts.pairs.others is not None:
            tensors.update(pair_starts=texts.pairs.starts, pair_others=texts.pairs.others)
    if config.keep_texts:
        classes = [[(sentence.kind, sentence.text) for sentence in own] for own in texts.sentences]
        tensors.update(pack_texts(texts.features, classes))
    if texts.generic_features is not None:
        tensors["generic_texts"] = texts.generic_features
    return tensors


def _counts(texts: Texts) -> dict[str, Any]:
    """Counts of texts by kind and of pairs, holes included."""
    classes = len(texts.textset.labels)
    kinds = [sentence.kind for own in texts.sentences for sentence in own]
    return {
        "general": {kind: kinds.count(kind) for kind in ("name", *GENERAL_KINDS)},
        "classes_without": {kind: len(labels) for kind, labels in texts.textset.holes().items()},
        "pairs": 0 if texts.pairs is None else len(texts.pairs.rows),
        "pairs_possible": classes * (classes - 1) // 2,
        "pairs_one_sided": len(one_sided_pairs(texts.textset)),
        "truncated": texts.truncated,
    }


def _check_writable(config: ExportConfig) -> None:
    folder = config.weights_path.parent
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder to write to; make it, or choose another --out")
