"""What an export writes over: nothing that it reads, and nothing that another program made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from coder_engine.backends.base import is_engine
from coder_engine.errors import ModelError, WeightsError
from coder_engine.files import sha256_of
from coder_engine.places import is_read, is_weight_file, other_engine
from coder_engine.weights import load_weights
from coder_export.config import ExportConfig

_ELSE = "choose another --out"


def check_targets(config: ExportConfig) -> None:
    """Refuse names whose files would be lost.

    Raises:
        ModelError: a target is a folder, what the export is made from, of another program, or the weight file of
            another engine than the one that is reused or written.
    """
    for target in _targets(config):
        if target.is_dir():
            raise ModelError(f"{target}: is a folder where a file is to be written; {_ELSE}")
        if not target.exists() or not target.stat().st_size:
            continue
        if is_read(target, _sources(config)):
            raise ModelError(f"{target}: would replace what it is made from; {_ELSE}")
        if not _ours(target, config):
            raise ModelError(f"{target}: is there, and no whole file of coder-export; move it away, or {_ELSE}")
    if (owner := _owner(config)) is not None:
        which = f"is the weight file of {owner}, and would be made for {config.engine_path}"
        raise ModelError(f"{config.weights_path}: {which}; {_ELSE}")


def left_behind(config: ExportConfig) -> list[str]:
    """Lines about files of this stem that the export has not written anew, and that do not go with what it has."""
    lines = []
    if not config.standalone and is_engine(config.standalone_path):
        found = f"{config.standalone_path} is of an earlier export and keeps its labels"
        lines.append(f"{found}; delete it, or export with --standalone")
    if config.engine is None and config.format != "plan" and config.plan_path.is_file():
        found = f"{config.plan_path} is older than this export, and the new weight file is not for it"
        lines.append(f"{found}; delete it, or export with --format plan")
    data = _data_path(config)
    if config.engine is None and data.is_file() and data.name not in _made_for(config.weights_path):
        lines.append(f"{data} is older than this export, and the new engine does not read it; delete it")
    return lines


def _targets(config: ExportConfig) -> Iterator[Path]:
    yield config.weights_path
    if config.engine is None:
        yield config.engine_path
        yield _data_path(config)
    if config.format == "plan":
        yield config.plan_path
    if config.standalone:
        yield config.standalone_path


def _data_path(config: ExportConfig) -> Path:
    """Where the weights of a large engine are, outside its graph."""
    return config.engine_path.with_name(config.engine_path.name + ".data")


def _sources(config: ExportConfig) -> Iterator[Path]:
    for given in (config.labels, config.checkpoint, config.pretrained, config.general_texts, config.engine):
        if given is not None:
            yield Path(given)


def _ours(path: Path, config: ExportConfig) -> bool:
    """By what the file says of who made it; a plan says nothing, the weight file beside it does."""
    if path.suffix == ".onnx":
        return is_engine(path)
    if path.suffix == ".data":  # of an .onnx that was judged already
        return True
    if path.suffix != ".plan":
        return is_weight_file(path)
    try:
        return path.name in load_weights(config.weights_path).meta.plans
    except WeightsError:
        return False


def _owner(config: ExportConfig) -> Path | str | None:
    """Another engine than this export's that the weight file at the target was made for."""
    if config.engine is not None:
        return other_engine(config.weights_path, config.engine)
    engine, made_for = config.engine_path, _made_for(config.weights_path)
    if engine.name in made_for or (engine.is_file() and sha256_of(engine) in made_for.values()):  # renamed together
        return None
    return ", ".join(made_for) or None


def _made_for(weights: Path) -> Mapping[str, str]:
    """The engine files that a weight file names; none where no engine can open it, as one of an older format."""
    try:
        return load_weights(weights).meta.engine_files
    except WeightsError:
        return {}
