"""Findings -> text for people, one section a topic and what to do last, or an object for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from coder_engine.doctor.backends import states
from coder_engine.doctor.engine_file import EngineFile
from coder_engine.doctor.facts import Facts
from coder_engine.doctor.hardware import Gpu
from coder_engine.doctor.software import BUILD_SIDE, EXTRAS, NEEDED, TEXT_SIDE
from coder_engine.doctor.todo import Todo, exit_code, todos

COLUMNS = 99
"""Of a line, where no terminal says otherwise."""

_LABEL = 22
_WORDS = {"fault": "must be mended", "warning": "does not work", "option": "could be had"}

Rows = Iterable[tuple[str, str]]


def as_json(facts: Facts, engine: EngineFile | None) -> dict[str, Any]:
    """All of it for programs."""
    return {
        "ok": exit_code(facts, engine) == 0,
        "facts": asdict(facts),
        "backends": [{**asdict(state), "usable": state.problem is None} for state in states(facts)],
        "engine": {**asdict(engine), "ok": engine.ok} if engine else None,
        "todo": [asdict(todo) for todo in todos(facts, engine)],
    }


def as_text(facts: Facts, engine: EngineFile | None, *, columns: int = COLUMNS) -> str:
    """All of it for people, in lines of at most ``columns``; commands and single words stay whole."""
    sections: dict[str, Rows] = {
        f"coder-engine {facts.version}".rstrip(): [("system", facts.system), ("python", facts.python)],
        "cpu": _cpu(facts),
        "nvidia gpu": _gpu(facts),
        "backends": [
            (state.title, (state.problem or "can run engines") + (f" ({state.version})" if state.version else ""))
            for state in states(facts)
        ],
        "packages": _versions(facts.packages, NEEDED),
        "build side": [
            *_versions(facts.packages, (*BUILD_SIDE, *TEXT_SIDE)),
            ("WordNet", facts.wordnet or "-"),
            *_versions(facts.packages, [name for name in EXTRAS if name in facts.packages]),
        ],
    }
    if engine:
        sections["engine"] = _engine(engine)
    parts = ["".join([f"{title}\n", *(_row(*row, columns) for row in rows)]) for title, rows in sections.items()]
    return "\n".join([*parts, _todo(todos(facts, engine), columns)])


def _cpu(facts: Facts) -> Rows:
    features = ", ".join(facts.features) or ("none that matter" if facts.lacking else "unknown")
    lacking = f"; not {', '.join(facts.lacking)}" if facts.lacking and facts.features else ""
    best, *others = facts.isas or ("",)
    kernels = f"{best} in use" + (f"; also {', '.join(others)}" if others else "") if best else "cannot be loaded"
    free = f"; {_gib(facts.memory_free)} of the machine's free" if facts.memory_free else ""
    yield "model", facts.cpu
    yield "CPUs", f"{facts.cpus} usable of {facts.present}"
    yield "instruction sets", features + lacking
    yield "our kernels", kernels
    yield "memory", (_gib(facts.memory) if facts.memory else "unknown") + free


def _gpu(facts: Facts) -> Rows:
    for number, gpu in enumerate(facts.gpus):
        yield f"GPU {number}", _gpu_line(gpu)
    if facts.jetson:
        yield "Jetson", facts.jetson
    if not facts.gpus and not facts.jetson:
        yield "GPU", "on the PCI bus, without a driver" if facts.pci_gpu else "none"
    if facts.gpus or facts.jetson or facts.driver or facts.gpu_fault or facts.pci_gpu:
        serves = f", serves CUDA up to {facts.driver_cuda}" if facts.driver_cuda else ""
        yield "driver", (facts.driver or ("unknown" if facts.driver_cuda else "-")) + serves
    if facts.gpus or facts.jetson:
        yield "our CUDA head", facts.cuda_head
    if facts.gpu_fault:
        yield "nvidia-smi", facts.gpu_fault
    if facts.hidden is not None:
        yield "visible GPUs", f"CUDA_VISIBLE_DEVICES={facts.hidden}"
    if facts.gpus or facts.jetson or "onnxruntime-gpu" in facts.packages:
        yield from ((name, ", ".join(files) or "-") for name, files in facts.cuda_files.items())


def _gpu_line(gpu: Gpu) -> str:
    memory = f", {_gib(gpu.memory)}" if gpu.memory else ""
    return f"{gpu.name}, compute capability {gpu.capability or 'unknown'}{memory}"


def _engine(engine: EngineFile) -> Rows:
    yield "file", engine.path
    yield "weights", f"{engine.weights}; the two belong together" if engine.belongs else engine.weights
    for trial in engine.trials:
        yield trial.title, f"{'runs it' if trial.runs else 'does not run it'}: {trial.text}"


def _versions(packages: Mapping[str, str], names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, packages.get(name, "-")) for name in names]


def _todo(found: Iterable[Todo], columns: int) -> str:
    lines = ["to do\n"]
    for todo in found:
        lines.append(_wrap(todo.text, f"  {_WORDS[todo.level]:<16}", columns))
        lines += [f"{'':18}    {command}\n" for command in todo.commands]
    return "".join(lines) if len(lines) > 1 else "to do\n  nothing\n"


def _row(label: str, value: str, columns: int) -> str:
    return _wrap(value, f"  {label:<{_LABEL - 2}}", columns)


def _wrap(text: str, first: str, columns: int) -> str:
    """Whatever a driver or a path may hold, spaces are all that separates words."""
    lines = textwrap.wrap(
        " ".join(text.split()),
        max(columns, 2 * len(first)),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )
    return "\n".join(lines or [first.rstrip()]) + "\n"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
