"""A convolutional variational autoencoder with a discretised logistic likelihood.

References
- Kingma and Welling, "Auto-Encoding Variational Bayes" (2014): the evidence lower bound and its estimator.
- Bowman et al., "Generating Sentences from a Continuous Space" (2016): the weight of the KL term rises from 0 to 1.
- Salimans et al., "PixelCNN++" (2017): the discretised logistic distribution.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.likelihood import discretized_logistic_log_probability, gaussian_kl
from density_training.scoring import to_input


@dataclass(frozen=True)
class VAEConfig:
    """Sizes; height and width must be multiples of four."""

    height: int = 28
    width: int = 28
    levels: int = 256
    latent_size: int = 64
    channels: int = 32


class VAE(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: VAEConfig = VAEConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class Encoder(nn.Module):
    """`image` [N, 1, H, W] → `mean`, `log_variance` [N, latent] of a diagonal Gaussian posterior."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        c = config.channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, c, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),
            nn.SiLU(),
            Residual(2 * c),
        )
        features = 2 * c * (config.height // 4) * (config.width // 4)
        self.posterior = nn.Linear(features, 2 * config.latent_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.convolutions(image).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)


class Decoder(nn.Module):
    """`latent` [N, latent] → `mean`, `log_scale` [N, 1, H, W] of a logistic for each pixel, in level/(levels − 1)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        c = config.channels
        self.bottom = (2 * c, config.height // 4, config.width // 4)
        self.expand = nn.Linear(config.latent_size, 2 * c * self.bottom[1] * self.bottom[2])
        self.convolutions = nn.Sequential(
            nn.SiLU(),
            Residual(2 * c),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1),
            nn.SiLU(),
            Residual(c),
            nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(c // 2, 2, 3, padding=1),
        )

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale = self.convolutions(self.expand(latent).reshape(-1, *self.bottom)).chunk(2, dim=1)
        # A scale of e⁻⁷ is a quarter of a level of 256, e¹ is wider than all levels together.
        return mean + 0.25, (log_scale - 2.0).clamp(-7.0, 1.0)


class Residual(nn.Module):
    """x + conv(SiLU(x)), 3×3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.silu(x))


def training_loss(model: VAE, levels: Tensor, kl_weight: float) -> Tensor:
    """Mean of −log p(x|z) + kl_weight · KL(q(z|x) ‖ p(z)) in nats a pixel, one z per image drawn from the posterior.

    The convolutions run in bfloat16, the likelihood in float32.
    """
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = model.encoder(to_input(levels, model.config.levels))
        mean, log_variance = mean.float(), log_variance.float()
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        location, log_scale = model.decoder(latent)
    log_probability = discretized_logistic_log_probability(
        location.float(), log_scale.float(), levels, model.config.levels
    )
    return (kl_weight * gaussian_kl(mean, log_variance).sum() - log_probability.sum()) / levels.numel()
