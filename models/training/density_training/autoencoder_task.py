"""Train, export and evaluate the autoencoder of Fashion-MNIST."""

from pathlib import Path

import torch

from density_training import autoencoder
from density_training.autoencoder_card import write_autoencoder_card
from density_training.card import Figures
from density_training.convolutional import CodeConfig
from density_training.data import MNIST, load_images
from density_training.export import export_graph
from density_training.fashion_mnist import (
    DIMENSIONS,
    HEIGHT,
    LEVELS,
    WIDTH,
    fashion_mnist_version,
)
from density_training.golden import CLOTHES, ODDITIES, golden_levels
from density_training.grid import save_grid
from density_training.scoring import load_graph, reconstruction_errors, to_input, to_levels
from density_training.training import Progress, Recipe
from density_training.unlabelled import adam, train_on_images
from density_training.version import check_parity, served_scores, write_version

NAME = "fashion-mnist-autoencoder"
DEFAULT_RECIPE = Recipe(steps=3_000, decay_steps=2_000, batch_size=128)


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images with AdamW; the loss is the mean squared error."""
    return train_on_images(
        lambda: autoencoder.Autoencoder(CodeConfig()),
        lambda model, levels, step: autoencoder.training_loss(model, levels),
        adam,
        _measure,
        data,
        checkpoint,
        recipe,
    )


def _measure(model: autoencoder.Autoencoder, levels: torch.Tensor) -> str:
    error = reconstruction_errors(model.encoder, model.decoder, levels, LEVELS).mean() / DIMENSIONS
    return f"mean squared error {error:.5f}"


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graphs, manifest, golden errors, reconstructions, model card."""
    state = torch.load(checkpoint, weights_only=True)
    config = CodeConfig(**state["config"])
    model = autoencoder.Autoencoder(config)
    model.load_state_dict(state["model"])
    export_graph(model.encoder, {"image": torch.rand(2, 1, HEIGHT, WIDTH)}, ["latent"], folder / "encoder.onnx")
    export_graph(model.decoder, {"latent": torch.randn(2, config.latent_size)}, ["image"], folder / "decoder.onnx")

    test = to_levels(load_images(data, "test"))
    golden = golden_levels(test)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="autoencoder",
        family="autoencoder",
        description="Convolutional autoencoder of Fashion-MNIST: a code of 64 numbers, 28×28 grey; no density",
        model=model,
        recipe=recipe,
        progress=progress,
        notes="golden scores are Σ (reconstruction − image)² in units of level / 255",
        latent_size=config.latent_size,
    )
    write_version(folder, version, golden, reconstruction_errors(model.encoder, model.decoder, golden, LEVELS))

    encoder, decoder = load_graph(folder / "encoder.onnx"), load_graph(folder / "decoder.onnx")
    decoded = decoder(encoder(to_input(golden, LEVELS)))
    reconstructed = (decoded * (LEVELS - 1)).round().to(torch.uint8)
    shown = torch.cat([golden[:8], reconstructed[:8], golden[8:], reconstructed[8:]])
    save_grid(shown, 8, folder / "reconstructions.png")
    write_autoencoder_card(folder, version, _figures(folder, test, mnist), recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    test = to_levels(load_images(data, "test"))
    return {"largest_golden_deviation": check_parity(folder), **_figures(folder, test, mnist)}


def _figures(folder: Path, test: torch.Tensor, mnist: Path | None) -> Figures:
    """Mean squared errors a pixel, in units of level / 255."""
    errors = served_scores(folder, test) / DIMENSIONS
    oddities = served_scores(folder, golden_levels(test))[CLOTHES:] / DIMENSIONS
    figures: Figures = {
        "test_images": len(test),
        "test_mean_squared_error": errors.mean().item(),
        "constant_mean_squared_error": (to_input(test, LEVELS) - to_input(test, LEVELS).mean(0)).square().mean().item(),
        "oddities": dict(zip(ODDITIES, oddities.tolist(), strict=True)),
    }
    if mnist:
        digits = to_levels(load_images(mnist, "test", MNIST))
        figures["mnist_mean_squared_error"] = (served_scores(folder, digits) / DIMENSIONS).mean().item()
    return figures
