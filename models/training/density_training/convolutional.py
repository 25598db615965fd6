"""Convolutional layers between an image and a short code, which the autoencoder, the VAE and the GAN share."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class CodeConfig:
    """Sizes of a network that turns images into codes and back; height and width must be multiples of four."""

    height: int = 28
    width: int = 28
    levels: int = 256
    latent_size: int = 64
    channels: int = 32

    @property
    def bottom(self) -> tuple[int, int, int]:
        """Channels, rows and columns of what `encoder_layers` gives and `decoder_layers` takes."""
        return (2 * self.channels, self.height // 4, self.width // 4)

    @property
    def bottom_size(self) -> int:
        """How many numbers that is."""
        channels, rows, columns = self.bottom
        return channels * rows * columns


def encoder_layers(channels: int) -> list[nn.Module]:
    """Image [N, 1, H, W] → [N, 2 · channels, H/4, W/4]."""
    return [
        nn.Conv2d(1, channels, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
        nn.SiLU(),
        Residual(2 * channels),
    ]


def decoder_layers(channels: int, outputs: int) -> list[nn.Module]:
    """[N, 2 · channels, H/4, W/4] → [N, outputs, H, W]."""
    return [
        nn.SiLU(),
        Residual(2 * channels),
        nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
        nn.SiLU(),
        Residual(channels),
        nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels // 2, outputs, 3, padding=1),
    ]


class Residual(nn.Module):
    """x + conv(SiLU(x)), 3×3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.silu(x))
