"""A convolutional autoencoder: a deterministic code with a bottleneck, and no density.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks" (2006). Without noise in the code
there is nothing to integrate over and no probability of an image; how well it is reconstructed is all there is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.convolutional import CodeConfig, decoder_layers, encoder_layers
from density_training.scoring import to_input


class Autoencoder(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        # `image` [N, 1, H, W] in level/(levels−1) → `latent` [N, latent].
        self.encoder = nn.Sequential(
            *encoder_layers(config.channels),
            nn.Flatten(),
            nn.Linear(config.bottom_size, config.latent_size),
        )
        # `latent` [N, latent] → `image` [N, 1, H, W], between 0 and 1.
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_size, config.bottom_size),
            nn.Unflatten(1, config.bottom),
            *decoder_layers(config.channels, outputs=1),
            nn.Sigmoid(),
        )


def training_loss(model: Autoencoder, levels: Tensor) -> Tensor:
    """Mean squared error of the reconstruction in units of level/(levels − 1); the network runs in bfloat16."""
    image = to_input(levels, model.config.levels)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction = model.decoder(model.encoder(image))
    return F.mse_loss(reconstruction.float(), image)
