"""A gated PixelCNN with one raster-masked stack: the exact probability of an image, one level at a time.

References
- van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016): masks A and B, 256-way softmax.
- van den Oord et al., "Conditional Image Generation with PixelCNN Decoders" (2016): gated masked convolutions.
- Dauphin et al., "Language Modeling with Gated Convolutional Networks" (2017): the gate a·σ(b) instead of tanh(a)·σ(b).
- Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions" (2016): dilation widens the context.
- Zhang et al., "On the Out-of-Distribution Generalization of Probabilistic Image Modelling" (2021): the local model.
- Ren et al., "Likelihood Ratios for Out-of-Distribution Detection" (2019): the background model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.card import (
    INTERRUPTED,
    MUON,
    ONE_THREAD,
    Report,
    detection_section,
    evaluation_note,
    false_alarm_rows,
    limits_section,
    table,
    training_section,
)
from density_training.data import LEVELS, Dataset, to_input
from density_training.model import Density, Exported, Loss, Trained
from density_training.sampling import sample, save_grid
from density_training.scoring import log_likelihood
from density_training.training import Recipe, muon
from density_training.version import Family, Graph, Graphs, Version

SAMPLES = 32


@dataclass(frozen=True)
class PixelCNNConfig:
    """Sizes; block i has dilation `dilations[i mod len(dilations)]`.

    With a `block_size` of 1, a pixel sees what the first layer sees and no more. Without `position`, the network is
    the same everywhere, up to the zeros beyond the border.
    """

    height: int = 28
    width: int = 28
    levels: int = 256
    channels: int = 64
    blocks: int = 12
    dilations: tuple[int, ...] = (1, 2, 1, 4)
    head_channels: int = 128
    block_size: int = 3
    position: bool = True


class PixelCNN(nn.Module):
    """`image` [N, 1, H, W] in level/(levels−1) → `logits` [N, levels, H, W] of each pixel given those before it."""

    def __init__(self, config: PixelCNNConfig = PixelCNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.features = LevelFeatures(config.levels)
        self.first = MaskedConv2d(self.features.count, config.channels, 7, sees_itself=False)
        # Clothes are centred: where a pixel lies says much about it. A bias for each row and each column is enough.
        if config.position:
            self.row = nn.Parameter(torch.zeros(1, config.channels, config.height, 1))
            self.column = nn.Parameter(torch.zeros(1, config.channels, 1, config.width))
        self.blocks = nn.ModuleList(
            GatedBlock(config.channels, config.block_size, config.dilations[i % len(config.dilations)])
            for i in range(config.blocks)
        )
        self.head_hidden = nn.Conv2d(config.channels, config.head_channels, 1)
        self.head = nn.Conv2d(config.head_channels, config.levels, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # All levels are equally likely at first.

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.features(image))
        if self.config.position:
            x = x + (self.row + self.column)
        for block in self.blocks:
            x = block(x)
        return self.head(F.relu(self.head_hidden(F.relu(x))))


class MaskedConv2d(nn.Module):
    """A raster-masked k×k convolution that only stores the taps it may see.

    A mask keeps the taps above, those to the left in the same row and, for mask B, the pixel itself. Taken in raster
    order these are simply the first taps of the upper ⌊k/2⌋+1 rows of the kernel. So the weights are one matrix
    [out, taps·in], which suits matrix-wise optimisers such as Muon, and the dense kernel is that matrix with zeros
    appended. Nothing is masked by mutation, and an export bakes the mask in for free.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, sees_itself: bool, dilation: int = 1) -> None:
        super().__init__()
        self.inputs, self.outputs, self.size, self.dilation = inputs, outputs, size, dilation
        self.taps = (size // 2) * size + size // 2 + int(sees_itself)
        fan_in = self.taps * inputs
        self.weight = nn.Parameter(torch.randn(outputs, fan_in) / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kernel(self) -> Tensor:
        """The dense kernel [out, in, ⌊k/2⌋+1, k], zero where the mask hides a tap."""
        rows = self.size // 2 + 1
        taps = self.weight.view(self.outputs, self.taps, self.inputs)
        taps = F.pad(taps, (0, 0, 0, rows * self.size - self.taps))
        return taps.view(self.outputs, rows, self.size, self.inputs).permute(0, 3, 1, 2)

    @property
    def padding(self) -> tuple[int, int, int]:
        """Zeros to add on the (left, right, top); nothing below, since no tap looks down."""
        reach = self.size // 2 * self.dilation
        return reach, reach, reach

    def forward(self, x: Tensor) -> Tensor:
        left, right, top = self.padding
        return F.conv2d(F.pad(x, (left, right, top, 0)), self.kernel(), self.bias, dilation=self.dilation)


class GatedBlock(nn.Module):
    """x + W·(a·σ(b)) with (a, b) a mask-B convolution of x, and a bias of each image if there is one."""

    def __init__(self, channels: int, size: int, dilation: int) -> None:
        super().__init__()
        self.spatial = MaskedConv2d(channels, 2 * channels, size, sees_itself=True, dilation=dilation)
        self.mix = MaskedConv2d(channels, channels, 1, sees_itself=True)
        nn.init.zeros_(self.mix.weight)  # Each block starts as the identity.

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = self.spatial(x)
        if bias is not None:
            y = y + bias.to(y.dtype)
        a, b = y.chunk(2, dim=1)
        return x + self.mix(a * torch.sigmoid(b))


class LevelFeatures(nn.Module):
    """Pointwise features that tell neighbouring levels apart even after rounding to bfloat16.

    The level itself, an indicator of zero (half of a picture of clothes is exactly zero), and sines and cosines of
    the level at octave frequencies, the shortest with a period of four levels.
    """

    frequencies: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        octaves = max(1, round(math.log2(levels)) - 1)
        self.count = 2 + 2 * octaves
        frequencies = math.pi * 2.0 ** torch.arange(octaves)
        self.register_buffer("frequencies", frequencies.view(1, octaves, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        is_zero = F.relu(1 - (self.levels - 1) * image)
        phases = image * self.frequencies
        return torch.cat([image, is_zero, torch.sin(phases), torch.cos(phases)], dim=1)


def categorical_loss(network: PixelCNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 1, H, W], in nats a pixel; the network runs in bfloat16."""
    image = to_input(levels, network.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)
    logits = logits.permute(0, 2, 3, 1).reshape(-1, network.config.levels)
    return F.cross_entropy(logits.float(), levels.reshape(-1).long())


def muon_parameters(network: PixelCNN) -> list[nn.Parameter]:
    """The hidden weight matrices; everything else (first layer, head, biases) is left to AdamW."""
    blocks: list[Any] = list(network.blocks)
    return [layer.weight for block in blocks for layer in (block.spatial, block.mix)]


FAMILY = Family(
    name="pixelcnn",
    graphs={"logits": Graph("model.onnx", {"input": "image", "output": "logits"}, outputs=("logits",))},
    score=lambda graphs, levels, manifest: log_likelihood(
        graphs["logits"], levels, manifest.levels, manifest.head or "categorical"
    ),
    statistic="log_likelihood",
)


@dataclass(frozen=True, kw_only=True)
class PixelCNNText:
    """What only the card of one PixelCNN says, in Markdown."""

    introduction: str
    network: str
    verdict: str
    references: str = ""
    training: str = ""
    run: str = ONE_THREAD


@dataclass(frozen=True, kw_only=True)
class PixelCNNModel(Density[PixelCNN, PixelCNNConfig]):
    """A PixelCNN of images without labels, large or small, of images as they are or corrupted."""

    family = FAMILY
    text: PixelCNNText
    corrupt: Callable[[Tensor, int], Tensor] = lambda levels, count: levels
    """Replaces training images, uint8 [N, 1, H, W] with `count` levels, by what the network learns instead."""
    notes: str = ""

    def build(self, config: PixelCNNConfig) -> PixelCNN:
        return PixelCNN(config)

    def loss(self, network: PixelCNN, data: Dataset) -> Loss:
        return lambda chosen, step: categorical_loss(
            network, self.corrupt(data.train_images[chosen], network.config.levels)
        )

    def optimisers(self, network: PixelCNN) -> list[torch.optim.Optimizer]:
        return muon(network, muon_parameters(network))

    def exported(self, network: PixelCNN, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {"logits": (network, (torch.rand(2, *shape),))}

    def torch_scores(self, network: PixelCNN, levels: Tensor) -> Tensor:
        return log_likelihood(network, levels, LEVELS)

    def save_samples(self, graphs: Graphs, version: Version, data: Dataset, path: Path) -> None:
        save_grid(sample(graphs["logits"], SAMPLES, version.height, version.width, LEVELS, seed=0), 8, path)

    def version(self, trained: Trained[PixelCNN], data: Dataset) -> Version:
        steps = f"exported after {trained.progress.step:,} of {trained.recipe.steps:,} steps"
        return replace(super().version(trained, data), notes=self.notes + steps)

    def card(self, report: Report) -> str:
        text, figures = self.text, report.figures
        measured = [
            (
                f"bits per dimension, {figures['test_images']:,} Fashion-MNIST test images",
                f"**{figures['test_score_bits_per_dim']:.4f}**",
            ),
            *false_alarm_rows(figures),
        ]
        detection = detection_section(
            figures,
            "the log-likelihood of an image",
            unit="bits per dimension",
            statistic="−log p(x)",
            comment="""It is not a good detector of other pictures, because **a picture of something else may well be
more likely than clothes are**:""",
        )
        return f"""{report.title}

{text.introduction}

![{SAMPLES} samples](samples.png)

*{SAMPLES} samples drawn from the model, temperature 1, seed 0, not selected.*

## Model
- {text.network}
- {report.weights}; float32; ONNX operator set 18; input `image` = level / 255, output `logits` [N, 256, 28, 28].
- References: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel Recurrent Neural Networks* (2016); van den Oord et al.,
  *Conditional Image Generation with PixelCNN Decoders* (2016); Dauphin et al., *Language Modeling with Gated
  Convolutional Networks* (2017).
{text.references}

{training_section(report, MUON, text.run)}{text.training}
## Figures
{table(("what", "figure"), measured)}

{evaluation_note(self.command)}
{detection}
{text.verdict}

{limits_section()}"""


MODEL = PixelCNNModel(
    command="pixelcnn",
    description="Gated PixelCNN of Fashion-MNIST: exact log-likelihoods of 28×28 grey images with 256 levels",
    recipe=Recipe(steps=12_500, decay_steps=8_000, batch_size=32),
    config=PixelCNNConfig(),
    text=PixelCNNText(
        introduction="""A gated PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels. It
knows clothes: it was trained on Fashion-MNIST.""",
        network="""One raster-masked stack: a 7×7 mask-A convolution over pointwise features of the level, a bias for
  each row and column, twelve gated 3×3 mask-B blocks of 64 channels with dilations 1, 2, 1, 4, and a 256-way softmax
  for each pixel.""",
        verdict="""Use the log-likelihood as a likelihood. As the only gate in front of a classifier it would be a poor
choice.""",
        run=INTERRUPTED,
    ),
)

LOCAL = PixelCNNModel(
    command="pixelcnn-local",
    description="Local PixelCNN of Fashion-MNIST: exact log-likelihoods that see 24 neighbours of each pixel, "
    "28×28 grey, 256 levels",
    recipe=Recipe(steps=8_000, decay_steps=4_000, batch_size=32),
    config=PixelCNNConfig(channels=48, blocks=2, head_channels=48, block_size=1, position=False),
    text=PixelCNNText(
        introduction="""A PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels, but **sees
only the nearest pixels**: each pixel is predicted from the 24 before it in a 7×7 neighbourhood, the same everywhere in
the image. It knows the texture of clothes and nothing of their shape. It is a helper: log p(x) of the full PixelCNN
less this one is what the wider context explains.""",
        network="""One 7×7 mask-A convolution over pointwise features of the level, two gated 1×1 blocks of 48
  channels, and a 256-way softmax for each pixel. Where a pixel lies is not an input.""",
        references="""- Zhang et al., *On the Out-of-Distribution Generalization of Probabilistic Image Modelling*
  (2021), for the ratio of a full and a local model.""",
        verdict="Use it beside the full PixelCNN, not alone: it knows nothing of clothes beyond their texture.",
    ),
)
"""It measures how ordinary an image is at the scale of a few pixels, whatever it shows (Zhang et al., 2021)."""

REPLACED = 0.2
"""The probability that a pixel is replaced, fixed before any training; nothing was tuned."""


def replace_pixels(levels: Tensor, count: int) -> Tensor:
    """Each pixel of uint8 images becomes, with probability `REPLACED`, one of `count` levels, all equally likely."""
    replaced = torch.rand(levels.shape) < REPLACED
    return torch.where(replaced, torch.randint(0, count, levels.shape, dtype=torch.uint8), levels)


BACKGROUND = PixelCNNModel(
    command="pixelcnn-background",
    description="Background PixelCNN of Fashion-MNIST, trained on images with replaced pixels: exact log-likelihoods, "
    "28×28 grey, 256 levels",
    recipe=Recipe(steps=6_000, decay_steps=3_000, batch_size=32),
    config=PixelCNNConfig(channels=32, blocks=5, head_channels=32),
    corrupt=replace_pixels,
    notes=f"trained on images each pixel of which was replaced with probability {REPLACED} by a uniformly random "
    "level; test_bits_per_dim is of unaltered test images; ",
    text=PixelCNNText(
        introduction=f"""A small gated PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels.
It was trained on **spoilt clothes**: images of Fashion-MNIST each pixel of which was replaced with probability
{REPLACED} by a uniformly random level. It is a helper: log p(x) of the full PixelCNN less this one does not count what
any image has in common with clothes.""",
        network="""One raster-masked stack: a 7×7 mask-A convolution over pointwise features of the level, a bias for
  each row and column, five gated 3×3 mask-B blocks of 32 channels with dilations 1, 2, 1, 4, and a 256-way softmax for
  each pixel.""",
        references="""- Ren et al., *Likelihood Ratios for Out-of-Distribution Detection* (2019), for the ratio of a
  full and a background model.""",
        training=f"""- The replaced pixels are drawn anew for each batch, in what the network reads and in what it
  predicts. The probability {REPLACED} was fixed in advance. Every figure below is of **unaltered** images, which it
  does not expect: about a fifth of the probability of each pixel is spread over all levels.
""",
        verdict="Use it beside the full PixelCNN, not alone.",
    ),
)
"""The log-likelihood of the full PixelCNN less that of this one no longer counts what any image has in common with
clothes, such as a black background (Ren et al., 2019)."""
