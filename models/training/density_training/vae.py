"""A convolutional variational autoencoder with a discretised logistic likelihood.

References
- Kingma and Welling, "Auto-Encoding Variational Bayes" (2014): the evidence lower bound and its estimator.
- Bowman et al., "Generating Sentences from a Continuous Space" (2016): the weight of the KL term rises from 0 to 1.
- Salimans et al., "PixelCNN++" (2017): the discretised logistic distribution.
"""

import torch
from torch import Tensor, nn

from density_training.convolutional import CodeConfig, decoder_layers, encoder_layers
from density_training.likelihood import discretized_logistic_log_probability, gaussian_kl
from density_training.scoring import to_input


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
