"""Generators as people write and export them."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import CLASSES, LATENT, SIDE, Case, Graph
from density_training.corpus.densities import Before
from density_training.corpus.vaes import Decoder


class Labelled(nn.Module):
    """A generator that is given labels beside codes."""

    def __init__(self, *, one_hot: bool) -> None:
        super().__init__()
        self.one_hot = one_hot
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.linear = nn.Linear(CLASSES, LATENT)
        self.decoder = Decoder(nn.Tanh())

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        return self.decoder(code + (self.linear(label) if self.one_hot else self.embedding(label)))


class Noise(nn.Module):
    """A draw inside a network."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.rand_like(x)


def generators() -> Iterator[Case]:
    """Networks from codes to pictures."""
    code = torch.randn(2, LATENT)
    wide = Before(lambda z: z.flatten(1), Decoder(nn.Tanh(), channels=3))
    yield Case(
        "gan-dcgan", (Graph(wide, (code[:, :, None, None],), inputs=("noise",)),), family="gan", says=("tangents",)
    )
    yield Case(
        "gan-sigmoid",
        (Graph(Decoder(nn.Sigmoid()), (code,), inputs=("z",), dynamo=True),),
        family="gan",
        arguments=("--family", "gan"),
    )
    flat = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), nn.Tanh())
    yield Case("gan-flat", (Graph(flat, (code,), inputs=("z",), fixed=True),), family="gan")
    label = torch.tensor([0, 3])
    yield Case(
        "gan-labels",
        (Graph(Labelled(one_hot=False), (code, label), inputs=("z", "label")),),
        family="gan",
        arguments=("--labels", "a,b,c,d"),
    )
    yield Case(
        "gan-one-hot",
        (Graph(Labelled(one_hot=True), (code, F.one_hot(label, CLASSES).float()), inputs=("z", "label"), dynamo=True),),
        family="gan",
    )
    random = Decoder(nn.Sequential(nn.Sigmoid(), Noise()))
    yield Case("gan-random", (Graph(random, (code,), inputs=("z",)),), family="gan", refused="random")
