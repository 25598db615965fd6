"""Train, export and evaluate the generative adversarial network of Fashion-MNIST."""

from pathlib import Path

import torch
from torch import Tensor

from density_training import gan, training, vae
from density_training.card import Figures
from density_training.classifier_task import load as load_classifier
from density_training.data import load_images
from density_training.diversity import features_and_labels, frechet_distance
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
JUDGED = 10_000
"""How many drawn images are compared with real ones, equally many of each label."""


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images and labels, Adam for both players; draws a sheet an epoch."""
    torch.manual_seed(recipe.seed)
    images, labels = to_levels(load_images(data, "train")), labels_of(data, "train")
    model = gan.GAN().to(memory_format=torch.channels_last)

    def report(epoch: int) -> None:
        shown = gan.draw(model.average, _each_label(SAMPLES_A_LABEL), model.config.latent_size, LEVELS, seed=0)
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

    The classifier's and the VAE's checkpoints beside that of the GAN serve to judge what it draws.
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
    shown = gan.draw(graph, _each_label(SAMPLES_A_LABEL), config.latent_size, LEVELS, seed=0)
    save_grid(shown, SAMPLES_A_LABEL, folder / "samples.png")
    figures = _figures(data, folder, checkpoint.parent)
    write_gan_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime, with the networks in `.cache` as judges."""
    return {"largest_golden_deviation": check_parity(folder), **_figures(data, folder, Path(".cache"))}


def _each_label(count: int) -> Tensor:
    return torch.arange(len(LABELS)).repeat_interleave(count)


def _figures(data: Path, folder: Path, judges: Path) -> Figures:
    classifier = load_classifier(judges / "classifier.pt")
    wanted = _each_label(JUDGED // len(LABELS))
    generator = load_graph(folder / "generator.onnx")
    latent_size = gan.GANConfig().latent_size
    drawn = gan.draw(generator, wanted, latent_size, LEVELS, seed=0)
    test = to_levels(load_images(data, "test"))
    train = to_levels(load_images(data, "train"))[:JUDGED]
    real, _ = features_and_labels(classifier, test, LEVELS)
    features, recognised = features_and_labels(classifier, drawn, LEVELS)
    others = {"training images": train, "draws of fashion-mnist-vae": _vae_draws(judges / "vae.pt")}
    return {
        "judged": JUDGED,
        "recognised": (recognised == wanted).double().mean().item(),
        "recognised_by_label": {
            name: (recognised[wanted == label] == label).double().mean().item() for label, name in enumerate(LABELS)
        },
        "distance": frechet_distance(features, real),
        "distance_of": {
            name: frechet_distance(features_and_labels(classifier, levels, LEVELS)[0], real)
            for name, levels in others.items()
        },
    }


@torch.no_grad()
def _vae_draws(checkpoint: Path) -> Tensor:
    """Images drawn from the VAE: a code from the prior, then a level from the logistic of each pixel."""
    state = torch.load(checkpoint, weights_only=True)
    model = vae.VAE(vae.VAEConfig(**state["config"]))
    model.load_state_dict(state["model"])
    generator = torch.Generator().manual_seed(0)
    parts = []
    for _ in range(JUDGED // 250):
        mean, log_scale = model.decoder(torch.randn((250, model.config.latent_size), generator=generator))
        uniform = torch.rand(mean.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        drawn = mean + log_scale.exp() * torch.logit(uniform)
        parts.append((drawn * (LEVELS - 1)).round().clamp(0, LEVELS - 1).to(torch.uint8))
    return torch.cat(parts)
