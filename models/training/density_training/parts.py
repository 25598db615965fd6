"""Tiny VAEs as people train them, and parts of them, for the tests of the server: fixed random weights.

Their decoders differ in what they give of an image: a Gaussian with a standard deviation of each dimension or one for
all, the probability of a black or white pixel, log-odds of grey, an image and nothing else. Golden scores are computed
in PyTorch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import mixture
from density_training.data import to_input, to_pictures
from density_training.model import parameter_count
from density_training.scoring import bernoulli_log_likelihood
from density_training.version import Family, Graph, Labels, Version, write_files, write_generator_version, write_version

HEIGHT, WIDTH, LATENT = 6, 5, 3
PIXELS = HEIGHT * WIDTH
GOLDEN_COUNT = 6
SIGMA = 0.2
LABELS = Labels(names=("round", "square"), prior=(0.75, 0.25))

ENCODER = Graph(
    "encoder.onnx", {"input": "image", "mean": "mean", "log_variance": "log_variance"}, ("mean", "log_variance")
)

Likelihood = Callable[[tuple[Tensor, ...], Tensor, int], Tensor]
"""log p(x | z), or a squared error, of each image: from the outputs of a decoder, uint8 levels and their number."""


@dataclass(frozen=True)
class Kind:
    """What a decoder gives, what it is called in a manifest, and the number that it gives an image."""

    name: str
    levels: int
    outputs: tuple[str, ...]
    score: Likelihood
    activation: Callable[[Tensor], tuple[Tensor, ...]]
    particulars: dict[str, Any]
    is_likelihood: bool = True
    channels: int = 1
    features: int = 2
    """Channels in front of the activation."""

    @property
    def decoder(self) -> Graph:
        """Its graph."""
        return Graph("decoder.onnx", {"input": "latent"} | {name: name for name in self.outputs}, self.outputs)


def gaussian(mean: Tensor, log_deviation: Tensor, levels: Tensor, count: int) -> Tensor:
    """Σ log of the integral of a Gaussian over the bin of each level, edges open, in float64."""
    most = count - 1
    mean, deviation = mean.double(), log_deviation.double().exp()
    lower = ((levels.double() - 0.5) / most - mean) / deviation
    upper = ((levels.double() + 0.5) / most - mean) / deviation
    lower = torch.where(levels == 0, -math.inf, lower)
    upper = torch.where(levels == most, math.inf, upper)
    # In the lower tail, where nothing cancels.
    mirrored = lower > 0
    lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    near, far = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return (near + torch.log(-torch.expm1(far - near))).flatten(1).sum(1)


def squared_error(picture: Tensor, levels: Tensor, count: int) -> Tensor:
    """Σ (reconstruction − image)² in units of level / (levels − 1)."""
    return (picture.double() - to_input(levels, count).double()).square().flatten(1).sum(1)


def _bernoulli_of_probabilities(given: tuple[Tensor, ...], levels: Tensor, count: int) -> Tensor:
    return bernoulli_log_likelihood(torch.logit(given[0].double()), levels)


KINDS = [
    Kind(
        "gaussian",
        16,
        ("mean", "log_scale"),
        lambda given, levels, count: gaussian(*given, levels, count),
        lambda x: (torch.sigmoid(x[:, :1]), x[:, 1:].clamp(-3.0, 1.0) - 2.0),
        {"head": "gaussian"},
    ),
    Kind(
        "sigma",
        16,
        ("mean",),
        lambda given, levels, count: gaussian(given[0], torch.full_like(given[0], math.log(SIGMA)), levels, count),
        lambda x: (torch.sigmoid(x[:, :1]),),
        {"head": "gaussian", "sigma": SIGMA},
    ),
    Kind(
        "bernoulli",
        2,
        ("logits",),
        _bernoulli_of_probabilities,
        lambda x: (torch.sigmoid(x[:, :1]),),
        {"head": "bernoulli", "declared": {"logits": "probabilities"}},
    ),
    Kind(
        "grey-cross-entropy",
        16,
        ("logits",),
        lambda given, levels, count: squared_error(torch.sigmoid(given[0]), levels, count),
        lambda x: (x[:, :1],),
        {"head": "bernoulli"},
        is_likelihood=False,
    ),
    Kind(
        "mixture",
        16,
        ("parameters",),
        lambda given, levels, count: mixture.log_probability(given[0].double(), levels, count).flatten(1).sum(1),
        lambda x: (x,),
        {"head": "discretized-logistic-mixture"},
        channels=3,
        features=mixture.parameter_count(2, 3),
    ),
    Kind(
        "squared-error",
        16,
        ("mean",),
        lambda given, levels, count: squared_error(given[0], levels, count),
        lambda x: (torch.sigmoid(x[:, :1]),),
        {},
        is_likelihood=False,
    ),
]


class Encoder(nn.Module):
    """One linear layer for the mean and one for the log-variance."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        size = channels * PIXELS
        self.mean, self.log_variance = nn.Linear(size, LATENT), nn.Linear(size, LATENT)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image.flatten(1)
        return 3 * self.mean(x), self.log_variance(x).clamp(-8.0, 4.0) - 1.0


class Decoder(nn.Module):
    """A linear layer and a convolution, and what a kind makes of them."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.expand = nn.Linear(LATENT, 4 * PIXELS)
        self.refine = nn.Conv2d(4, kind.features, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = F.relu(self.expand(latent)).reshape(-1, 4, HEIGHT, WIDTH)
        given = self.kind.activation(3 * self.refine(x))
        return given if len(given) > 1 else given[0]


class ConditionalDecoder(nn.Module):
    """A code beside the embedding of a label, and probabilities of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LABELS.names), 4)
        self.expand = nn.Linear(LATENT + 4, PIXELS)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        x = self.expand(torch.cat([latent, self.embedding(label)], dim=1))
        return torch.sigmoid(2 * x).reshape(-1, 1, HEIGHT, WIDTH)


def write_parts(folder: Path) -> None:
    """Write `<kind>-vae/1` for every kind of decoder, `vae-encoder/1` and `vae-decoder/1` below `folder`."""
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(9)
        for kind in KINDS:
            _write_whole(folder, kind)
        _write_encoder(folder)
        _write_decoder(folder)


def _write_whole(folder: Path, kind: Kind) -> None:
    name = f"{kind.name}-vae"
    encoder, decoder = Encoder(kind.channels), Decoder(kind)

    def score(graphs: Any, levels: Tensor, _: Any) -> Tensor:
        mean, log_variance = graphs["encoder"](to_input(levels, kind.levels))
        given = graphs["decoder"](mean)
        number = kind.score(given if isinstance(given, tuple) else (given,), levels, kind.levels)
        kl = 0.5 * (mean.double().square() + log_variance.double().exp() - 1 - log_variance.double()).sum(1)
        return number - kl if kind.is_likelihood else number

    family = Family("vae", {"encoder": ENCODER, "decoder": kind.decoder}, score)
    where = folder / name / "1"
    _export(ENCODER, encoder, (torch.rand(2, kind.channels, HEIGHT, WIDTH),), where)
    _export(kind.decoder, decoder, (torch.rand(2, LATENT),), where)
    particulars = kind.particulars | {"latent_size": LATENT, "channels": kind.channels}
    version = _version(name, family, kind.levels, [encoder, decoder], **particulars)
    golden = _golden(kind.levels, kind.channels)
    write_version(where, version, golden, score({"encoder": encoder, "decoder": decoder}, golden, None))


def _write_encoder(folder: Path) -> None:
    encoder = Encoder()
    where = folder / "vae-encoder" / "1"
    _export(ENCODER, encoder, (torch.rand(2, 1, HEIGHT, WIDTH),), where)
    golden = _golden(16)
    mean, log_variance = encoder(to_input(golden, 16))
    arrays = {
        "golden_images.npy": to_pictures(golden),
        "golden_means.npy": mean.numpy(),
        "golden_log_variances.npy": log_variance.numpy(),
    }
    names = {key: f"golden_{key}.npy" for key in ("images", "means", "log_variances")}
    family = Family("vae", {"encoder": ENCODER}, score=None)
    write_files(where, _version("vae-encoder", family, 16, [encoder], latent_size=LATENT), arrays, names)


def _write_decoder(folder: Path) -> None:
    decoder = ConditionalDecoder()
    where = folder / "vae-decoder" / "1"
    graph = Graph("decoder.onnx", {"input": "latent", "label": "label", "mean": "image"}, ("image",))
    latent = torch.randn(GOLDEN_COUNT, LATENT)
    label = torch.arange(GOLDEN_COUNT) % len(LABELS.names)
    _export(graph, decoder, (latent[:2], label[:2]), where)
    family = Family("vae", {"decoder": graph}, score=None, takes_images=False)
    version = _version("vae-decoder", family, 16, [decoder], latent_size=LATENT, labels=LABELS)
    write_generator_version(where, version, latent, label, decoder(latent, label))


def _export(graph: Graph, module: nn.Module, example: tuple[Tensor, ...], folder: Path) -> None:
    with torch.inference_mode(False):
        graph.export(module, tuple(part.clone() for part in example), folder)


def _golden(levels: int, channels: int = 1) -> Tensor:
    return torch.randint(0, levels, (GOLDEN_COUNT, channels, HEIGHT, WIDTH), dtype=torch.uint8)


def _version(
    name: str, family: Family, levels: int, modules: list[nn.Module], channels: int = 1, **particulars: Any
) -> Version:
    return Version(
        name=name,
        family=family,
        description="A test fixture with random weights",
        channels=channels,
        height=HEIGHT,
        width=WIDTH,
        levels=levels,
        provenance={
            "data": "none, random weights",
            "licence": "MIT OR Apache-2.0",
            "command": "python -m density_training fixtures",
            "parameters": sum(parameter_count(module) for module in modules),
            "training_seconds": 0,
        },
        **particulars,
    )
