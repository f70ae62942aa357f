"""The machine that figures belong to."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from coder_engine import __version__
from coder_engine.backends.onnxruntime import WHEELS
from coder_engine.doctor.hardware import cpu, memory_bytes, nvidia
from coder_engine.machine.cpus import usable_cpus


def machine() -> dict[str, Any]:
    """The hardware and the versions that a figure belongs to."""
    model, has, _ = cpu(Path("/"))
    gpus, driver, _ = nvidia(Path("/"))
    versions = {"python": platform.python_version(), "coder-engine": __version__}
    for name in ("numpy", "pillow", "simplejpeg", *WHEELS, "openvino", "torch", "open_clip_torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": model,
        "features": list(has),
        "cpus": usable_cpus(),
        "memory_bytes": memory_bytes(Path("/"))[0],
        "gpus": [asdict(gpu) for gpu in gpus],
        "driver": driver,
        "versions": versions,
    }


def machine_line(found: dict[str, Any]) -> str:
    """What ``machine`` found, for people."""
    parts = [f"{found['cpu']} ({', '.join(found['features'])}), {found['cpus']} CPUs"]
    parts += [gpu["name"] for gpu in found["gpus"]]
    return "; ".join([*parts, ", ".join(f"{name} {value}" for name, value in found["versions"].items())])
