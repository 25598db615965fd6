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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import diversity
from density_training.card import ONE_THREAD, Report, evaluation_note, limits_section, shares, table, training_section
from density_training.convolutional import Residual
from density_training.data import LABELS, LEVELS, Dataset, to_input
from density_training.figures import Figures
from density_training.model import Exported, Loss, Model, Trained, counted_labels, parameter_count
from density_training.sampling import each_label, generate, save_grid
from density_training.scoring import TwoInputs
from density_training.training import Recipe
from density_training.version import Family, Graph, Version, check_parity, write_generator_version

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


def players_loss(network: GAN, levels: Tensor, label: Tensor, step: int) -> Tensor:
    """The losses of both players on one batch, added; neither reaches the weights of the other.

    One backward pass then gives both their gradients. With d = D(real) − D(drawn), of the same label, the discriminator
    minimises softplus(−d) and the generator softplus(d). The generator runs in bfloat16, the discriminator, whose
    gradient is differentiated, in float32. Updates the average as well, which lags by one step.
    """
    network.update_average(step)
    real = to_input(levels, network.config.levels)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = network.generator(torch.randn(len(levels), network.config.latent_size), label)
    drawn = drawn.float()

    judged = network.discriminator(torch.cat([real, drawn.detach()]), torch.cat([label, label]))
    of_real, of_drawn = judged.chunk(2)
    few = -(-len(levels) // PENALISED_SHARE)
    penalised = torch.cat([real[:few], drawn[:few].detach()])
    penalty = gradient_penalty(network.discriminator, penalised, torch.cat([label[:few], label[:few]]))
    discriminator_loss = F.softplus(of_drawn - of_real).mean() + GRADIENT_PENALTY * penalty

    for parameter in network.discriminator.parameters():
        parameter.requires_grad_(False)
    generator_loss = F.softplus(of_real.detach() - network.discriminator(drawn, label)).mean()
    for parameter in network.discriminator.parameters():
        parameter.requires_grad_(True)
    return discriminator_loss + generator_loss


def gradient_penalty(discriminator: Discriminator, image: Tensor, label: Tensor) -> Tensor:
    """Mean of |∂D/∂image|², which is half the sum of the means over as many real and drawn images."""
    image = image.requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(image, label).sum(), image, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


FAMILY = Family(
    name="gan",
    graphs={
        "generator": Graph(
            "generator.onnx", {"input": "latent", "label": "label", "output": "image"}, outputs=("image",)
        )
    },
    score=None,
    takes_images=False,
)
SAMPLES_A_LABEL, GOLDEN_COUNT = 8, 10


@dataclass(frozen=True, kw_only=True)
class GANModel(Model[GAN, GANConfig]):
    """The generator: what it draws is judged by the classifier, beside what the other models draw."""

    family = FAMILY

    def build(self, config: GANConfig) -> GAN:
        return GAN(config)

    def loss(self, network: GAN, data: Dataset) -> Loss:
        return lambda chosen, step: players_loss(network, data.train_images[chosen], data.train_labels[chosen], step)

    def optimisers(self, network: GAN) -> list[torch.optim.Optimizer]:
        """Adam without momentum for each player (Kingma and Ba, "Adam", 2015)."""
        players = (network.generator, network.discriminator)
        return [torch.optim.Adam(player.parameters(), lr=5e-4, betas=(0.0, 0.99)) for player in players]

    def monitor(self, network: GAN, data: Dataset, checkpoint: Path) -> str:
        sheet = checkpoint.with_suffix(".png")
        _save_samples(network.average, network.config.latent_size, sheet)
        return f"drew {sheet}"

    def exported(self, network: GAN, shape: tuple[int, int, int]) -> dict[str, Exported]:
        example = (torch.randn(2, network.config.latent_size), torch.tensor([0, 1]))
        return {"generator": (network.average, example)}

    def version(self, trained: Trained[GAN], data: Dataset) -> Version:
        version, network = super().version(trained, data), trained.network
        return replace(
            version,
            provenance=version.provenance | {"parameters": parameter_count(network.average)},
            latent_size=network.config.latent_size,
            labels=counted_labels(data),
            notes="the weights are a moving average of the generator's; the discriminator is not served",
        )

    def complete(self, folder: Path, version: Version, network: GAN, data: Dataset) -> Figures:
        latent_size = network.config.latent_size
        latent = torch.randn((GOLDEN_COUNT, latent_size), generator=torch.Generator().manual_seed(1))
        label = torch.arange(GOLDEN_COUNT) % network.config.labels
        with torch.no_grad():
            write_generator_version(folder, version, latent, label, network.average(latent, label))
        _save_samples(self.family.load(folder)["generator"], latent_size, folder / "samples.png")
        return self._figures(data, folder)

    def evaluate(self, data: Dataset, folder: Path) -> Figures:
        return {"largest_golden_deviation": check_parity(folder, self.family), **self._figures(data, folder)}

    def _figures(self, data: Dataset, folder: Path) -> Figures:
        """How many draws are recognised as the label that was asked for, and how they compare with other models'."""
        drawn, wanted = diversity.draw_generator(folder)
        right = (diversity.recognised_labels(drawn) == wanted).double()
        return {
            "judged": diversity.JUDGED,
            "recognised": right.mean().item(),
            "recognised_by_label": {name: right[wanted == label].mean().item() for label, name in enumerate(LABELS)},
            "compared": [asdict(row) for row in diversity.compare(data, generator=folder)],
        }

    def card(self, report: Report) -> str:
        figures, latent_size = report.figures, report.version.latent_size
        rows = [diversity.Row(**row) for row in figures["compared"]]
        hardest, recognised = min(figures["recognised_by_label"].items(), key=lambda item: item[1])
        how = """of a generator and a discriminator at once: relativistic loss, penalties of the gradient at real and at
  drawn images; the generator in bfloat16; Adam"""
        by_label = [*shares(figures["recognised_by_label"]), ("all", f"**{figures['recognised']:.1%}**")]
        return f"""{report.title}

A generator of 28×28 grey images with 256 levels given one of ten labels, trained against a discriminator. It draws. Its
density is **implicit**: there is one, but it cannot be evaluated, so it cannot say how probable an image is.

![Eight samples of each label](samples.png)

*Eight samples of each label, one label a row, seed 0, not selected.*

## Model
- A linear layer from {latent_size} standard normal numbers and an embedding of the label, two transposed convolutions,
  a residual one, a convolution and a sigmoid. The weights are a moving average over the training, decay 0.999.
- The discriminator, which is not served: three strided convolutions, a linear layer and a projection on the label. It
  compares a real and a drawn image of the same label.
- {report.weights}; float32; ONNX operator set 18; inputs `latent` [N, {latent_size}] and `label` int64 [N] from 0 to 9;
  output `image` = level / 255 [N, 1, 28, 28].
- References: Goodfellow et al., *Generative Adversarial Nets* (2014); Huang et al., *The GAN is dead; long live the
  GAN! A Modern GAN Baseline* (2024), for the loss and its penalties; Miyato and Koyama, *cGANs with Projection
  Discriminator* (2018).

{training_section(report, how, ONE_THREAD)}
## Figures
{figures["judged"]:,} images of every kind, judged by fashion-mnist-classifier: Fréchet's distance between Gaussians
fitted to its features of these and of the 10,000 test images, less is better, and how many images it gives each label.
Labels were asked for, equally many of each, from this generator and from fashion-mnist-pixelcnn-conditional; the others
draw what they like.

{diversity.markdown(rows, LABELS)}

The distance compares with the other rows of this table only. All ten labels occur in what each model draws; a label's
count says nothing of how varied its images are. The noise of single pixels weighs heavily with this judge, as the two
rows of the VAE show. The table is made again by

    DRAWS=.cache/draws
    density-server sample fashion-mnist-pixelcnn -n 10000 --seed 1 --output $DRAWS/fashion-mnist-pixelcnn/all.npy
    for label in 0 1 2 3 4 5 6 7 8 9; do
      density-server sample fashion-mnist-pixelcnn-conditional -n 1000 --seed $label --label $label \\
        --output $DRAWS/fashion-mnist-pixelcnn-conditional/$label.npy
    done
    python -m density_training diversity

{table(("label asked for", "drawn images that the classifier gives this label"), by_label)}

{evaluation_note(self.command, options="")}
## What is not good
- Sandals are blobs, though the classifier takes them for sandals: it is an easy judge. Dresses and bags are torn or
  have holes, and transposed convolutions leave a grid of dots and stripes on cloth. Shapes are right more often than
  textures.
- {1 - figures["recognised"]:.1%} of the images are not recognised as the label that was asked for; of "{hardest}"
  {1 - recognised:.1%}.
- An exact density given the label, fashion-mnist-pixelcnn-conditional, draws images that are much closer to real ones.
  This generator is faster: one pass an image.
- It was trained for few epochs. Its loss was taken after another one had drawn nearly the same image for each label.

{limits_section()}"""


def _save_samples(generator: TwoInputs, latent_size: int, path: Path) -> None:
    shown = each_label(len(LABELS), SAMPLES_A_LABEL)
    save_grid(generate(generator, shown, latent_size, LEVELS, seed=0), SAMPLES_A_LABEL, path)


MODEL = GANModel(
    command="gan",
    description="Generator of Fashion-MNIST given a label, trained adversarially, 28×28 grey; no density",
    recipe=Recipe(steps=3_500, decay_steps=1_600, batch_size=64),
    config=GANConfig(),
)
