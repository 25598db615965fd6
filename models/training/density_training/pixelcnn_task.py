"""Train, export and evaluate the PixelCNN of Fashion-MNIST; its smaller relatives share all of it but a `Variant`."""

# ruff: noqa: E501 (text of a model card is as long as Markdown needs it)
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from density_training import pixelcnn
from density_training.card import INTERRUPTED, PixelCNNText, write_pixelcnn_card
from density_training.data import load_images
from density_training.detection import detection_figures, mnist_scores, split_for_calibration
from density_training.export import export_graph
from density_training.fashion_mnist import DIMENSIONS, HEIGHT, LEVELS, WIDTH, fashion_mnist_version
from density_training.golden import golden_levels
from density_training.grid import save_grid
from density_training.likelihood import bits_per_dim
from density_training.sampling import sample
from density_training.scoring import Network, load_graph, log_likelihood, to_levels
from density_training.training import Progress, Recipe
from density_training.unlabelled import muon, train_on_images
from density_training.version import check_parity, served_scores, write_version

NAME = "fashion-mnist-pixelcnn"
DEFAULT_RECIPE = Recipe(steps=12_500, decay_steps=8_000, batch_size=32)
SAMPLES = 32


@dataclass(frozen=True)
class Variant:
    """What tells one unconditional PixelCNN of Fashion-MNIST from another."""

    command: str
    description: str
    config: pixelcnn.PixelCNNConfig
    text: PixelCNNText
    corrupt: Callable[[Tensor], Tensor] = lambda levels: levels
    """Replaces a batch of training images, uint8 [N, 1, H, W], by what the network learns instead."""
    notes: str = ""


VARIANT = Variant(
    command="pixelcnn",
    description="Gated PixelCNN of Fashion-MNIST: exact log-likelihoods of 28×28 grey images with 256 levels",
    config=pixelcnn.PixelCNNConfig(),
    text=PixelCNNText(
        introduction="""A gated PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels. It knows clothes:
it was trained on Fashion-MNIST.""",
        network="""One raster-masked stack: a 7×7 mask-A convolution over pointwise features of the level, a bias for each row and column,
  twelve gated 3×3 mask-B blocks of 64 channels with dilations 1, 2, 1, 4, and a 256-way softmax for each pixel.""",
        verdict="Use the log-likelihood as a likelihood. As the only gate in front of a classifier it would be a poor choice.",
        run=INTERRUPTED,
    ),
)


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images; Muon for the hidden matrices, AdamW for the rest."""
    return train_variant(VARIANT, data, checkpoint, recipe)


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden and calibration scores, samples, model card."""
    export_variant(VARIANT, data, checkpoint, folder, mnist)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    test = to_levels(load_images(data, "test"))
    test_scores, golden_scores = served_scores(folder, test), served_scores(folder, golden_levels(test))
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    return {"largest_golden_deviation_nats": check_parity(folder), **figures}


def train_variant(variant: Variant, data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """`train` for any variant."""
    return train_on_images(
        lambda: pixelcnn.PixelCNN(variant.config),
        lambda model, levels, step: pixelcnn.training_loss(model, variant.corrupt(levels)),
        lambda model: muon(model, pixelcnn.muon_parameters(model)),
        bits_of,
        data,
        checkpoint,
        recipe,
    )


def bits_of(model: Network, levels: Tensor) -> str:
    """The bits per dimension that a density over whole images gives to `levels`, for a log."""
    return f"{bits_per_dim(log_likelihood(model, levels, LEVELS), DIMENSIONS):.4f} bits/dim"


def export_variant(variant: Variant, data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """`export` for any variant."""
    state = torch.load(checkpoint, weights_only=True)
    model = pixelcnn.PixelCNN(pixelcnn.PixelCNNConfig(**state["config"]))
    model.load_state_dict(state["model"])
    export_graph(model, {"image": torch.rand(2, 1, HEIGHT, WIDTH)}, ["logits"], folder / "model.onnx")
    graph = load_graph(folder / "model.onnx")

    test = to_levels(load_images(data, "test"))
    test_scores = log_likelihood(graph, test, LEVELS)
    calibration, _ = split_for_calibration(len(test))
    golden = golden_levels(test)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command=variant.command,
        family="pixelcnn",
        head="categorical",
        description=variant.description,
        model=model,
        recipe=recipe,
        progress=progress,
        test_bits_per_dim=bits_per_dim(test_scores, DIMENSIONS),
        notes=f"{variant.notes}exported after {progress.step:,} of {recipe.steps:,} steps",
    )
    golden_scores = log_likelihood(model, golden, LEVELS)
    write_version(folder, version, golden, golden_scores, test_scores[calibration])
    save_grid(sample(graph, SAMPLES, HEIGHT, WIDTH, LEVELS, seed=0), 8, folder / "samples.png")
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    write_pixelcnn_card(folder, version, variant.text, figures, recipe, progress)
