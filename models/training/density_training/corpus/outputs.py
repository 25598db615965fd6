"""Small equivalents of public networks that give more than their predictions, or other than a model's.

And of those that were exported with a fixed batch, which went into more than the batch.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import causal, reference
from density_training.corpus.case import CLASSES, HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d
from density_training.corpus.densities import Grey
from density_training.corpus.published_more import Unnamed

SHAPE = (1, HEIGHT, WIDTH)


class Embedded(nn.Module):
    """A table of levels that is looked up for all pixels of all images in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 4)
        self.first, self.last = MaskedConv2d("A", 4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.table(image.view(-1)).view((*image.size(), -1)).permute(0, 3, 1, 2)
        return self.last(F.relu(self.first(x)))


class Believing(nn.Module):
    """A sigmoid belief network: a layer for each pixel, the first of which sees zeros."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(max(1, before), 1) for before in range(pixels))

    def forward(self, image: Tensor) -> Tensor:
        x = image.view(image.shape[0], -1)
        seen = [x[:, :before] if before else torch.zeros_like(x[:, :1]) for before in range(len(self.layers))]
        return torch.cat([layer(own) for layer, own in zip(self.layers, seen, strict=True)], 1).view(image.shape)


class Estimator(nn.Module):
    """NADE that draws the pixels that are not given, as those below 0, and hands on those that are."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.into, self.out = nn.Parameter(torch.randn(4, pixels)), nn.Parameter(torch.randn(pixels, 4))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image.view(image.shape[0], -1)
        state, probabilities, pixels = self.bias.expand(x.shape[0], -1), [], []
        for at in range(x.shape[1]):
            probability = torch.sigmoid(torch.relu(state) @ self.out[at : at + 1].t())
            pixel = x[:, at : at + 1]
            pixel = torch.where(pixel < 0, torch.bernoulli(probability), pixel)
            state = state + pixel @ self.into[:, at : at + 1].t()
            probabilities.append(probability)
            pixels.append(pixel)
        return torch.cat(probabilities, 1).view(image.shape), torch.cat(pixels, 1).view(image.shape)


class Timed(nn.Module):
    """The score of a picture at a time that is a real number (Song et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.time, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(1, 4), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        return self.last(F.silu(self.first(image) + self.time(time[:, None])[:, :, None, None])) / time.view(
            -1, 1, 1, 1
        )


class Numbered(nn.Module):
    """A conditional VAE that makes one of many of the number of a label by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(SIDE * SIDE + CLASSES, 2 * LATENT)
        self.decoder = nn.Linear(LATENT + CLASSES, SIDE * SIDE)

    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = F.one_hot(label, CLASSES).float()
        mean, log_variance = self.encoder(torch.cat([image, own], 1)).chunk(2, 1)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.sigmoid(self.decoder(torch.cat([code, own], 1))), mean, log_variance


class OfTokens(nn.Module):
    """A transformer over a sequence whose batch is the second axis, as is the default of PyTorch's layers."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.table, self.place = nn.Embedding(5, 4), nn.Parameter(torch.randn(pixels, 1, 4))
        self.layer, self.last = nn.MultiheadAttention(4, 1), nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((pixels, pixels), float("-inf")).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(tokens[:1], 4), tokens[:-1]], 0)
        x = self.table(before) + self.place
        return self.last(x + self.layer(x, x, x, attn_mask=self.mask, need_weights=False)[0])


def cases() -> Iterator[Case]:
    """Those that are served, and those that are refused with what helps."""
    yield from _fixed()
    yield from _several()
    yield from _others()


def _fixed() -> Iterator[Case]:
    embedded, levels = Embedded(), torch.randint(0, 4, (2, HEIGHT, WIDTH))
    for name, dynamo in (("fixed-embedded", False), ("fixed-embedded-dynamo", True)):
        yield Case(
            name,
            (Graph(embedded, (levels,), fixed=True, dynamo=dynamo),),
            family="pixelcnn",
            levels=4,
            shape=SHAPE,
            numbers=reference.categorical(lambda image: embedded(image[:, 0]), 4, before=lambda image: image),
            sampler="wavefront",
            says=("made free",),
        )
    believing = Believing(9)
    for name, batch in (("fixed-first-row", 1), ("fixed-first-rows", 2)):
        yield Case(
            name,
            (Graph(believing, (torch.rand(batch, 1, 3, 3),), fixed=True),),
            family="pixelcnn",
            levels=2,
            shape=(1, 3, 3),
            numbers=reference.bernoulli(believing),
            says=("made free",),
        )


def _several() -> Iterator[Case]:
    image = torch.rand(2, *SHAPE)

    def refused(name: str, module: nn.Module, outputs: tuple[str, ...], words: str, image: Tensor = image) -> Case:
        return Case(name, (Graph(module, (image,), outputs=outputs),), family="pixelcnn", refused=words)

    estimator = Estimator(9)

    inputs = torch.rand(2, 1, 3, 3).round()
    # What it hands on is no noise of a flow.
    yield refused("sampler-inside", estimator, ("p", "x"), "holds what draws random numbers", inputs)
    grey = Grey(4)
    hidden = Unnamed(lambda x: (F.relu(grey.first(x)), grey(x)), grey)
    # Features that see only what comes before are no predictions.
    yield Case(
        "features-first",
        (Graph(hidden, (image,), outputs=("53", "54")),),
        family="pixelcnn",
        arguments=("--declare", "output=54"),
        levels=4,
        shape=SHAPE,
        numbers=reference.categorical(grey, 4),
        sampler="wavefront",
    )
    both = Unnamed(lambda x: (grey(x).softmax(1), grey(x)), grey)
    yield Case(
        "probabilities-beside",
        (Graph(both, (image,), outputs=("53", "54")),),
        family="pixelcnn",
        levels=4,
        shape=SHAPE,
        numbers=reference.categorical(grey, 4),
        sampler="wavefront",
    )
    two = Grey(2)
    words = "parameters of a distribution of real numbers"
    yield refused("normal-density", Unnamed(lambda x: two(x).chunk(2, 1), two), ("mu", "log_sigma"), words)
    yield refused("normal-density-nameless", Unnamed(lambda x: two(x).chunk(2, 1), two), ("61", "62"), words)
    net = nn.Sequential(MaskedConv2d("A", 3, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 30, 1))
    parts = Unnamed(lambda x: net(x).split([3, 9, 9, 9], 1), net)
    names = ("logits", "means", "log_scales", "coefficients")
    yield refused("mixture-apart", parts, names, "with its parameters in one output", torch.rand(2, 3, HEIGHT, WIDTH))
    words = "computes something of the whole image"
    yield refused("grey-group-normalised", causal.GroupNormalised(), ("logits",), words)


def _others() -> Iterator[Case]:
    small = torch.rand(2, 1, SIDE, SIDE)
    energy = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 1))
    graph = Graph(energy, (small,), outputs=("energy",))
    yield Case("one-energy", (graph,), family="classifier", refused="is no log-odds of two labels")
    graph = Graph(Timed(), (small, torch.rand(2)), inputs=("x", "t"))
    yield Case("diffusion-of-time", (graph,), family="pixelcnn", refused="diffusion or score model")
    tokens = torch.randint(0, 4, (16, 2))
    net = OfTokens(16)
    small_density = reference.DENSITY | {"shape": (1, 4, 4)}
    graph = Graph(net, (tokens,), fixed=True)
    yield Case("sequence-first", (graph,), numbers=reference.of_sequences(net), **small_density)

    graph = Graph(
        Numbered(),
        (torch.rand(2, SIDE * SIDE), torch.tensor([0, 3])),
        inputs=("x", "y"),
        outputs=("recon", "mu", "logvar"),
        dynamo=True,
    )
    yield Case("conditional-vae-numbered", (graph,), family="vae", says=("labels are called 0 to 3",))
