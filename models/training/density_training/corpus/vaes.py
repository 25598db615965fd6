"""VAEs and autoencoders as people write and export them: pairs, whole ones, and parts."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import CLASSES, LATENT


class Encoder(nn.Module):
    """An image to one or two rows of numbers, or to whatever `after` makes of mean and log-variance."""

    def __init__(self, after: Callable[[Tensor, Tensor], Any], channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.mean, self.spread = nn.Linear(4 * 16, LATENT), nn.Linear(4 * 16, LATENT)
        self.after = after

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.conv(image)).flatten(1)
        return self.mean(x), self.spread(x) - 1

    def forward(self, image: Tensor) -> Any:
        return self.after(*self.posterior(image))


class Floored(Encoder):
    """A deviation that is never below some least one, instead of a log-variance."""

    LEAST = 0.05

    def __init__(self) -> None:
        super().__init__(lambda mean, spread: (mean, F.softplus(spread) + self.LEAST))

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = self(image)
        return mean, 2 * deviation.log()

    def forward(self, image: Tensor) -> Any:
        return self.after(*super().posterior(image))


class Decoder(nn.Module):
    """A code to a picture, up-sampled; and perhaps its log-scale."""

    def __init__(self, last: nn.Module, *, scale: Callable[[Tensor], Tensor] | None = None, channels: int = 1) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, 4 * 16)
        self.up = nn.ConvTranspose2d(4, 2 * channels, 4, stride=2, padding=1)
        self.last, self.scale, self.channels = last, scale, channels

    def both(self, code: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(F.relu(self.first(code)).view(-1, 4, 4, 4))
        return self.last(x[:, : self.channels]), x[:, self.channels :] - 2

    def forward(self, code: Tensor) -> Any:
        mean, log_scale = self.both(code)
        return mean if self.scale is None else (mean, self.scale(log_scale))


class Whole(nn.Module):
    """Encoder and decoder in one graph, with or without the draw between them."""

    def __init__(self, decoder: Decoder, after: Callable[..., Any], *, draws: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder, self.after, self.draws = Encoder(lambda m, _: m), decoder, after, draws

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = self.encoder.posterior(image)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.draws else mean
        return self.after(self.decoder(code), image, mean, log_variance)


class WithCountedNoise(Whole):
    """Noise for as many images as there are in the example."""

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = self.encoder.posterior(image)
        noise = torch.randn([int(size) for size in mean.shape])
        return self.after(self.decoder(mean + torch.exp(0.5 * log_variance) * noise), image, mean, log_variance)


class Softened(Whole):
    """A code that is drawn otherwise than from a Gaussian."""

    def forward(self, image: Tensor) -> Any:
        mean, _ = self.encoder.posterior(image)
        return self.decoder(F.softmax(mean - torch.log(-torch.log(torch.rand_like(mean) + 1e-7)), dim=-1))


class OfLabels(nn.Module):
    """A network that sees a label beside its image or code."""

    def __init__(self, module: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.label, self.size = module, nn.Linear(CLASSES, math.prod(size)), size

    def forward(self, x: Tensor, label: Tensor) -> Any:
        return self.module(x + self.label(label).view(-1, *self.size))
