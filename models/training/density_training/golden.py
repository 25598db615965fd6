"""The pictures whose scores are stored with a version: clothes, and inputs that a server will meet by mistake."""

import torch
from torch import Tensor

CLOTHES = 11
ODDITIES = (
    "all black",
    "all white",
    "uniform noise",
    "the first test image, inverted",
    "a checkerboard of single pixels",
)
"""The golden pictures that are not clothes, in their order after the clothes."""


def golden_levels(test: Tensor) -> Tensor:
    """Eleven test images, then the five oddities; uint8 [16, 1, H, W]."""
    _, channels, height, width = test.shape
    black = torch.zeros((1, channels, height, width), dtype=torch.uint8)
    noise = torch.randint(0, 256, black.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    checkerboard = black + (((row + column) % 2) * 255).to(torch.uint8)
    return torch.cat([test[:CLOTHES], black, 255 - black, noise, 255 - test[:1], checkerboard])
