"""A small network of magnetic tiles, taught by good photographs alone: which places were damaged, and how.

It never sees a defect, and nothing of it is pretrained. Good windows are damaged by a program (`damage.py`), and the
network tells for every place which damage that is, if any. What it sees just before its answer, and its answer, are
features of an `encoder`, of which a detector is calibrated as of a pretrained backbone.

References
- Li, Sohn, Yoon and Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization" (2021).
- Zhang, Dauphin and Ma, "Fixup Initialization: Residual Learning Without Normalization" (2019): no number of one place
  may depend on places far away, as it would with normalised layers.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from density_training import damage, timed
from density_training.backbone import SIDE, drawings, encoder, write
from density_training.compare_features import auroc
from density_training.model import REPOSITORY
from density_training.surface import GOOD, SPLIT_SEED, Photographs, parts
from density_training.timed import DEVICE, Measured, TimedProgress

NAME = "magnetic-tile-cutpaste"
CHECKPOINT = Path(".cache/magnetic-tile-cutpaste.pt")
WINDOW, BATCH = 128, 32 if DEVICE.type == "cpu" else 128
WORKERS = 0 if DEVICE.type == "cpu" else max(1, len(os.sched_getaffinity(0)) - 2)
"""Processes that damage windows for a GPU."""
RATE, DECAY, LARGEST_GRADIENT = 5e-4, 1e-3, 1.0
VALIDATION = 1024
"""Windows of photographs that fit a detector: how well damage in them is told decides which weights are kept."""

STRIDE = 8
"""A place stands for so many pixels in rows and columns."""
FEWEST = 0.1
"""A place is damaged if this share of its pixels is; with fewer it teaches nothing."""
UNKNOWN = -1


@dataclass(frozen=True)
class Config:
    """Numbers at a place at 2, 4, 8 and 16 pixels, and before the answer."""

    channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    features: int = 64
    blocks: tuple[int, int, int] = (2, 3, 2)


class Residual(nn.Module):
    """x + two convolutions, which begin as nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.second(F.silu(self.first(x))))


class Inspector(nn.Module):
    """`image` [N, 1, H, W] in level / 255 → `places` [N, 64, H/8, W/8], `kinds` [N, 7, H/8, W/8] logits of damage."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config = config or Config()
        half, quarter, fine, coarse = config.channels
        self.stem = nn.Conv2d(1, half, 5, stride=2, padding=2)
        self.quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.fine = nn.Conv2d(quarter, fine, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        quarters, fines, coarses = config.blocks
        self.quarter_blocks = nn.Sequential(*(Residual(quarter) for _ in range(quarters)))
        self.fine_blocks = nn.Sequential(*(Residual(fine) for _ in range(fines)))
        self.coarse_blocks = nn.Sequential(*(Residual(coarse) for _ in range(coarses)))
        self.join = nn.Conv2d(fine + coarse, config.features, 1)
        self.answer = nn.Conv2d(config.features, len(damage.KINDS) + 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.silu(self.stem((image - 0.4) * 4))
        x = self.quarter_blocks(F.silu(self.quarter(x)))
        fine = self.fine_blocks(F.silu(self.fine(x)))
        coarse = self.coarse_blocks(F.silu(self.coarse(fine)))
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        places = F.silu(self.join(torch.cat([fine, coarse], 1)))
        return places, self.answer(places)


def of_places(kinds: np.ndarray) -> np.ndarray:
    """From the damage of pixels [H, W] to that of places: the most frequent kind, `UNKNOWN` where there is little."""
    height, width = kinds.shape
    cells = kinds.reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE).transpose(0, 2, 1, 3)
    cells = cells.reshape(height // STRIDE, width // STRIDE, STRIDE**2)
    counts = np.stack([(cells == kind + 1).mean(2) for kind in range(len(damage.KINDS))])
    share = counts.sum(0)
    label = counts.argmax(0) + 1
    label[share < FEWEST] = UNKNOWN
    label[share == 0] = 0
    return label


def batch(images: list[np.ndarray], count: int, side: int, chance: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows uint8 [count, 1, side, side] of good images, three of four damaged, and the kinds of their places."""
    levels = np.empty((count, 1, side, side), np.uint8)
    kinds = np.empty((count, side // STRIDE, side // STRIDE), np.int64)
    for number in range(count):
        image = images[chance.integers(len(images))]
        y, x = (chance.integers(0, length - side + 1) for length in image.shape)
        window = image[y : y + side, x : x + side].astype(np.float32)
        if chance.random() < 0.5:
            window = window[:, ::-1]
        if chance.random() < 0.5:
            window = window[::-1]
        window = np.clip(window * chance.uniform(0.85, 1.15) + chance.uniform(-15, 15), 0, 255)
        of_pixels = np.zeros(window.shape, np.int64)
        if chance.random() < 0.75:
            others = [images[other].astype(np.float32) for other in chance.integers(len(images), size=2)]
            window, of_pixels = damage.damage(window, [image.astype(np.float32), *others], chance)
        levels[number, 0] = window.round()
        kinds[number] = of_places(of_pixels)
    return torch.from_numpy(levels), torch.from_numpy(kinds)


def square(images: list[np.ndarray]) -> list[np.ndarray]:
    """Images as a detector with `--resize` sees them, uint8 [224, 224]."""
    return [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]


class Damaged(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches without end of good images; every process that iterates draws others."""

    def __init__(self, images: list[np.ndarray]) -> None:
        super().__init__()
        self.images = images

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw from the system's own chance, so that no two processes give the same."""
        torch.set_num_threads(1)
        chance = np.random.default_rng()
        while True:
            yield batch(self.images, BATCH, WINDOW, chance)


def loss(network: nn.Module, levels: Tensor, kinds: Tensor) -> Tensor:
    """Mean cross-entropy of the kinds of places that are known."""
    levels, kinds = levels.to(DEVICE, non_blocking=True), kinds.to(DEVICE, non_blocking=True)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        _, logits = network((levels.float() / 255).contiguous(memory_format=torch.channels_last))
    return F.cross_entropy(logits.float(), kinds, ignore_index=UNKNOWN)


@torch.inference_mode()
def told(network: nn.Module, levels: Tensor, kinds: Tensor) -> Measured:
    """How well the places of windows are told."""
    damaged, others, losses = [], [], []
    for some, known in zip(levels.split(BATCH), kinds.split(BATCH), strict=True):
        _, logits = network(some.to(DEVICE).float() / 255)
        logits = logits.cpu()
        losses.append(F.cross_entropy(logits, known, ignore_index=UNKNOWN).item())
        evidence = logits[:, 1:].logsumexp(1) - logits[:, 0]
        damaged.append(evidence[known > 0])
        others.append(evidence[known == 0])
    nats, area = float(np.mean(losses)), auroc(torch.cat(others), torch.cat(damaged))
    return Measured(f"{nats:.4f} nats a place, damaged places against others: AUROC {area:.4f}", nats)


def train(images: list[np.ndarray], validation: list[np.ndarray], minutes: float) -> str:
    """Train for so many minutes on a GPU or one thread, from the checkpoint if there is one.

    The weights that are kept are those with the smallest loss in damaged windows of other good photographs. Answers
    how well those tell them.
    """
    torch.set_num_threads(1)
    network = Inspector().to(DEVICE, memory_format=torch.channels_last)
    kept = batch(validation, VALIDATION, WINDOW, np.random.default_rng(2))
    windows = iter(DataLoader(Damaged(images), batch_size=None, num_workers=WORKERS, pin_memory=WORKERS > 0))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    timed.train(
        network,
        lambda both: loss(network, *both),
        lambda _: next(windows),
        [optimiser],
        timed.TimedRecipe(minutes=minutes, batch_size=BATCH),
        CHECKPOINT,
        lambda averaged: told(averaged, *kept),
        LARGEST_GRADIENT,
    )
    network.load_state_dict(torch.load(CHECKPOINT, weights_only=True, map_location=DEVICE)["model"])
    return told(network, *kept).report


FAMILY = encoder("places", "kinds")


def export(images: list[np.ndarray], archive: str, folder: Path) -> None:
    """Write the version of the checkpoint."""
    checkpoint = torch.load(CHECKPOINT, weights_only=True, map_location="cpu")
    network = Inspector(Config(**checkpoint["config"])).eval()
    network.load_state_dict(checkpoint["model"])
    progress, recipe = TimedProgress(**checkpoint["progress"]), checkpoint["recipe"]
    write(
        folder,
        network,
        FAMILY,
        drawings(),
        name=NAME,
        description="Network that was taught to tell damage on magnetic tiles without defects: maps of features",
        provenance={
            "data": f"{len(images)} photographs of {GOOD} in {archive} (Huang, Qiu, Guo 2020), split seed {SPLIT_SEED}",
            "licence": "weights: that of this project; the photographs are not part of it",
            "command": f"python -m density_training.cutpaste train --minutes {recipe['minutes']:g}",
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "training_seconds": round(progress.seconds),
        },
        # Photographs as they are stored: of resized ones every resizing has levels of its own.
        trained_on=[torch.tensor(image)[None] for image in images],
        notes=f"{progress.kept_step} of {progress.step} steps of {recipe['batch_size']} windows; {progress.where()}",
    )


def main() -> None:
    """Train, or export."""
    parser = argparse.ArgumentParser(prog="python -m density_training.cutpaste", description=__doc__)
    parser.add_argument("command", choices=("train", "export"))
    parser.add_argument("--data", type=Path, required=True, help="magnetic-tile.zip")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to train")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help=f"{NAME}/1 is written below it")
    arguments = parser.parse_args()
    photographs = Photographs(arguments.data)
    groups = parts(photographs.names(GOOD))
    images = photographs.read(groups["train"])
    if arguments.command == "train":
        validation = photographs.read(groups["fit"])
        print(train(square(images), square(validation), arguments.minutes))
    else:
        export(images, arguments.data.name, arguments.repository / NAME / "1")


if __name__ == "__main__":
    main()
