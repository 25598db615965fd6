"""A generative adversarial network of images given a label: it draws, and knows no probability.

References
- Goodfellow et al., "Generative Adversarial Nets" (2014).
- Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018), and the hinge loss there.
- Miyato and Koyama, "cGANs with Projection Discriminator" (2018).
- Yazıcı et al., "The Unusual Effectiveness of Averaging in GAN Training" (2019): the served generator is a mean.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from density_training.scoring import to_input

AVERAGE_DECAY = 0.999


@dataclass(frozen=True)
class GANConfig:
    """Sizes; height and width must be multiples of four."""

    height: int = 28
    width: int = 28
    levels: int = 256
    labels: int = 10
    latent_size: int = 64
    channels: int = 32


class GAN(nn.Module):
    """A generator, the discriminator it is trained against, and the generator's moving average, which is served."""

    def __init__(self, config: GANConfig = GANConfig()) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the average a little towards the generator; the statistics of its normalisation are taken over."""
        for mean, current in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(current, 1 - AVERAGE_DECAY)
        for mean, current in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mean.copy_(current)


class Generator(nn.Module):
    """`latent` [N, latent] standard normal, `label` int64 [N] → `image` [N, 1, H, W] between 0 and 1."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        c = config.channels
        self.bottom = (3 * c, config.height // 4, config.width // 4)
        self.label = nn.Embedding(config.labels, config.latent_size)
        self.expand = nn.Linear(2 * config.latent_size, 3 * c * self.bottom[1] * self.bottom[2])
        self.convolutions = nn.Sequential(
            nn.BatchNorm2d(3 * c),
            nn.ReLU(),
            nn.ConvTranspose2d(3 * c, 2 * c, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        x = self.expand(torch.cat([latent, self.label(label)], dim=1))
        return self.convolutions(x.reshape(-1, *self.bottom))


class Discriminator(nn.Module):
    """Image [N, 1, H, W], label [N] → how real it looks, [N]; its layers are 1-Lipschitz up to their activations."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        c = config.channels
        self.convolutions = nn.Sequential(
            spectral_norm(nn.Conv2d(1, c, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(c, 2 * c, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Conv2d(2 * c, 4 * c, 3, padding=1)),
            nn.LeakyReLU(0.1),
        )
        self.real = spectral_norm(nn.Linear(4 * c, 1))
        self.label = spectral_norm(nn.Embedding(config.labels, 4 * c))

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        features = self.convolutions(2 * image - 1).sum((2, 3))
        return self.real(features).squeeze(1) + (self.label(label) * features).sum(1)


def training_loss(model: GAN, levels: Tensor, label: Tensor) -> Tensor:
    """The hinge losses of both players on one batch, added; neither reaches the weights of the other.

    One backward pass then gives both their gradients. Convolutions run in bfloat16. Updates the average as well, which
    therefore lags by one step.
    """
    model.update_average()
    real = to_input(levels, model.config.levels).contiguous(memory_format=torch.channels_last)
    latent = torch.randn(len(levels), model.config.latent_size)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = model.generator(latent, label)
        both = model.discriminator(torch.cat([real, drawn.detach().float()]), torch.cat([label, label]))
        for parameter in model.discriminator.parameters():
            parameter.requires_grad_(False)
        judged = model.discriminator(drawn, label)
        for parameter in model.discriminator.parameters():
            parameter.requires_grad_(True)
    of_real, of_drawn = both.float().chunk(2)
    return F.relu(1 - of_real).mean() + F.relu(1 + of_drawn).mean() - judged.float().mean()


@torch.no_grad()
def draw(generator: nn.Module, label: Tensor, latent_size: int, levels: int, seed: int, batch: int = 250) -> Tensor:
    """One image a label, uint8 [N, 1, H, W], from a generator in PyTorch or ONNX Runtime."""
    latent = torch.randn((len(label), latent_size), generator=torch.Generator().manual_seed(seed))
    parts = [generator(*part) for part in zip(latent.split(batch), label.split(batch), strict=True)]
    return (torch.cat(parts) * (levels - 1)).round().to(torch.uint8)
