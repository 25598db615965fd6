"""Causal networks whose weights say more than their layers: masks over all pixels, and branches without any weight."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH, Case
from density_training.corpus.causal import CHANNELS, MaskedConv2d
from density_training.corpus.reference import LEVELS, density

PIXELS = HEIGHT * WIDTH


class Untrained(nn.Module):
    """Branches that begin as nothing, as those of residual networks do, and a first layer whose mask leaves nothing.

    What the last branch is of would see its own pixel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.above = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.own, self.ahead = MaskedConv2d("A", 1, CHANNELS, 1), nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.second = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1)
        self.last, self.norm = nn.Conv2d(CHANNELS, CHANNELS, 1), nn.BatchNorm2d(CHANNELS)
        self.wide, self.narrow = nn.Linear(CHANNELS, 16), nn.Linear(16, CHANNELS, bias=False)
        self.head = nn.Conv2d(CHANNELS, LEVELS, 1)
        for nothing in (self.last.weight, self.norm.weight, self.narrow.weight, self.ahead.weight):
            nn.init.zeros_(nothing)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.above(image) + self.own(image))
        x = x + self.last(F.elu(self.second(x)))
        x = x + self.norm(self.second(F.relu(x)))
        x = x + self.narrow(F.gelu(self.wide(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        return self.head(F.relu(x + self.ahead(image)))


class MaskedLinear(nn.Linear):
    """A layer that sees what its mask lets through."""

    mask: Tensor

    def __init__(self, degrees: Tensor, own: Tensor, *, strict: bool = False) -> None:
        super().__init__(len(degrees), len(own))
        below = degrees[None] < own[:, None] if strict else degrees[None] <= own[:, None]
        self.register_buffer("mask", below.float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Autoencoder(nn.Module):
    """A residual MADE (Nash and Durkan 2019) of one-hot levels, with a direct connection and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        places, hidden = torch.arange(PIXELS), torch.randint(0, PIXELS - 1, (30,))
        self.first = MaskedLinear(places.repeat_interleave(LEVELS), hidden)
        self.second, self.norm = MaskedLinear(hidden, hidden), nn.BatchNorm1d(len(hidden))
        self.head = MaskedLinear(hidden, places.repeat_interleave(LEVELS), strict=True)
        self.direct = MaskedLinear(places, places.repeat(LEVELS), strict=True)
        mean = self.norm.running_mean
        assert mean is not None, "tracked unless told otherwise"
        nn.init.normal_(mean, std=0.3)

    def forward(self, image: Tensor) -> Tensor:
        levels = (image * (LEVELS - 1)).round().long().flatten(1)
        x = self.first(F.one_hot(levels, LEVELS).float().flatten(1))
        x = x + torch.tanh(self.second(self.norm(F.elu(x))))
        logits = self.head(F.relu(x)).unflatten(1, (PIXELS, LEVELS)).transpose(1, 2)
        logits = logits + self.direct(image.flatten(1)).view(-1, LEVELS, PIXELS)
        return logits.reshape(-1, LEVELS, HEIGHT, WIDTH)


def cases() -> Iterator[Case]:
    """All of them are drawn along wavefronts."""
    for name, net in (("grey-untrained", Untrained()), ("grey-autoencoder", Autoencoder())):
        yield density(name, net.eval())
