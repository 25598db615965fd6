"""Tiny models with fixed random weights, complete versions in every respect, for the tests of the server.

They cover what the Fashion-MNIST models do not: other heads, colour, images that are not square, and a model that
cheats. Convolutions are square with explicit zeros, as the textbook writes a masked convolution.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import (
    autoencoder,
    classifier,
    corpus,
    gan,
    mixture,
    pixelcnn,
    pixelcnn_conditional,
    pixelrnn,
    vae,
)
from density_training.corpus.attention import Attention
from density_training.corpus.case import HEIGHT, WIDTH, write_cases
from density_training.corpus.exports import write_exports
from density_training.model import Exported, parameter_count
from density_training.parts import write_parts
from density_training.scoring import bits_per_dim, log_likelihood
from density_training.version import Family, Graphs, Labels, Version, write_generator_version, write_version

GOLDEN_COUNT, CALIBRATION_COUNT = 8, 200
COMPONENTS = 2
LABELS = Labels(names=("round", "square", "other"), prior=(0.5, 0.25, 0.25))


def write_fixtures(folder: Path) -> None:
    """Write `repository/`, `refused/`, `parts/`, `exports/`, `imports/`: a version or a file for each network."""
    repository = folder / "repository"
    _write_pixelcnn(repository, "tiny-binary-pixelcnn", TinyPixelCNN(1, 2, 2, levels=2))
    _write_pixelcnn(repository, "tiny-bernoulli-pixelcnn", TinyPixelCNN(1, 2, 2, levels=2, head="bernoulli"))
    _write_pixelcnn(repository, "tiny-pixelcnn", TinyPixelCNN(1, 6, 5, levels=4))
    _write_pixelcnn(repository, "tiny-rgb-pixelcnn", TinyPixelCNN(3, 4, 4, levels=8))
    _write_pixelcnn(
        repository, "tiny-mixture-pixelcnn", TinyPixelCNN(3, 4, 4, levels=8, head="discretized-logistic-mixture")
    )
    _write_conditional(repository, "tiny-conditional-pixelcnn", TinyConditionalPixelCNN(6, 5, levels=4))
    _write_pixelrnn(repository, "tiny-pixelrnn", TinyPixelRNN(6, 5, levels=4))
    write_exports(folder / "exports")
    write_cases(folder / "imports", corpus.cases())
    write_parts(folder / "parts")
    _write_vae(repository, "tiny-vae", TinyVAE(height=6, width=5, levels=16, latent_size=3))
    _write_autoencoder(repository, "tiny-autoencoder", TinyAutoencoder(height=6, width=5, levels=4, latent_size=3))
    _write_generator(repository, "tiny-gan", TinyGenerator(height=6, width=5, levels=16, latent_size=3))
    _write_classifier(repository, "tiny-classifier", TinyClassifier(height=6, width=5, levels=4))
    _write_pixelcnn(folder / "refused", "leaking-pixelcnn", TinyPixelCNN(1, 6, 5, levels=4, leaks=True))
    _write_pixelcnn(folder / "refused", "leaking-attention", LeakingAttention())


class Tiny(nn.Module):
    """What all of them say of their images."""

    shape: tuple[int, int, int]
    levels: int


class TinyPixelCNN(Tiny):
    """Three masked layers; the channels of a pixel are ordered, so green sees red and blue sees both.

    In front of a mixture of logistics, which links channels itself, no channel sees another of its pixel. With `leaks`,
    the first layer carries mask B where it needs mask A: every pixel sees itself.
    """

    def __init__(
        self, channels: int, height: int, width: int, levels: int, head: str = "categorical", leaks: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.levels, self.head = (channels, height, width), levels, head
        self.is_mixture = head == "discretized-logistic-mixture"
        self.outputs = levels if head == "categorical" else 1
        groups = 1 if self.is_mixture else channels
        outputs = mixture.parameter_count(COMPONENTS, channels) if self.is_mixture else self.outputs * channels
        hidden = 6 * channels
        generator = torch.Generator().manual_seed(1)
        self.first = _masked_conv(channels, hidden, 5, groups, leaks, generator)
        self.second = _masked_conv(hidden, hidden, 3, groups, True, generator)
        self.head_conv = _masked_conv(hidden, outputs, 1, groups, True, generator)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        x = F.relu(self.second(x))
        logits = self.head_conv(x)
        if self.shape[0] == 1 or self.is_mixture:
            return logits
        return logits.reshape(-1, self.outputs, *self.shape)


class TinyConditionalPixelCNN(Tiny):
    """One grey channel, conditioned on one of three labels by an embedding beside the first layer."""

    labels = LABELS

    def __init__(self, height: int, width: int, levels: int) -> None:
        super().__init__()
        self.shape, self.levels = (1, height, width), levels
        generator = torch.Generator().manual_seed(4)
        self.first = _masked_conv(1, 8, 5, 1, False, generator)
        self.second = _masked_conv(8, 8, 3, 1, True, generator)
        self.head_conv = _masked_conv(8, levels, 1, 1, True, generator)
        self.embedding = nn.Embedding(len(self.labels.names), 8)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(self.embedding.weight.shape, generator=generator))

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        x = F.relu(self.first(image) + self.embedding(label)[:, :, None, None])
        return self.head_conv(F.relu(self.second(x)))


class TinyPixelRNN(pixelrnn.PixelRNN, Tiny):
    """The PixelRNN with few numbers in a state, every weight drawn at random."""

    def __init__(self, height: int, width: int, levels: int) -> None:
        config = pixelrnn.PixelRNNConfig(height, width, levels, state_size=4, window_channels=4, head_channels=6)
        with torch.random.fork_rng():
            torch.manual_seed(6)
            super().__init__(config)
            for parameter in (self.step.row, self.step.column, self.step.output.weight, self.step.output.bias):
                nn.init.normal_(parameter, std=0.7)
        self.shape, self.levels = (1, height, width), levels


class LeakingAttention(Tiny):
    """Attention over all pixels: a leak that only shows when pixels are changed."""

    shape, levels, head = (1, HEIGHT, WIDTH), 4, "categorical"

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.net = Attention(leaks=True)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)


class TinyVAE(Tiny):
    """One linear layer each way and a convolution, enough to have every input and output of a VAE."""

    def __init__(self, height: int, width: int, levels: int, latent_size: int) -> None:
        super().__init__()
        self.shape, self.levels, self.latent_size = (1, height, width), levels, latent_size
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.encoder = _TinyEncoder(height * width, latent_size)
            self.decoder = _TinyDecoder(height, width, latent_size)


class _TinyEncoder(nn.Module):
    def __init__(self, pixels: int, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(pixels, latent_size)
        self.log_variance = nn.Linear(pixels, latent_size)
        nn.init.normal_(self.mean.weight, std=2 / math.sqrt(pixels))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image.flatten(1)
        return self.mean(x), self.log_variance(x).clamp(-8.0, 4.0)


class _TinyDecoder(nn.Module):
    def __init__(self, height: int, width: int, latent_size: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.expand = nn.Linear(latent_size, 4 * height * width)
        self.refine = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.expand(latent)).reshape(-1, 4, self.height, self.width)
        mean, log_scale = self.refine(x).chunk(2, dim=1)
        return mean + 0.5, (log_scale - 2.0).clamp(-5.0, 1.0)


class TinyAutoencoder(Tiny):
    """One linear layer each way."""

    def __init__(self, height: int, width: int, levels: int, latent_size: int) -> None:
        super().__init__()
        self.shape, self.levels, self.latent_size = (1, height, width), levels, latent_size
        with torch.random.fork_rng():
            torch.manual_seed(6)
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(height * width, latent_size))
            self.decoder = nn.Sequential(
                nn.Linear(latent_size, height * width), nn.Sigmoid(), nn.Unflatten(1, (1, height, width))
            )


class TinyGenerator(Tiny):
    """One linear layer for a code beside the embedding of a label."""

    labels = LABELS

    def __init__(self, height: int, width: int, levels: int, latent_size: int) -> None:
        super().__init__()
        self.shape, self.levels, self.latent_size = (1, height, width), levels, latent_size
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.embedding = nn.Embedding(len(self.labels.names), 4)
            self.expand = nn.Linear(latent_size + 4, height * width)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        x = self.expand(torch.cat([latent, self.embedding(label)], dim=1))
        return torch.sigmoid(2 * x).reshape(-1, *self.shape)


class TinyClassifier(Tiny):
    """One layer of features, one of logits."""

    labels = LABELS

    def __init__(self, height: int, width: int, levels: int) -> None:
        super().__init__()
        self.shape, self.levels = (1, height, width), levels
        with torch.random.fork_rng():
            torch.manual_seed(8)
            self.hidden = nn.Linear(height * width, 6)
            self.output = nn.Linear(6, len(self.labels.names))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.tanh(3 * self.hidden(image.flatten(1)))
        return 3 * self.output(features), features


def _masked_conv(
    inputs: int, outputs: int, size: int, groups: int, sees_itself: bool, generator: torch.Generator
) -> nn.Conv2d:
    """A square convolution with the hidden weights set to zero; feature i belongs to channel i mod `groups`."""
    centre = size // 2
    mask = torch.zeros(outputs, inputs, size, size)
    mask[:, :, :centre] = 1
    mask[:, :, centre, :centre] = 1
    target, source = torch.arange(outputs)[:, None] % groups, torch.arange(inputs)[None] % groups
    mask[:, :, centre, centre] = (source <= target if sees_itself else source < target).float()
    conv = nn.Conv2d(inputs, outputs, size, padding=centre)
    fan_in = mask[-1].sum().clamp(min=1)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) * mask * 3 / fan_in.sqrt())
        conv.get_parameter("bias").copy_(torch.randn(outputs, generator=generator) * 0.5)
    return conv


def _write_pixelcnn(repository: Path, name: str, model: TinyPixelCNN | LeakingAttention) -> None:
    graphs = {"logits": (model, (torch.rand(2, *model.shape),))}
    _write(repository, name, pixelcnn.FAMILY, model, graphs, head=model.head)


def _write_conditional(repository: Path, name: str, model: TinyConditionalPixelCNN) -> None:
    graphs = {"logits": (model, (torch.rand(2, *model.shape), torch.tensor([0, 1])))}
    _write(repository, name, pixelcnn_conditional.FAMILY, model, graphs, head="categorical", labels=model.labels)


def _write_pixelrnn(repository: Path, name: str, model: TinyPixelRNN) -> None:
    graphs = {"step": (model.step, pixelrnn.example(model.config))}
    recurrence = pixelrnn.recurrence(model.config)

    def score(levels: Tensor) -> Tensor:
        """Over whole images, not along diagonals as the exported step will."""
        return log_likelihood(model, levels, model.levels)

    _write(repository, name, pixelrnn.FAMILY, model, graphs, score, head="categorical", recurrence=recurrence)


def _write_vae(repository: Path, name: str, model: TinyVAE) -> None:
    graphs = _coder(model)
    _write(repository, name, vae.FAMILY, model, graphs, head="discretized-logistic", latent_size=model.latent_size)


def _write_autoencoder(repository: Path, name: str, model: TinyAutoencoder) -> None:
    _write(repository, name, autoencoder.FAMILY, model, _coder(model), latent_size=model.latent_size)


def _coder(model: TinyVAE | TinyAutoencoder) -> dict[str, Exported]:
    return {
        "encoder": (model.encoder, (torch.rand(2, *model.shape),)),
        "decoder": (model.decoder, (torch.rand(2, model.latent_size),)),
    }


def _write_classifier(repository: Path, name: str, model: TinyClassifier) -> None:
    graphs = {"logits": (model, (torch.rand(2, *model.shape),))}
    _write(repository, name, classifier.FAMILY, model, graphs, labels=model.labels)


def _write_generator(repository: Path, name: str, model: TinyGenerator) -> None:
    folder = repository / name / "1"
    latent = torch.randn(GOLDEN_COUNT, model.latent_size, generator=torch.Generator().manual_seed(3))
    label = torch.arange(GOLDEN_COUNT) % len(model.labels.names)
    gan.FAMILY.graphs["generator"].export(model, (latent[:2], label[:2]), folder)
    version = _version(name, gan.FAMILY, model, latent_size=model.latent_size, labels=model.labels)
    with torch.inference_mode():
        write_generator_version(folder, version, latent, label, model(latent, label))


def _write(
    repository: Path,
    name: str,
    family: Family,
    model: Tiny,
    graphs: Mapping[str, Exported],
    score: Callable[[Tensor], Tensor] | None = None,
    **particulars: Any,
) -> None:
    """Export the graphs and complete the version; scores are what the family says of them, or what `score` says.

    A density without labels is calibrated with random images, by which its bits per dimension are measured as well.
    """
    folder = repository / name / "1"
    for key, (module, example) in graphs.items():
        family.graphs[key].export(module, example, folder)
    version = _version(name, family, model, **particulars)
    score = score or partial(_family_score, family, {key: module for key, (module, _) in graphs.items()}, version)
    golden, calibration = _random_levels(model.shape, model.levels)
    calibration_scores = None
    if version.head is not None and version.labels is None:
        calibration_scores = score(calibration)
        measured = {"test_bits_per_dim": bits_per_dim(calibration_scores, math.prod(model.shape))}
        version = replace(
            version,
            calibration_description=f"{CALIBRATION_COUNT} images with uniformly random levels, seed 3",
            provenance=version.provenance | measured,
            notes="The test images are the calibration images.",
        )
    write_version(folder, version, golden, score(golden), calibration_scores)


def _family_score(family: Family, modules: Graphs, version: Version, levels: Tensor) -> Tensor:
    assert family.score is not None, "a generator has a writer of its own"
    return family.score(modules, levels, version.interpretation)


def _random_levels(shape: tuple[int, ...], levels: int) -> tuple[Tensor, Tensor]:
    """Golden and calibration images with every level equally likely."""
    generator = torch.Generator().manual_seed(3)
    size = (GOLDEN_COUNT + CALIBRATION_COUNT, *shape)
    pictures = torch.randint(0, levels, size, generator=generator, dtype=torch.uint8)
    return pictures[:GOLDEN_COUNT], pictures[GOLDEN_COUNT:]


def _version(name: str, family: Family, model: Tiny, **particulars: Any) -> Version:
    channels, height, width = model.shape
    return Version(
        name=name,
        family=family,
        description="A test fixture with random weights",
        channels=channels,
        height=height,
        width=width,
        levels=model.levels,
        provenance={
            "data": "none, random weights",
            "licence": "MIT OR Apache-2.0",
            "command": "python -m density_training fixtures",
            "parameters": parameter_count(model),
            "training_seconds": 0,
        },
        **particulars,
    )
