"""A gated PixelCNN with one raster-masked stack: the exact probability of an image, one level at a time.

References
- van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016): masks A and B, 256-way softmax.
- van den Oord et al., "Conditional Image Generation with PixelCNN Decoders" (2016): gated masked convolutions.
- Dauphin et al., "Language Modeling with Gated Convolutional Networks" (2017): the gate a·σ(b) instead of tanh(a)·σ(b).
- Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions" (2016): dilation widens the context.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.masked import MaskedConv2d
from density_training.scoring import to_input


@dataclass(frozen=True)
class PixelCNNConfig:
    """Sizes; block i has dilation `dilations[i mod len(dilations)]`.

    With a `block_size` of 1, a pixel sees what the first layer sees and no more. Without `position`, the network is
    the same everywhere, up to the zeros beyond the border.
    """

    height: int = 28
    width: int = 28
    levels: int = 256
    channels: int = 64
    blocks: int = 12
    dilations: tuple[int, ...] = (1, 2, 1, 4)
    head_channels: int = 128
    block_size: int = 3
    position: bool = True


class PixelCNN(nn.Module):
    """`image` [N, 1, H, W] in level/(levels−1) → `logits` [N, levels, H, W] of each pixel given those before it."""

    def __init__(self, config: PixelCNNConfig = PixelCNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.features = LevelFeatures(config.levels)
        self.first = MaskedConv2d(self.features.count, config.channels, 7, sees_itself=False)
        # Clothes are centred: where a pixel lies says much about it. A bias for each row and each column is enough.
        if config.position:
            self.row = nn.Parameter(torch.zeros(1, config.channels, config.height, 1))
            self.column = nn.Parameter(torch.zeros(1, config.channels, 1, config.width))
        self.blocks = nn.ModuleList(
            GatedBlock(config.channels, config.block_size, config.dilations[i % len(config.dilations)])
            for i in range(config.blocks)
        )
        self.head_hidden = nn.Conv2d(config.channels, config.head_channels, 1)
        self.head = nn.Conv2d(config.head_channels, config.levels, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.features(image))
        if self.config.position:
            x = x + (self.row + self.column)
        for block in self.blocks:
            x = block(x)
        return self.head(F.relu(self.head_hidden(F.relu(x))))


class GatedBlock(nn.Module):
    """x + W·(a·σ(b)) with (a, b) a mask-B convolution of x, and a bias of each image if there is one."""

    def __init__(self, channels: int, size: int, dilation: int) -> None:
        super().__init__()
        self.spatial = MaskedConv2d(channels, 2 * channels, size, sees_itself=True, dilation=dilation)
        self.mix = MaskedConv2d(channels, channels, 1, sees_itself=True)
        nn.init.zeros_(self.mix.weight)  # Each block starts as the identity.

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = self.spatial(x)
        if bias is not None:
            y = y + bias.to(y.dtype)
        a, b = y.chunk(2, dim=1)
        return x + self.mix(a * torch.sigmoid(b))


class LevelFeatures(nn.Module):
    """Pointwise features that tell neighbouring levels apart even after rounding to bfloat16.

    The level itself, an indicator of zero (half of a picture of clothes is exactly zero), and sines and cosines of
    the level at octave frequencies, the shortest with a period of four levels.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        octaves = max(1, round(math.log2(levels)) - 1)
        self.count = 2 + 2 * octaves
        frequencies = math.pi * 2.0 ** torch.arange(octaves)
        self.register_buffer("frequencies", frequencies.view(1, octaves, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        is_zero = F.relu(1 - (self.levels - 1) * image)
        phases = image * self.frequencies
        return torch.cat([image, is_zero, torch.sin(phases), torch.cos(phases)], dim=1)


def training_loss(model: PixelCNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 1, H, W], in nats a pixel; the network runs in bfloat16."""
    image = to_input(levels, model.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image)
    logits = logits.permute(0, 2, 3, 1).reshape(-1, model.config.levels)
    return F.cross_entropy(logits.float(), levels.reshape(-1).long())


def muon_parameters(model: PixelCNN) -> list[nn.Parameter]:
    """The hidden weight matrices; everything else (first layer, head, biases) is left to AdamW."""
    return [layer.weight for block in model.blocks for layer in (block.spatial, block.mix)]
