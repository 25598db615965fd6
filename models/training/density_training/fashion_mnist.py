"""What the models of Fashion-MNIST have in common: the size of the images and what their manifests say."""

import tomllib
from pathlib import Path

import torch
from torch import Tensor, nn

from density_training.data import load_images, load_labels
from density_training.scoring import to_levels
from density_training.training import Progress, Recipe
from density_training.version import Labels, Version

REPOSITORY = Path("../repository")
CACHE = Path(".cache")
"""Where versions are exported to, and checkpoints live, seen from the folder in which commands are run."""
HEIGHT = WIDTH = 28
LEVELS, DIMENSIONS = 256, HEIGHT * WIDTH
MONITORED_IMAGES = 1_000
"""How many test images are scored after each epoch, for the log only; nothing is selected by them."""
CALIBRATION = "5,000 Fashion-MNIST test images, permutation seed 0, indices 0..5000"
LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def labels_of(data: Path, split: str) -> Tensor:
    """The labels of one split, int64 [N]."""
    return torch.from_numpy(load_labels(data, split)).long()


def counted_labels(train_labels: Tensor) -> Labels:
    """The ten labels with the share of each among the training images as its prior."""
    shares = torch.bincount(train_labels, minlength=len(LABELS)).double() / len(train_labels)
    return Labels(names=LABELS, prior=tuple(shares.tolist()))


def published_bits_per_dim(name: str) -> float:
    """What the manifest of version 1 of another model in the repository says of the test images."""
    manifest = tomllib.loads((REPOSITORY / name / "1" / "model.toml").read_text())
    return manifest["provenance"]["test_bits_per_dim"]


def fashion_mnist_version(
    data: Path,
    command: str,
    family: str,
    description: str,
    model: nn.Module,
    recipe: Recipe,
    progress: Progress,
    notes: str,
    head: str | None = None,
    test_bits_per_dim: float | None = None,
    latent_size: int | None = None,
    labels: Labels | None = None,
    recurrence: dict[str, object] | None = None,
) -> Version:
    """The manifest of a model of Fashion-MNIST; `command` also ends its name.

    All learnt from the 60,000 training images, the classifier's temperature included, and say so with their hashes.
    What has a `head` has a calibration.
    """
    provenance: dict[str, object] = {
        "data": "Fashion-MNIST, 60,000 training images",
        "licence": "MIT",
        "command": f"python -m density_training {command} train {recipe.as_arguments()}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training_seconds": round(progress.seconds),
    }
    if test_bits_per_dim is not None:
        provenance["test_bits_per_dim"] = round(test_bits_per_dim, 4)
    return Version(
        name=f"fashion-mnist-{command}",
        family=family,
        description=description,
        channels=1,
        height=HEIGHT,
        width=WIDTH,
        levels=LEVELS,
        head=head,
        calibration_description=CALIBRATION if head else None,
        provenance=provenance | {"notes": notes},
        latent_size=latent_size,
        labels=labels,
        recurrence=recurrence,
        trained_on=to_levels(load_images(data, "train")),
    )
