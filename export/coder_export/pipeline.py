"""The stages in order: labels -> texts -> text features -> collapsed weights -> graph -> engine, verified."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from coder_engine.backends.base import is_fused, stored_precision
from coder_engine.backends.onnxruntime_cuda import OnnxRuntimeCuda
from coder_engine.engine_path import check_engine_path
from coder_engine.errors import EngineError, ModelError
from coder_engine.files import put, sha256_of
from coder_engine.labelled_images import find_images
from coder_engine.plans.build import find_builder
from coder_engine.weightfile.metadata import Metadata
from coder_engine.weights import load_weights, save_weights
from coder_export.config import ExportConfig
from coder_export.engine_graph import EngineGraph
from coder_export.few_shot import fit_adapter
from coder_export.fused import check_fusible
from coder_export.generate.wordnet.lexicon import names_and_synonyms
from coder_export.generic import open_generic
from coder_export.labels import doubt, load_labels, same_tokens
from coder_export.model import ClipModel, open_model
from coder_export.narrow import narrow
from coder_export.on_device import check_on_cpu, check_on_gpu
from coder_export.onnx_model import export_onnx
from coder_export.photographs import image_files, photograph_pixels
from coder_export.plan import make_plan
from coder_export.report import Report
from coder_export.standalone import export_standalone
from coder_export.targets import check_targets, left_behind
from coder_export.texts import Texts, choose_texts, embed_texts
from coder_export.verify import verify

_PACKAGES = ("coder-engine", "torch", "open_clip_torch", "onnx", "numpy", "safetensors")


def export(config: ExportConfig, report: Report) -> None:
    """Run every stage, and write what is asked for.

    The engine and its weight file (the latter alone where an engine is reused) are moved into place once both are built
    and checked. A few-shot adapter and a standalone graph are made from these: where one of them fails, the pair stays.

    Raises:
        TextsError, ModelError, EngineError, WeightsError, BackendError, DataError: see the stages.
    """
    labels = load_labels(config.labels)
    if why := doubt(labels):
        report.warn(f"{config.labels}: {why}")
    textset = choose_texts(config, labels, report)
    generic = None if config.general_texts is None else open_generic(config.general_texts)
    _check_paths(config, labels)
    known = None if config.engine is None else _known(config.engine)
    clip = open_model(config.model, config.pretrained, checkpoint=config.checkpoint, seed=config.seed)
    report.say(f"{clip.name}: " + "; ".join(clip.notes))
    for names in same_tokens(labels, clip.tokenizer):
        report.warn(f"{config.labels}: {names}: one text to the tokenizer, so by their names these classes always tie")
    tower = clip.tower()
    if known is not None:
        _check_tower(config.engine_path, known, clip, tower)
    if config.format == "cuda":
        check_fusible(clip.visual, clip.name)
    if textset is None:
        textset = names_and_synonyms(labels, clip, report)
        report.say(
            "  texts gave ViT-B/16 4 to 14 points top-1 more on the paper's nine datasets: "
            f"coder-texts --labels {config.labels} --out texts --llm MODEL writes some; then --texts texts"
        )
    texts = embed_texts(textset, clip, config, report, generic)
    if known is not None:
        meta = _metadata(clip, texts, config, tower, dict(known.engine_files), known.fidelity)
        save_weights(config.weights_path, replace(meta, plans=known.plans), texts.tensors(keep=config.keep_texts))
        report.wrote(config.weights_path)
    else:
        _export_both(config, clip, texts, tower, report)
    if config.support is not None:
        kept = [texts.features] if texts.generic_features is None else [texts.features, texts.generic_features]
        fit_adapter(config, np.concatenate(kept), report)
    if config.standalone:
        pixels = photograph_pixels(config.verify_images, clip.preprocess)
        export_standalone(config.engine_path, config.weights_path, config.standalone_path, pixels, report)
    for line in left_behind(config):
        report.warn(line)
    runs = config.plan_path if config.format == "plan" else config.engine_path
    report.next_command(runs, None if config.engine is None else config.weights_path)


def _export_both(config: ExportConfig, clip: ClipModel, texts: Texts, tower: str, report: Report) -> None:
    """Build in a scratch folder beside the target, verify there, and only then move into place."""
    target = config.engine_path
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        built = Path(folder) / target.name
        graph = EngineGraph(clip).eval()
        with report.stage("ONNX graph"):
            width = texts.features.shape[1]
            files = export_onnx(graph, built, width=width, tower=tower, cuda=config.format == "cuda")
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
        if config.format != "onnx":
            runs = built if config.format == "cuda" else built_plan
            ran = check_on_gpu(config, runs, meta, narrowed.precision, graph, pixels, report)
            meta = replace(meta, fidelity={**meta.fidelity, config.format: ran})
        elif narrowed.precision != "int8":  # whose gate has run it there
            ran = check_on_cpu(built, narrowed.precision, graph, pixels, report)
            meta = replace(meta, fidelity={**meta.fidelity, "openvino": ran})
        save_weights(weights, meta, texts.tensors(keep=config.keep_texts))
        placed = [put(file, target.with_name(file.name)) for file in [*files, weights]]
        report.wrote(*placed)
        if narrowed.refusal:
            report.warn(narrowed.refusal)


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
        texts={"name": texts.textset.name, "source": dict(texts.textset.source), **texts.counts()},
        engine_files=engine_files,
        versions=_versions(),
        fidelity=dict(fidelity),
        generic={} if texts.generic is None else texts.generic.to_json(),
    )


def _versions() -> dict[str, str]:
    """What made the files. ONNX Runtime says it itself: two packages bring it, of which one is installed."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "onnxruntime": onnxruntime.__version__}


def _check_paths(config: ExportConfig, labels: tuple[str, ...]) -> None:
    """What can be wrong with files and folders should not wait for the stages that take minutes."""
    _check_writable(config.weights_path.parent)
    check_targets(config)
    for folder in (config.verify_images, config.calibrate):
        if folder is not None and not image_files(folder):
            raise ModelError(f"{folder}: no image in it; give a folder of photographs (sub-folders count)")
    if config.format == "plan":
        find_builder(config.engine_path, config.trt)
    if config.standalone and config.engine is not None:
        _check_runs_anywhere(config.engine)
    if config.support is not None:
        find_images(config.support, labels)
        if config.format == "cuda":
            OnnxRuntimeCuda.require()  # the adapter is fitted to what the engine gives


def _check_runs_anywhere(engine: Path) -> None:
    """Refuse to make a standalone graph of an engine that does not run everywhere."""
    if is_fused(engine):
        raise EngineError(
            f"{engine}: made for NVIDIA GPUs (--format cuda), and a standalone graph runs anywhere; "
            "give an engine that was exported without --format"
        )
    if (stored := stored_precision(engine)) != "fp32":
        raise EngineError(
            f"{engine} is in {stored}, and a standalone graph runs anywhere, so it is fp32; give an engine that "
            "was exported without --precision"
        )


def _check_writable(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder to write to; make it, or choose another --out")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise ModelError(
            f"{folder}: cannot be written to ({err.strerror}); free space or choose another --out"
        ) from err


def _known(engine: Path) -> Metadata:
    """What the weight file of an engine that exists says of it."""
    check_engine_path(engine)
    known = load_weights(engine.with_suffix(".safetensors")).meta
    if sha256_of(engine) not in known.engine_files.values():
        raise EngineError(f"{engine} and its weight file do not belong together; export the engine again")
    return known


def _check_tower(engine: Path, known: Metadata, clip: ClipModel, tower: str) -> None:
    """Refuse an engine of another image tower than the model's."""
    if known.tower == tower:
        return
    if (known.model, known.pretrained) != (clip.name, clip.pretrained):
        raise ModelError(
            f"{engine} was made from {known.model} ({known.pretrained}), got {clip.name} ({clip.pretrained}); "
            "give the same --model and --pretrained, or leave out --engine to make a new engine"
        )
    # The tower's hash has the classes of its layers, so that QuickGELU and GELU differ; a library may rename them.
    then = {name: known.versions.get(name, "none") for name in ("torch", "open_clip_torch")}
    changed = [f"{name} {old}, here {version(name)}" for name, old in then.items() if old != version(name)]
    library = f", or by another library: {'; '.join(changed)}" if changed else ""
    raise ModelError(
        f"{engine} was made from other weights of {clip.name} ({clip.pretrained}) than these{library}; "
        "give those (--checkpoint, --seed), or leave out --engine to make a new engine"
    )
