"""Train, export and evaluate the VAE of Fashion-MNIST."""

import math
from pathlib import Path

import torch
from torch import Tensor

from density_training import vae
from density_training.card import write_vae_card
from density_training.convolutional import CodeConfig
from density_training.data import load_images
from density_training.detection import detection_figures, mnist_scores, split_for_calibration
from density_training.export import export_graph
from density_training.fashion_mnist import DIMENSIONS, HEIGHT, LEVELS, WIDTH, fashion_mnist_version
from density_training.golden import golden_levels
from density_training.grid import save_grid
from density_training.likelihood import bits_per_dim, gaussian_kl
from density_training.scoring import TwoHeaded, elbo_at_mean, load_graph, log_importance_weights, to_input, to_levels
from density_training.training import Progress, Recipe
from density_training.unlabelled import adam, train_on_images
from density_training.version import check_parity, write_version

NAME = "fashion-mnist-vae"
DEFAULT_RECIPE = Recipe(steps=6_000, decay_steps=2_500, batch_size=128)
KL_WARMUP_STEPS = 1_500
IMPORTANCE_DRAWS, IMPORTANCE_SEED = 64, 0
ACTIVE_VARIANCE = 0.01


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images with AdamW."""
    return train_on_images(
        lambda: vae.VAE(CodeConfig()),
        lambda model, levels, step: vae.training_loss(model, levels, kl_weight=min(1.0, step / KL_WARMUP_STEPS)),
        adam,
        _measure,
        data,
        checkpoint,
        recipe,
    )


def _measure(model: vae.VAE, levels: Tensor) -> str:
    bits = bits_per_dim(elbo_at_mean(model.encoder, model.decoder, levels, LEVELS), DIMENSIONS)
    return f"{bits:.4f} bits/dim (bound at z = mean)"


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graphs, manifest, golden and calibration scores, samples, model card."""
    state = torch.load(checkpoint, weights_only=True)
    config = CodeConfig(**state["config"])
    model = vae.VAE(config)
    model.load_state_dict(state["model"])
    image = torch.rand(2, 1, HEIGHT, WIDTH)
    export_graph(model.encoder, {"image": image}, ["mean", "log_variance"], folder / "encoder.onnx")
    latent = torch.randn(2, config.latent_size)
    export_graph(model.decoder, {"latent": latent}, ["mean", "log_scale"], folder / "decoder.onnx")
    encoder, decoder = load_graph(folder / "encoder.onnx"), load_graph(folder / "decoder.onnx")

    test = to_levels(load_images(data, "test"))
    test_scores = elbo_at_mean(encoder, decoder, test, LEVELS)
    bounds = _bounds(encoder, decoder, test)
    calibration, _ = split_for_calibration(len(test))
    golden = golden_levels(test)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="vae",
        family="vae",
        head="discretized-logistic",
        description="Convolutional VAE of Fashion-MNIST with a discretised logistic likelihood, 28×28 grey, 256 levels",
        model=model,
        recipe=recipe,
        progress=progress,
        test_bits_per_dim=bounds["test_elbo_bits_per_dim"],
        notes=f"test_bits_per_dim is the ELBO with {IMPORTANCE_DRAWS} draws an image",
        latent_size=config.latent_size,
    )
    golden_scores = elbo_at_mean(model.encoder, model.decoder, golden, LEVELS)
    write_version(folder, version, golden, golden_scores, test_scores[calibration])
    _save_pictures(encoder, decoder, test, config.latent_size, folder / "samples.png")
    figures = bounds | detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    write_vae_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    test = to_levels(load_images(data, "test"))
    encoder, decoder = load_graph(folder / "encoder.onnx"), load_graph(folder / "decoder.onnx")
    test_scores, golden_scores = (
        elbo_at_mean(encoder, decoder, levels, LEVELS) for levels in (test, golden_levels(test))
    )
    return {
        "largest_golden_deviation_nats": check_parity(folder),
        **_bounds(encoder, decoder, test),
        **detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS),
    }


def _bounds(encoder: TwoHeaded, decoder: TwoHeaded, test: Tensor) -> dict[str, object]:
    """ELBO and IWAE bound of the test images, and what the latent carries."""
    weights = log_importance_weights(encoder, decoder, test, LEVELS, IMPORTANCE_DRAWS, IMPORTANCE_SEED)
    iwae = weights.logsumexp(1) - math.log(IMPORTANCE_DRAWS)
    effective_sample_size = 1 / weights.softmax(1).square().sum(1)
    mean, log_variance = encoder(to_input(test, LEVELS))
    return {
        "test_elbo_bits_per_dim": bits_per_dim(weights.mean(1), DIMENSIONS),
        f"test_iwae_{IMPORTANCE_DRAWS}_bits_per_dim": bits_per_dim(iwae, DIMENSIONS),
        "mean_effective_sample_size": effective_sample_size.mean().item(),
        "mean_kl_nats": gaussian_kl(mean.double(), log_variance.double()).sum(1).mean().item(),
        "active_units": int((mean.var(0) > ACTIVE_VARIANCE).sum()),
        "latent_size": mean.shape[1],
    }


def _save_pictures(encoder: TwoHeaded, decoder: TwoHeaded, test: Tensor, latent_size: int, path: Path) -> None:
    """A row of test images, a row of the means decoded from their codes, two rows of means decoded from the prior."""
    shown = test[:8]
    codes, _ = encoder(to_input(shown, LEVELS))
    prior = torch.randn((16, latent_size), generator=torch.Generator().manual_seed(0))
    decoded, _ = decoder(torch.cat([codes, prior]))
    levels = (decoded * (LEVELS - 1)).round().clamp(0, LEVELS - 1).to(torch.uint8)
    save_grid(torch.cat([shown, levels]), 8, path)
