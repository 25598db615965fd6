"""Train, export and evaluate the generative adversarial network of Fashion-MNIST."""

from dataclasses import asdict
from pathlib import Path

import torch

from density_training import gan, training
from density_training.card import Figures
from density_training.data import load_images
from density_training.diversity_task import JUDGED, compare, each_label, recognised_labels
from density_training.export import export_graph
from density_training.fashion_mnist import LABELS, LEVELS, counted_labels, fashion_mnist_version, labels_of
from density_training.gan_card import write_gan_card
from density_training.grid import save_grid
from density_training.scoring import load_graph, to_levels
from density_training.training import Progress, Recipe
from density_training.version import check_parity, write_generator_version

NAME = "fashion-mnist-gan"
DEFAULT_RECIPE = Recipe(steps=3_500, decay_steps=1_600, batch_size=64)
SAMPLES_A_LABEL, GOLDEN_COUNT = 8, 10


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images and labels, Adam for both players; draws a sheet an epoch."""
    torch.manual_seed(recipe.seed)
    images, labels = to_levels(load_images(data, "train")), labels_of(data, "train")
    model = gan.GAN().to(memory_format=torch.channels_last)

    def report(epoch: int) -> None:
        shown = gan.draw(
            model.average, each_label(SAMPLES_A_LABEL * len(LABELS)), model.config.latent_size, LEVELS, seed=0
        )
        save_grid(shown, SAMPLES_A_LABEL, checkpoint.with_suffix(".png"))

    return training.train(
        model,
        lambda chosen, step: gan.training_loss(model, images[chosen], labels[chosen], step),
        optimisers(model),
        torch.arange(len(images)),
        recipe,
        checkpoint,
        report,
    )


def optimisers(model: gan.GAN) -> list[torch.optim.Optimizer]:
    """Adam without momentum for each player."""
    players = (model.generator, model.discriminator)
    return [torch.optim.Adam(player.parameters(), lr=5e-4, betas=(0.0, 0.99)) for player in players]


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: the averaged generator, manifest, golden images, samples, model card.

    What it draws is judged by the classifier in the repository, beside what the other models there draw.
    """
    state = torch.load(checkpoint, weights_only=True)
    config = gan.GANConfig(**state["config"])
    model = gan.GAN(config)
    model.load_state_dict(state["model"])
    generator = model.average.eval()
    example = {"latent": torch.randn(2, config.latent_size), "label": torch.tensor([0, 1])}
    export_graph(generator, example, ["image"], folder / "generator.onnx")

    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="gan",
        family="gan",
        description="Generator of Fashion-MNIST given a label, trained adversarially, 28×28 grey; no density",
        model=generator,
        recipe=recipe,
        progress=progress,
        notes="the weights are a moving average of the generator's; the discriminator is not served",
        latent_size=config.latent_size,
        labels=counted_labels(labels_of(data, "train")),
    )
    latent = torch.randn((GOLDEN_COUNT, config.latent_size), generator=torch.Generator().manual_seed(1))
    label = torch.arange(GOLDEN_COUNT) % config.labels
    with torch.no_grad():
        write_generator_version(folder, version, latent, label, generator(latent, label))
    graph = load_graph(folder / "generator.onnx")
    shown = gan.draw(graph, each_label(SAMPLES_A_LABEL * len(LABELS)), config.latent_size, LEVELS, seed=0)
    save_grid(shown, SAMPLES_A_LABEL, folder / "samples.png")
    figures = _figures(data, folder)
    write_gan_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime, beside the other models of the repository."""
    return {"largest_golden_deviation": check_parity(folder), **_figures(data, folder)}


def _figures(data: Path, folder: Path) -> Figures:
    recognised = recognised_labels(folder)
    wanted = each_label(JUDGED)
    right = (recognised == wanted).double()
    return {
        "judged": JUDGED,
        "recognised": right.mean().item(),
        "recognised_by_label": {name: right[wanted == label].mean().item() for label, name in enumerate(LABELS)},
        "compared": [asdict(row) for row in compare(data, generator=folder)],
    }
