"""A convolutional autoencoder: a deterministic code with a bottleneck, and no density.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks" (2006). Without noise in the code
there is nothing to integrate over and no probability of an image; how well it is reconstructed is all there is.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.scoring import to_input
from density_training.vae import Residual


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes; height and width must be multiples of four."""

    height: int = 28
    width: int = 28
    levels: int = 256
    latent_size: int = 64
    channels: int = 32


class Autoencoder(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        bottom = (2 * c, config.height // 4, config.width // 4)
        size = bottom[0] * bottom[1] * bottom[2]
        # `image` [N, 1, H, W] in level/(levels−1) → `latent` [N, latent].
        self.encoder = nn.Sequential(
            nn.Conv2d(1, c, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),
            nn.SiLU(),
            Residual(2 * c),
            nn.Flatten(),
            nn.Linear(size, config.latent_size),
        )
        # `latent` [N, latent] → `image` [N, 1, H, W], between 0 and 1.
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_size, size),
            nn.Unflatten(1, bottom),
            nn.SiLU(),
            Residual(2 * c),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1),
            nn.SiLU(),
            Residual(c),
            nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(c // 2, 1, 3, padding=1),
            nn.Sigmoid(),
        )


def training_loss(model: Autoencoder, levels: Tensor) -> Tensor:
    """Mean squared error of the reconstruction in units of level/(levels − 1); the network runs in bfloat16."""
    image = to_input(levels, model.config.levels)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction = model.decoder(model.encoder(image))
    return F.mse_loss(reconstruction.float(), image)
