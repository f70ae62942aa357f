"""The paper's Table 2 for coder-tiny: accuracy as the kinds of text come in, one after the other.

    python tests/bench/kinds.py FOLDER

FOLDER holds labelled CIFAR-10 images, one folder a class. P is the class name's prompt; Att, Ana and Syn are attribute,
analogous and synonym texts, 1v1 the rerank by one-to-one texts.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from coder_engine import Engine
from coder_export.config import ExportConfig
from coder_export.pipeline import export
from coder_export.report import Report
from coder_export.textset import open_textset, save_textset

ROWS: dict[str, tuple[str, ...]] = {
    "P": (),
    "P + Att": ("attribute",),
    "P + Att + Ana": ("attribute", "analogous"),
    "P + Att + Ana + Syn": ("attribute", "analogous", "synonym"),
    "P + Att + Ana + Syn + 1v1": ("attribute", "analogous", "synonym", "pair"),
}


def run(folder: Path) -> None:
    images = sorted(folder.rglob("*.jpg"))
    truth = [path.parent.name for path in images]
    full = open_textset("cifar10")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        labels = root / "labels.txt"
        labels.write_text("".join(f"{label}\n" for label in full.labels))
        engine = None
        for name, kinds in ROWS.items():
            some = root / f"texts{len(kinds)}"
            some.mkdir()
            texts = tuple({kind: own[kind] for kind in own if kind in kinds} for own in full.texts)
            save_textset(replace(full, texts=texts, pairs=full.pairs if "pair" in kinds else {}), some)
            config = ExportConfig(
                model="coder-tiny",
                labels=labels,
                texts=str(some),
                out=root / f"m{len(kinds)}",
                engine=root / "m0.onnx" if engine else None,
            )
            export(config, Report(quiet=True))
            if engine is None:
                engine = Engine(root / "m0.onnx")
            else:
                engine.use_labels(config.weights_path)
            found = [prediction.label for prediction in engine.predict_stream(map(str, images))]
            right = sum(a == b for a, b in zip(found, truth, strict=True))
            print(f"{name:<26} {right / len(images):7.2%}  of {len(images):,} images")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
