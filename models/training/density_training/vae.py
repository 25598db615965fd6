"""A convolutional variational autoencoder with a discretised logistic likelihood.

References
- Kingma and Welling, "Auto-Encoding Variational Bayes" (2014): the evidence lower bound and its estimator.
- Bowman et al., "Generating Sentences from a Continuous Space" (2016): the weight of the KL term rises from 0 to 1.
- Salimans et al., "PixelCNN++" (2017): the discretised logistic distribution.
- Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016): the importance-weighted bound.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from density_training.card import (
    INTERRUPTED,
    Report,
    detection_section,
    evaluation_note,
    false_alarm_rows,
    limits_section,
    table,
    training_section,
)
from density_training.convolutional import CodeConfig, decoder_layers, encoder_layers
from density_training.data import LEVELS, Dataset, to_input
from density_training.figures import Figures
from density_training.model import Density, Exported, Loss, Scores, Trained
from density_training.sampling import save_grid
from density_training.scoring import TwoHeaded, bits_per_dim
from density_training.training import Recipe, adamw
from density_training.version import Family, Graph, Graphs, Version

KL_WARMUP_STEPS = 1_500
IMPORTANCE_DRAWS, IMPORTANCE_SEED = 64, 0
ACTIVE_VARIANCE = 0.01

Decoded = Callable[[Tensor], Any]
"""What parametrises the distribution of images, of codes."""
Head = Callable[[Any, Tensor, int], Tensor]
"""Log-probabilities by what a decoder gives, levels, and their number."""


class VAE(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class Encoder(nn.Module):
    """`image` [N, 1, H, W] → `mean`, `log_variance` [N, latent] of a diagonal Gaussian posterior."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*encoder_layers(config.channels))
        self.posterior = nn.Linear(config.bottom_size, 2 * config.latent_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.convolutions(image).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)


class Decoder(nn.Module):
    """`latent` [N, latent] → `mean`, `log_scale` [N, 1, H, W] of a logistic for each pixel, in level/(levels − 1)."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.bottom = config.bottom
        self.expand = nn.Linear(config.latent_size, config.bottom_size)
        self.convolutions = nn.Sequential(*decoder_layers(config.channels, outputs=2))

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.convolutions(self.expand(latent).reshape(-1, *self.bottom)).chunk(2, dim=1)
        # A scale of e⁻⁷ is a quarter of a level of 256, e¹ is wider than all levels together.
        return mean + 0.25, (log_scale - 2.0).clamp(-7.0, 1.0)


def elbo_loss(network: VAE, levels: Tensor, kl_weight: float) -> Tensor:
    """Mean of −log p(x|z) + kl_weight · KL(q(z|x) ‖ p(z)) in nats a pixel, one z per image drawn from the posterior.

    The convolutions run in bfloat16, the likelihood in float32.
    """
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = network.encoder(to_input(levels, network.config.levels))
        mean, log_variance = mean.float(), log_variance.float()
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        location, log_scale = network.decoder(latent)
    log_probability = discretized_logistic_log_probability(
        location.float(), log_scale.float(), levels, network.config.levels
    )
    return (kl_weight * gaussian_kl(mean, log_variance).sum() - log_probability.sum()) / levels.numel()


def discretized_logistic_log_likelihood(mean: Tensor, log_scale: Tensor, levels: Tensor, count: int) -> Tensor:
    """Σ log P(level), P(k) = σ((x₊ − m)/s) − σ((x₋ − m)/s), x± = (k ± ½)/(count − 1), the edge levels open-ended."""
    return discretized_logistic_log_probability(mean.double(), log_scale.double(), levels, count).flatten(1).sum(1)


def discretized_logistic_log_probability(mean: Tensor, log_scale: Tensor, levels: Tensor, count: int) -> Tensor:
    """The same for each dimension, in the precision of its inputs, without cancellation and with finite gradients.

    With u = (x₊ − m)/s and w = u − v the width of a level in scales, σ(u) − σ(v) = σ(u) · σ(−v) · (1 − e^(−w)),
    whose factors all have exact logarithms (Salimans et al., "PixelCNN++", 2017, define the distribution).
    """
    k = levels.to(mean.dtype)
    inverse_scale = torch.exp(-log_scale)
    upper = ((k + 0.5) / (count - 1) - mean) * inverse_scale
    lower = ((k - 0.5) / (count - 1) - mean) * inverse_scale
    below_upper = F.logsigmoid(upper)
    above_lower = F.logsigmoid(-lower)
    inside = below_upper + above_lower + torch.log(-torch.expm1(-inverse_scale / (count - 1)))
    return torch.where(levels == 0, below_upper, torch.where(levels == count - 1, above_lower, inside))


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, σ²) ‖ N(0, 1)) of each latent coordinate: −½(1 + log σ² − mean² − σ²), same shape as the inputs."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp())


def _of_logistics(decoded: tuple[Tensor, Tensor], levels: Tensor, count: int) -> Tensor:
    """The log-probability of each dimension, where the decoder gives a mean and a log-scale of each."""
    return discretized_logistic_log_probability(*decoded, levels, count)


def _sum_of_logistics(decoded: tuple[Tensor, Tensor], levels: Tensor, count: int) -> Tensor:
    """log p(x|z) of the same, in double precision."""
    return discretized_logistic_log_likelihood(*decoded, levels, count)


@torch.no_grad()
def elbo_at_mean(
    encoder: TwoHeaded,
    decoder: Decoded,
    levels: Tensor,
    count: int,
    batch: int = 250,
    log_likelihood: Head = _sum_of_logistics,
) -> Tensor:
    """The deterministic plug-in score log p(x | z = μ(x)) − KL(q(z|x) ‖ p(z)) in nats, float64 [N]."""
    scores = []
    for part in levels.split(batch):
        mean, log_variance = encoder(to_input(part, count))
        reconstruction = log_likelihood(decoder(mean), part, count)
        scores.append(reconstruction - gaussian_kl(mean.double(), log_variance.double()).sum(1))
    return torch.cat(scores)


@torch.no_grad()
def log_importance_weights(
    encoder: TwoHeaded,
    decoder: Decoded,
    levels: Tensor,
    count: int,
    draws: int,
    seed: int,
    batch: int = 32,
    log_probability: Head = _of_logistics,
) -> Tensor:
    """log p(x|z) + log p(z) − log q(z|x) in nats for `draws` z from the posterior of each image, float64 [N, draws].

    Their mean is the evidence lower bound, their log-mean-exp the importance-weighted bound.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for part in tqdm(levels.split(batch), desc="importance samples", mininterval=5, dynamic_ncols=True):
        mean, log_variance = encoder(to_input(part, count))
        noise = torch.randn((len(part), draws, mean.shape[1]), generator=generator)
        latent = mean.unsqueeze(1) + (0.5 * log_variance).exp().unsqueeze(1) * noise
        # log p(z) − log q(z|x); the terms in log 2π cancel.
        prior_to_posterior = 0.5 * (
            noise.double().square() + log_variance.double().unsqueeze(1) - latent.double().square()
        )
        # Per pixel in float32: an average over draws does not need more, and float64 takes three times as long.
        of_dimensions = log_probability(decoder(latent.flatten(0, 1)), part.repeat_interleave(draws, dim=0), count)
        reconstruction = of_dimensions.flatten(1).double().sum(1)
        weights.append(reconstruction.view(len(part), draws) + prior_to_posterior.sum(2))
    return torch.cat(weights)


@torch.no_grad()
def draw(
    decoder: TwoHeaded, count: int, latent_size: int, levels: int, generator: torch.Generator, *, noise: bool
) -> Tensor:
    """Decode draws of the prior, uint8 [count, 1, H, W]: a level from each pixel's logistic, or nearest to its mean."""
    mean, log_scale = decoder(torch.randn((count, latent_size), generator=generator))
    # Drawn either way, so that the same seed gives the same codes with and without noise.
    uniform = torch.rand(mean.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    drawn = mean + log_scale.exp() * torch.logit(uniform) if noise else mean
    return nearest_levels(drawn, levels)


def nearest_levels(image: Tensor, levels: int) -> Tensor:
    """The uint8 levels nearest to what is in units of level/(levels − 1)."""
    return (image * (levels - 1)).round().clamp(0, levels - 1).to(torch.uint8)


FAMILY = Family(
    name="vae",
    graphs={
        "encoder": Graph(
            "encoder.onnx",
            {"input": "image", "mean": "mean", "log_variance": "log_variance"},
            outputs=("mean", "log_variance"),
        ),
        "decoder": Graph(
            "decoder.onnx",
            {"input": "latent", "mean": "mean", "log_scale": "log_scale"},
            outputs=("mean", "log_scale"),
        ),
    },
    score=lambda graphs, levels, manifest: elbo_at_mean(graphs["encoder"], graphs["decoder"], levels, manifest.levels),
    statistic="elbo_at_mean",
)


@dataclass(frozen=True, kw_only=True)
class VAEModel(Density[VAE, CodeConfig]):
    """The VAE: its scores are the bound at the mean of the posterior, the published figure is the ELBO."""

    family = FAMILY
    head = "discretized-logistic"
    quoted_figure = "test_elbo_bits_per_dim"

    def build(self, config: CodeConfig) -> VAE:
        return VAE(config)

    def loss(self, network: VAE, data: Dataset) -> Loss:
        return lambda chosen, step: elbo_loss(
            network, data.train_images[chosen], kl_weight=min(1.0, step / KL_WARMUP_STEPS)
        )

    def optimisers(self, network: VAE) -> list[torch.optim.Optimizer]:
        return adamw(network)

    def exported(self, network: VAE, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {
            "encoder": (network.encoder, (torch.rand(2, *shape),)),
            "decoder": (network.decoder, (torch.randn(2, network.config.latent_size),)),
        }

    def torch_scores(self, network: VAE, levels: Tensor) -> Tensor:
        return elbo_at_mean(network.encoder, network.decoder, levels, LEVELS)

    def more_figures(self, graphs: Graphs, scores: Scores, data: Dataset) -> Figures:
        """ELBO and IWAE bound of the test images, and what the latent carries."""
        test = data.test_images
        weights = log_importance_weights(
            graphs["encoder"], graphs["decoder"], test, LEVELS, IMPORTANCE_DRAWS, IMPORTANCE_SEED
        )
        iwae = weights.logsumexp(1) - math.log(IMPORTANCE_DRAWS)
        effective_sample_size = 1 / weights.softmax(1).square().sum(1)
        mean, log_variance = graphs["encoder"](to_input(test, LEVELS))
        return {
            self.quoted_figure: bits_per_dim(weights.mean(1), data.dimensions),
            f"test_iwae_{IMPORTANCE_DRAWS}_bits_per_dim": bits_per_dim(iwae, data.dimensions),
            "mean_effective_sample_size": effective_sample_size.mean().item(),
            "mean_kl_nats": gaussian_kl(mean.double(), log_variance.double()).sum(1).mean().item(),
            "active_units": int((mean.var(0) > ACTIVE_VARIANCE).sum()),
            "latent_size": mean.shape[1],
        }

    def save_samples(self, graphs: Graphs, version: Version, data: Dataset, path: Path) -> None:
        """A row of test images, a row of means decoded from their codes, two rows of means decoded from the prior."""
        shown = data.test_images[:8]
        codes, _ = graphs["encoder"](to_input(shown, LEVELS))
        prior = torch.randn((16, codes.shape[1]), generator=torch.Generator().manual_seed(0))
        decoded, _ = graphs["decoder"](torch.cat([codes, prior]))
        save_grid(torch.cat([shown, nearest_levels(decoded, LEVELS)]), 8, path)

    def version(self, trained: Trained[VAE], data: Dataset) -> Version:
        return replace(
            super().version(trained, data),
            latent_size=trained.network.config.latent_size,
            notes=f"test_bits_per_dim is the ELBO with {IMPORTANCE_DRAWS} draws an image",
        )

    def card(self, report: Report) -> str:
        figures, latent_size = report.figures, report.version.latent_size
        how = "bfloat16 convolutions, AdamW, the weight of the KL term raised from 0 to 1 over 1,500 steps"
        measured = [
            ("ELBO, 64 draws an image, seed 0, bits per dimension", f"**{figures['test_elbo_bits_per_dim']:.4f}**"),
            (
                "IWAE bound, K = 64, the same draws, bits per dimension",
                f"**{figures['test_iwae_64_bits_per_dim']:.4f}**",
            ),
            (
                "mean effective sample size of the 64 importance weights",
                f"{figures['mean_effective_sample_size']:.2f}",
            ),
            (
                "score at the mean of the posterior (`elbo_at_mean`), bits per dimension",
                f"{figures['test_score_bits_per_dim']:.4f}",
            ),
            ("mean KL(q(z given x) ‖ p(z))", f"{figures['mean_kl_nats']:.2f} nats"),
            (
                "active units, #{j: variance of the j-th posterior mean > 0.01}",
                f"{figures['active_units']} of {figures['latent_size']}",
            ),
            *false_alarm_rows(figures),
        ]
        detection = detection_section(
            figures, "`elbo_at_mean`", unit="`elbo_at_mean`, bits per dimension", statistic="−`elbo_at_mean`"
        )
        return f"""{report.title}

A variational autoencoder of 28×28 grey images with 256 levels: a code of {latent_size} numbers for an image, an image
for a code, and a **lower bound** on the image's log-likelihood. It knows clothes: it was trained on Fashion-MNIST.

![Test images, reconstructions and samples](samples.png)

*First row: eight test images. Second row: their reconstructions, the mean decoded from the mean of the posterior.
Third and fourth row: means decoded from draws of the prior, seed 0, not selected.*

## Model
- Encoder: two strided convolutions, a residual convolution and a linear layer; a diagonal Gaussian posterior over
  {latent_size} numbers, a standard normal prior. Decoder: a linear layer, residual and transposed convolutions.
- Likelihood: a logistic distribution for each pixel, discretised to 256 levels with open tails at both ends; `mean`
  and `log_scale` in units of level / 255.
- {report.weights} in both graphs together; float32; ONNX operator set 18.
- References: Kingma and Welling, *Auto-Encoding Variational Bayes* (2014); Salimans et al., *PixelCNN++* (2017), for
  the discretised logistic; Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders* (2016), for the tighter
  bound.

{training_section(report, how, INTERRUPTED)}
## Figures
All on the {figures["test_images"]:,} Fashion-MNIST test images.

{table(("what", "figure"), measured)}

`elbo_at_mean` is log p(x given z = mean of the posterior) − KL. It is deterministic, which suits calibration and parity
checks, but it is **not a bound**: without the noise of the posterior the reconstruction term is larger. Quote the ELBO
or the IWAE bound as a likelihood. The small effective sample size says that a few of the 64 draws carry the IWAE
estimate, so a larger K would tighten it further.

{evaluation_note(self.command)}
{detection}
Pictures of something else can score as high as clothes do, or higher. As the only gate in front of a classifier this
score would be a poor choice.

{limits_section()}"""


MODEL = VAEModel(
    command="vae",
    description="Convolutional VAE of Fashion-MNIST with a discretised logistic likelihood, 28×28 grey, 256 levels",
    recipe=Recipe(steps=6_000, decay_steps=2_500, batch_size=128),
    config=CodeConfig(),
)
