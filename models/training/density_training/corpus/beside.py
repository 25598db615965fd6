"""Small equivalents of public networks that give or take more than the families have, with names that tell nothing."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import reference
from density_training.corpus.case import CLASSES, HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d

PIXELS = SIDE * SIDE


class Auxiliary(nn.Module):
    """A classifier with an auxiliary head on an earlier layer, as GoogLeNet has it in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.early, self.last = nn.Linear(4, CLASSES), nn.Linear(6, CLASSES)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(image))
        y = F.relu(self.second(x))
        return self.last(y.mean((2, 3))), self.early(x.mean((2, 3)))


class Hierarchy(nn.Module):
    """A VAE whose code has a code, with the divergence of both."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(PIXELS, 2 * LATENT), nn.Linear(LATENT, PIXELS)
        self.above, self.below = nn.Linear(LATENT, 4), nn.Linear(2, 2 * LATENT)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.encoder(image.flatten(1)).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        mean_above, spread_above = self.above(code).chunk(2, 1)
        above = mean_above + torch.randn_like(mean_above) * (0.5 * spread_above).exp()
        prior, prior_spread = self.below(above).chunk(2, 1)
        divergence = (mean_above**2 + spread_above.exp() - 1 - spread_above).sum(1) / 2
        ratio = (spread.exp() + (mean - prior) ** 2) / prior_spread.exp()
        divergence = divergence + (prior_spread - spread + ratio - 1).sum(1) / 2
        return self.decoder(code).sigmoid().view(image.shape), divergence


class Spread(nn.Module):
    """A VAE whose decoder gives mean and log-variance of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(PIXELS, 2 * LATENT)
        self.mean, self.spread = nn.Linear(LATENT, PIXELS), nn.Linear(LATENT, PIXELS)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        mean, spread = self.encoder(image.flatten(1)).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        return self.mean(code).sigmoid().view(image.shape), self.spread(code).view(image.shape), mean, spread


class Joined(nn.Module):
    """A VAE that has its label, one of many, joined to its image without axes and to its code."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(PIXELS + CLASSES, 2 * LATENT)
        self.decoder = nn.Linear(LATENT + CLASSES, PIXELS)

    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        mean, spread = self.encoder(torch.cat([image, label], 1)).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        return self.decoder(torch.cat([code, label], 1)).sigmoid(), mean, spread


class Codes(nn.Module):
    """A PixelCNN of codes of a VQ-VAE."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table = nn.Embedding(words, 4)
        self.first, self.last = MaskedConv2d("A", 4, 6, 3, padding=1), nn.Conv2d(6, words, 1)

    def forward(self, codes: Tensor) -> Tensor:
        return self.last(F.relu(self.first(self.table(codes).permute(0, 3, 1, 2))))


class Unrolled(nn.Module):
    """A cell that a loop of Python takes from pixel to pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(1, 6), nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(1)
        state, before, logits = torch.zeros(len(image), 6), torch.zeros(len(image), 1), []
        for at in range(pixels.shape[1]):
            state = self.cell(before, state)
            logits.append(self.head(state))
            before = pixels[:, at : at + 1]
        return torch.stack(logits, 2).unflatten(2, image.shape[2:])


class Nade(nn.Module):
    """A NADE in one go: the sum of what came before is all of the running sum but the own number."""

    def __init__(self) -> None:
        super().__init__()
        self.takes, self.gives = nn.Parameter(torch.randn(PIXELS, 6)), nn.Parameter(torch.randn(PIXELS, 6))
        self.bias = nn.Parameter(torch.randn(6))

    def forward(self, image: Tensor) -> Tensor:
        seen = image.flatten(1)[..., None] * self.takes
        hidden = (self.bias + seen.cumsum(1) - seen).sigmoid()
        return (hidden * self.gives).sum(-1).view(image.shape)


class Noisy(nn.Module):
    """A generator that is given pictures of noise beside its code, as StyleGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(LATENT, 4 * 16), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, code: Tensor, small: Tensor, large: Tensor) -> Tensor:
        x = self.first(code).view(-1, 4, 4, 4) + small
        return self.last(F.interpolate(x, scale_factor=2.0) + large).tanh()


class Crops(nn.Module):
    """A classifier that takes the mean over crops of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3 * PIXELS, CLASSES)

    def forward(self, crops: Tensor) -> Tensor:
        return self.net(crops.flatten(2)).mean(1)


def cases() -> Iterator[Case]:
    """What is asked or refused, and what is served."""
    grey, colour = torch.rand(1, 1, SIDE, SIDE), torch.rand(1, 3, SIDE, SIDE)

    def fixed(module: nn.Module, example: tuple[Tensor, ...], *outputs: str) -> tuple[Graph, ...]:
        inputs = tuple(f"onnx::Reshape_{place}" for place in range(len(example)))
        return (Graph(module, example, inputs=inputs, outputs=outputs, fixed=True),)

    graphs = fixed(Auxiliary(), (colour,), "15", "18")
    yield Case("classifier-auxiliary", graphs, family="classifier", refused="its auxiliary head")
    graphs = fixed(Hierarchy(), (grey,), "61", "74")
    yield Case("whole-vae-hierarchical", graphs, family="vae", refused="a code of a code")
    graphs = fixed(Spread(), (grey,), "31", "33", "17", "18")
    yield Case("whole-vae-spread", graphs, family="vae", refused="log_scale=log-variance")
    graphs = fixed(Joined(), (grey.flatten(1), F.one_hot(torch.tensor([1]), CLASSES).float()), "29", "12", "13")
    yield Case("whole-vae-labelled", graphs, family="vae", says=("only the decoder is",))
    graphs = fixed(Codes(512), (torch.zeros(1, SIDE, SIDE, dtype=torch.long),), "21")
    yield Case("codes-many", graphs, family="pixelcnn", refused="a density of 512 levels")
    unrolled, small = Unrolled(), torch.rand(1, 1, HEIGHT, WIDTH)
    yield Case(
        "grey-unrolled",
        fixed(unrolled, (small,), "900"),
        family="pixelcnn",
        levels=4,
        shape=(1, HEIGHT, WIDTH),
        numbers=reference.categorical(unrolled, 4),
        sampler="fixed-point",
        says=("a loop over pixels was unrolled",),
    )
    parting = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 21, 3, padding=1))
    yield Case("segmentation", fixed(parting, (colour,), "12"), family="pixelcnn", refused="a map of classes")
    noises = torch.randn(1, 1, 4, 4), torch.randn(1, 1, SIDE, SIDE)
    graphs = fixed(Noisy(), (torch.randn(1, LATENT), *noises), "24")
    yield Case("gan-noise", graphs, family="gan", refused="pictures beside its code")
    graphs = fixed(Crops(), (torch.rand(1, 5, 3, SIDE, SIDE),), "8")
    yield Case("classifier-crops", graphs, family="classifier", refused="several crops")
    nade = Nade()
    yield Case(
        "binary-nade",
        fixed(nade, (grey,), "22"),
        family="pixelcnn",
        levels=2,
        numbers=reference.bernoulli(nade),
        sampler="wavefront",
    )
