"""A generative adversarial network of images given a label: it draws, and knows no probability.

References
- Goodfellow et al., "Generative Adversarial Nets" (2014).
- Jolicoeur-Martineau, "The Relativistic Discriminator" (2019): a pair of a real and a drawn image is judged, not one
  image, which leaves no reward for drawing the same image always.
- Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?" (2018): the penalties of the
  discriminator's gradient, at real and at drawn images.
- Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline" (2024): the two together, and no
  normalisation.
- Miyato and Koyama, "cGANs with Projection Discriminator" (2018).
- Yazıcı et al., "The Unusual Effectiveness of Averaging in GAN Training" (2019): the served generator is a mean.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.convolutional import Residual
from density_training.scoring import to_input

AVERAGE_DECAY = 0.999
GRADIENT_PENALTY = 1.0
PENALISED_SHARE = 4
"""One in so many images of a batch takes part in the penalties, which cost several passes."""


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
    def update_average(self, step: int) -> None:
        """Move the average a little towards the generator; further in the first steps, to forget where it began."""
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        for mean, current in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)


class Generator(nn.Module):
    """`latent` [N, latent] standard normal, `label` int64 [N] → `image` [N, 1, H, W] between 0 and 1."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        c = config.channels
        self.bottom = (3 * c, config.height // 4, config.width // 4)
        self.label = nn.Embedding(config.labels, config.latent_size)
        self.expand = nn.Linear(2 * config.latent_size, 3 * c * self.bottom[1] * self.bottom[2])
        self.convolutions = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(3 * c, 2 * c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            Residual(2 * c),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        x = self.expand(torch.cat([latent, self.label(label)], dim=1))
        return self.convolutions(x.reshape(-1, *self.bottom))


class Discriminator(nn.Module):
    """Image [N, 1, H, W], label [N] → how real it looks, [N]; only differences between two images mean anything."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        c = config.channels
        size = 4 * c * math.ceil(config.height / 8) * math.ceil(config.width / 8)
        self.features = nn.Sequential(
            nn.Conv2d(1, c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * c, 4 * c, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(size, 4 * c),
            nn.LeakyReLU(0.2),
        )
        self.real = nn.Linear(4 * c, 1)
        self.label = nn.Embedding(config.labels, 4 * c)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        features = self.features(2 * image - 1)
        return self.real(features).squeeze(1) + (self.label(label) * features).sum(1) / math.sqrt(features.shape[1])


def training_loss(model: GAN, levels: Tensor, label: Tensor, step: int) -> Tensor:
    """The losses of both players on one batch, added; neither reaches the weights of the other.

    One backward pass then gives both their gradients. With d = D(real) − D(drawn), of the same label, the discriminator
    minimises softplus(−d) and the generator softplus(d). The generator runs in bfloat16, the discriminator, whose
    gradient is differentiated, in float32. Updates the average as well, which lags by one step.
    """
    model.update_average(step)
    real = to_input(levels, model.config.levels)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = model.generator(torch.randn(len(levels), model.config.latent_size), label)
    drawn = drawn.float()

    judged = model.discriminator(torch.cat([real, drawn.detach()]), torch.cat([label, label]))
    of_real, of_drawn = judged.chunk(2)
    few = -(-len(levels) // PENALISED_SHARE)
    penalised = torch.cat([real[:few], drawn[:few].detach()])
    penalty = gradient_penalty(model.discriminator, penalised, torch.cat([label[:few], label[:few]]))
    discriminator_loss = F.softplus(of_drawn - of_real).mean() + GRADIENT_PENALTY * penalty

    for parameter in model.discriminator.parameters():
        parameter.requires_grad_(False)
    generator_loss = F.softplus(of_real.detach() - model.discriminator(drawn, label)).mean()
    for parameter in model.discriminator.parameters():
        parameter.requires_grad_(True)
    return discriminator_loss + generator_loss


def gradient_penalty(discriminator: Discriminator, image: Tensor, label: Tensor) -> Tensor:
    """Mean of |∂D/∂image|², which is half the sum of the means over as many real and drawn images."""
    image = image.requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(image, label).sum(), image, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


@torch.no_grad()
def draw(generator: nn.Module, label: Tensor, latent_size: int, levels: int, seed: int, batch: int = 250) -> Tensor:
    """One image a label, uint8 [N, 1, H, W], from a generator in PyTorch or ONNX Runtime."""
    latent = torch.randn((len(label), latent_size), generator=torch.Generator().manual_seed(seed))
    parts = [generator(*part) for part in zip(latent.split(batch), label.split(batch), strict=True)]
    return (torch.cat(parts) * (levels - 1)).round().to(torch.uint8)
