"""Networks that do otherwise where they are given one image, and parts that look like others of the same size."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.baked import RowsForLoss
from density_training.corpus.case import CLASSES, HEIGHT, LATENT, SIDE, WIDTH, Case, Graph, Numbers
from density_training.corpus.causal import CHANNELS, MaskedConv2d
from density_training.corpus.reference import DENSITY, LEVELS, categorical


class Stacked(nn.Module):
    """Two halves that are handed on as one stack; one axis too many is left out, which has one item for one image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 2, CHANNELS, 3, padding=1)
        self.second = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, LEVELS, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(F.pad(image, (0, 0, 0, 0, 0, 1, 0, 0), value=1)))
        for _ in range(2):
            x, below = torch.split(torch.stack((x, self.second(x))), 1, dim=0)
            x = torch.squeeze(x, 0)
            below = torch.squeeze(torch.squeeze(below, 0), 0)
            x = F.relu(self.norm(x + below))
        return self.head(x)


class Squeezed(nn.Module):
    """A classifier that leaves out all axes of one item, the batch too if it is one."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, labels, 3), nn.AdaptiveAvgPool2d(1))

    def logits(self, image: Tensor) -> Tensor:
        """[N, labels]."""
        return self.net(image).flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image).squeeze()


class Evaluated(nn.Module):
    """A VAE whose code is its mean in evaluation, behind a layer with as many features."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.before = nn.Linear(SIDE * SIDE, LATENT)
        self.mean, self.log_variance = nn.Linear(LATENT, LATENT), nn.Linear(LATENT, LATENT)
        self.after = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), last)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.relu(self.before(image.flatten(1)))
        mean, log_variance = self.mean(x), self.log_variance(x)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.training else mean
        return self.after(code).view(-1, 1, SIDE, SIDE), mean, log_variance


class OfMaps(nn.Module):
    """A generator whose label is a map of one place, 1 in the channel of the label, as its code is one."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.label = nn.ConvTranspose2d(LATENT, 4, 2), nn.ConvTranspose2d(CLASSES, 4, 2)
        self.up = nn.ConvTranspose2d(8, 1, SIDE // 2, SIDE // 2)

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(self.up(F.relu(torch.cat([self.code(code), self.label(label)], 1))))


def _posterior(module: Squeezed) -> Numbers:
    def numbers(images: Tensor) -> Tensor:
        return F.log_softmax(module.logits(images.float() / 255).double(), 1)

    return numbers


def _squared_errors(module: Evaluated, factor: float, term: float) -> Numbers:
    """Of pictures and images that are both level / 255 · factor + term."""

    def numbers(images: Tensor) -> Tensor:
        x = images.float() / 255
        picture = (module(x * factor + term)[0].double() - term) / factor
        return ((picture - x) ** 2).flatten(1).sum(1)

    return numbers


def cases() -> Iterator[Case]:
    """Fixed and free batches of both exporters."""
    two = torch.rand(2, 1, HEIGHT, WIDTH)
    stacked = Stacked()
    graph = Graph(stacked, (two,), fixed=True)
    says = ("how many images it is given",)
    yield Case("grey-asked", (graph,), numbers=categorical(stacked, LEVELS), says=says, **DENSITY)
    rows = RowsForLoss()
    shape = {"shape": (3, HEIGHT, WIDTH)}
    for name, dynamo in (("colour-rows-free", False), ("colour-rows-free-dynamo", True)):
        graph = Graph(rows, (torch.rand(2, 3, HEIGHT, WIDTH),), dynamo=dynamo)
        yield Case(name, (graph,), numbers=categorical(rows, LEVELS), **(DENSITY | shape))
    photographs = torch.rand(2, 3, SIDE, SIDE)
    for name, example, fixed, dynamo in (
        ("one", photographs[:1], True, False),
        ("one-dynamo", photographs[:1], True, True),
        ("two", photographs, True, False),
        ("free", photographs, False, False),
        ("free-dynamo", photographs, False, True),
    ):
        module = Squeezed(CLASSES).eval()
        yield Case(
            f"classifier-squeezed-{name}",
            (Graph(module, (example,), outputs=("logits",), fixed=fixed, dynamo=dynamo),),
            family="classifier",
            shape=(3, SIDE, SIDE),
            numbers=_posterior(module),
        )
    image = torch.rand(2, 1, SIDE, SIDE)
    for name, last, factor, term, arguments in (
        ("vae-evaluated", nn.Sigmoid(), 1.0, 0.0, ()),
        ("vae-evaluated-unbounded", nn.Identity(), 2.0, -1.0, ("--input", "-1..1")),
    ):
        vae = Evaluated(last).eval()
        outputs = ("reconstruction", "mu", "logvar")
        yield Case(
            name,
            (Graph(vae, (image,), outputs=outputs),),
            family="vae",
            arguments=arguments,
            numbers=_squared_errors(vae, factor, term),
        )
    label = F.one_hot(torch.tensor([0, 3]), CLASSES).float()[:, :, None, None]
    maps = Graph(OfMaps(), (torch.randn(2, LATENT, 1, 1), label), inputs=("z", "y"))
    yield Case("gan-label-maps", (maps,), family="gan", arguments=("--labels", "a,b,c,d"))
