"""Train coder-tiny: ``python -m coder_export.tiny.train --data train.tar.gz``.

A real CLIP recipe at toy scale. Images are CIFAR-10 photographs; captions are the sentences of the shipped ``cifar10``
text set, one-to-one texts included. With ten classes every batch holds many captions that fit an image, so the
contrastive loss counts every caption of the image's class as a positive (UniCL, CVPR 2022).
"""

from __future__ import annotations

import argparse
import io
import math
import random
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from coder_export.checkpoint import load_into, read_checkpoint
from coder_export.encode import text_features
from coder_export.shipped import open_textset
from coder_export.textset import TextSet
from coder_export.tiny import CONFIG, NAME, WEIGHTS

SIZE = 64
HELD_OUT = 2000


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A one-cycle run: ``strength`` scales the augmentation."""

    epochs: int
    peak: float
    strength: float


PHASES = (Phase(epochs=24, peak=2e-3, strength=1.0), Phase(epochs=7, peak=1e-3, strength=0.3))
"""A net this small underfits what it sees through strong augmentation; a short second run with little settles it."""


def read_images(path: Path, labels: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a .tar.gz of class folders: uint8 [N, 3, 64, 64] and class ids int64 [N]."""
    images, classes = [], []
    with tarfile.open(path) as archive:
        for member in archive:
            label = Path(member.name).parent.name
            stream = archive.extractfile(member) if label in labels and member.isfile() else None
            if stream is not None:
                picture = Image.open(io.BytesIO(stream.read())).convert("RGB")
                # Square images: this is what the engine's preprocessing does to them.
                images.append(np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
                classes.append(labels.index(label))
    if not images:
        raise SystemExit(f"{path}: no images in folders named {', '.join(labels)}; give CIFAR-10 as class folders")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(classes)


class Captions:
    """Tokens of every sentence of a text set, sampled by class and kind."""

    def __init__(self, textset: TextSet, tokenizer: open_clip.SimpleTokenizer) -> None:
        ids = range(len(textset.labels))
        self.names = tokenizer([textset.sentences(i)[0].text for i in ids])
        self._kinds: list[list[torch.Tensor]] = []
        for a in ids:
            general = textset.sentences(a)
            groups = [
                [s.text for s in general if s.kind == kind] for kind in ("name", "attribute", "analogous", "synonym")
            ]
            duels = [text for b in ids for text in textset.duel_sentences(a, b)]
            # A third of the captions are one-to-one texts: the rerank lives on them.
            self._kinds.append([tokenizer(group) for group in [*groups, duels, duels] if group])

    def sample(self, classes: torch.Tensor) -> torch.Tensor:
        """One caption for each class id of ``classes``: tokens int64 [len(classes), 77]."""
        groups = (random.choice(self._kinds[c]) for c in classes.tolist())
        return torch.stack([group[random.randrange(len(group))] for group in groups])


def augment(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Random flip, zoom, shift, and by chance ``strength`` a grey square; uint8 to float [B, 3, 64, 64] in 0..255."""
    count = len(images)
    zoom = 1 + strength * torch.empty(count).uniform_(-0.2, 0.15)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * flip, zoom
    theta[:, :, 2] = strength * torch.empty(count, 2).uniform_(-0.2, 0.2)
    grid = F.affine_grid(theta, [count, 3, SIZE, SIZE], align_corners=False)
    out = F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    for image, (y, x) in zip(out, torch.randint(0, SIZE - 16, (count, 2)).tolist(), strict=True):
        if random.random() < strength:
            image[:, y : y + 16, x : x + 16] = 127.0
    return out


def contrastive_loss(
    image: torch.Tensor,
    text: torch.Tensor,
    image_class: torch.Tensor,
    text_class: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """Symmetric cross-entropy of unit features [B, D], [T, D] where every text of an image's class is a positive."""
    logits = scale * image @ text.T
    positive = (image_class[:, None] == text_class[None, :]).float()
    forward = -(F.log_softmax(logits, dim=1) * positive / positive.sum(1, keepdim=True).clamp(min=1)).sum(1).mean()
    backward = -(F.log_softmax(logits, dim=0) * positive / positive.sum(0, keepdim=True).clamp(min=1)).sum(0).mean()
    return (forward + backward) / 2


class Trainer:
    """A model in training, the captions it reads, and images split into training and held-out rows."""

    def __init__(self, images: torch.Tensor, classes: torch.Tensor, textset: TextSet, start: Path | None) -> None:
        open_clip.add_model_config(CONFIG)
        self.model: Any = open_clip.create_model(NAME).to(memory_format=torch.channels_last)
        if start is not None:
            load_into(self.model, read_checkpoint(start)[0], where=str(start))
        self.captions = Captions(textset, open_clip.get_tokenizer(NAME))
        self.images, self.classes = images, classes
        order = torch.randperm(len(images))
        self.held_out, self.rows = order[:HELD_OUT], order[HELD_OUT:]

    def run(self, phase: Phase, batch_size: int) -> None:
        """One phase; prints one line an epoch, with zero-shot accuracy on the held-out images."""
        steps = len(self.rows) // batch_size
        optimiser = torch.optim.AdamW(parameter_groups(self.model), lr=phase.peak, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, phase.peak, total_steps=phase.epochs * steps, pct_start=0.15
        )
        for epoch in range(phase.epochs):
            start, total = time.monotonic(), 0.0
            self.model.train()
            for batch in batches(self.rows, batch_size):
                loss = step(
                    self.model,
                    self.captions,
                    augment(self.images[batch], phase.strength),
                    self.classes[batch],
                )
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                total += loss.item()
            accuracy = evaluate(self.model, self.captions, self.images[self.held_out], self.classes[self.held_out])
            seconds = time.monotonic() - start
            print(
                f"epoch {epoch + 1}/{phase.epochs}  loss {total / steps:.3f}  held-out {accuracy:.4f}  {seconds:.0f} s",
                flush=True,
            )


def parameter_groups(model: Any) -> list[dict[str, Any]]:
    """Matrices decay; vectors, and the word embeddings, which most batches do not see, do not."""
    embedding = model.token_embedding.weight
    decayed = [p for p in model.parameters() if p.ndim >= 2 and p is not embedding]
    kept = [p for p in model.parameters() if p.ndim < 2 or p is embedding]
    return [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]


def step(model: Any, captions: Captions, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Loss of one batch: against sampled captions, and against the ten class-name prompts."""
    text = text_features(model, torch.cat([captions.names, captions.sample(classes)]))
    text = F.normalize(text, dim=-1)
    image = F.normalize(model.visual(normalised(images)), dim=-1)
    scale = model.logit_scale.exp().clamp(max=100)
    names = len(captions.names)
    by_name = F.cross_entropy(scale * image @ text[:names].T, classes, label_smoothing=0.05)
    return by_name + contrastive_loss(image, text[names:], classes, classes, scale)


def batches(rows: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Shuffled full batches of ``rows``."""
    shuffled = rows[torch.randperm(len(rows))]
    yield from shuffled[: len(rows) // batch_size * batch_size].split(batch_size)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """CLIP's pixel normalisation of float [B, 3, H, W] in 0..255."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def evaluate(model: Any, captions: Captions, images: torch.Tensor, classes: torch.Tensor) -> float:
    """Zero-shot top-1 accuracy with the class-name prompts."""
    model.eval()
    names = F.normalize(text_features(model, captions.names), dim=-1)
    hits = 0
    for pixels, target in zip(images.split(250), classes.split(250), strict=True):
        features = F.normalize(model.visual(normalised(pixels.float())), dim=-1)
        hits += int(((features @ names.T).argmax(1) == target).sum())
    return hits / len(images)


def save(model: Any, textset: TextSet, out: Path) -> None:
    """Store as float16 safetensors; embeddings of words never seen in training become zero: they say nothing."""
    tokenizer = open_clip.get_tokenizer(NAME)
    ids = range(len(textset.labels))
    sentences = [s.text for i in ids for s in textset.sentences(i)]
    sentences += [text for a in ids for b in ids for text in textset.duel_sentences(a, b)]
    seen = torch.unique(tokenizer(sentences))
    with torch.no_grad():
        unseen = torch.ones(model.vocab_size, dtype=torch.bool)
        unseen[seen] = False
        model.token_embedding.weight[unseen] = 0
        model.logit_scale.clamp_(max=math.log(100))
    state = model.state_dict()
    save_file({key: (v.half() if v.is_floating_point() else v).contiguous() for key, v in state.items()}, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 training images: .tar.gz of class folders")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="weights to write (default: those in the package)")
    parser.add_argument("--start", type=Path, help="weights that the first phase gave: run the second one only")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    textset = open_textset("cifar10")
    images, classes = read_images(args.data, textset.labels)
    print(f"{len(images)} images, {len(textset.labels)} classes, seed {args.seed}", flush=True)
    trainer = Trainer(images, classes, textset, args.start)
    for phase in PHASES if args.start is None else PHASES[1:]:
        trainer.run(phase, args.batch_size)
        save(trainer.model, textset, args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
