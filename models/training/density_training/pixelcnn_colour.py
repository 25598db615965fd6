"""A gated PixelCNN of colour images: one evaluation of the network serves the three channels of a pixel.

References
- Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood" (2017): the head,
  which links the channels of a pixel, so that the network sees whole pixels only.
- van den Oord et al., "Conditional Image Generation with PixelCNN Decoders" (2016): gated masked convolutions.
- Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions" (2016): dilation widens the context.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import mixture, timed
from density_training.card import MUON, layout, table
from density_training.cifar10 import Cifar10, flipped, turned
from density_training.data import LEVELS, to_input
from density_training.figures import split_for_calibration
from density_training.model import parameter_count
from density_training.pixelcnn import FAMILY, GatedBlock, MaskedConv2d, muon_parameters
from density_training.sampling import save_grid
from density_training.scoring import Network, bits_per_dim, log_likelihood
from density_training.timed import DEVICE, Measured, TimedProgress, TimedRecipe
from density_training.training import muon
from density_training.version import Version, check_parity, read_manifest, write_version

NAME = "cifar10-pixelcnn"
HEAD = "discretized-logistic-mixture"
SAMPLES, GOLDEN_SAMPLES = 32, 5
NOISE = 8
"""Levels that noise adds to a golden image, or takes away."""
PERIOD = 8
"""Rows and columns after which a JPEG's blocks repeat."""
RECIPE = TimedRecipe(minutes=86, batch_size=16) if DEVICE.type == "cpu" else TimedRecipe(minutes=10.4, batch_size=128)
LOSSLESS_SHARES = {"cpu": (0.25, 0.5), "cuda": (0.15, 0.35)}
"""The share of images without loss in a batch, in the first 60 % of the time and after that.

They are few: a GPU, which sees twenty times as many images, would learn them by heart with the shares of a CPU.
"""
TURNED_SHARE = 0.0 if DEVICE.type == "cpu" else 0.5
"""The share of images without loss that are turned or transposed in the first 80 % of the time, for the same reason."""
VALIDATION = 250
"""So many of the images without loss, and as many JPEG files, train nothing: they choose when to stop."""
CALIBRATION = "5,000 CIFAR-10 test images as JPEG files, permutation seed 0, indices 0..5000"


@dataclass(frozen=True)
class ColourPixelCNNConfig:
    """Sizes; block i has dilation `dilations[i mod len(dilations)]`."""

    height: int = 32
    width: int = 32
    levels: int = LEVELS
    channels: int = 96
    blocks: int = 12
    dilations: tuple[int, ...] = (1, 2, 1, 4)
    head_channels: int = 160
    mixtures: int = 8
    octaves: int = 4


class ColourPixelCNN(nn.Module):
    """`image` [N, 3, H, W] in level/(levels−1) → parameters [N, 10K, H, W] of each pixel given the pixels before it."""

    frequencies: Tensor

    def __init__(self, config: ColourPixelCNNConfig = ColourPixelCNNConfig()) -> None:
        super().__init__()
        self.config = config
        gated, outputs = 2 * config.channels, mixture.parameter_count(config.mixtures, 3)
        # Features that tell neighbouring levels apart even after rounding to bfloat16.
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(config.octaves), persistent=False)
        self.first = MaskedConv2d(3 * (1 + 2 * config.octaves), gated, 7, sees_itself=False)
        self.row = nn.Parameter(torch.zeros(1, gated, config.height, 1))
        self.column = nn.Parameter(torch.zeros(1, gated, 1, config.width))
        # Where a pixel lies in its block of a JPEG says much about it.
        self.phase = nn.Parameter(torch.zeros(2, gated, PERIOD, PERIOD))
        self.blocks = nn.ModuleList(
            GatedBlock(config.channels, 3, config.dilations[i % len(config.dilations)]) for i in range(config.blocks)
        )
        self.head_hidden = nn.Conv2d(config.channels, config.head_channels, 1)
        self.head = nn.Conv2d(config.head_channels, outputs, 1)
        # A way past bfloat16 for what is linear in the neighbours, such as most of a mean.
        self.linear = MaskedConv2d(3, outputs, 5, sees_itself=False)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.linear.weight)
        self._start_from_neighbours()

    @torch.no_grad()
    def _start_from_neighbours(self) -> None:
        """Means begin halfway between the pixel to the left and the one above, scales apart from each other."""
        count, bias = self.config.mixtures, self.head.get_parameter("bias")
        bias.zero_()
        bias[count:].view(3, 3, count)[:, 1] = torch.linspace(-4.5, -1.0, count)
        taps = self.linear.weight.view(-1, self.linear.taps, 3)
        left, above = self.linear.taps - 1, self.linear.taps - 5
        for channel in range(3):
            first = count * (1 + 3 * channel)
            taps[first : first + count, (left, above), channel] = 0.5

    def forward(self, image: Tensor) -> Tensor:
        x = 2 * image.float() - 1
        phases = torch.cat([x * frequency for frequency in self.frequencies], dim=1)
        y = self.first(torch.cat([x, torch.sin(phases), torch.cos(phases)], dim=1))
        a, b = (y + (self.row + self.column + self._at_places(0)).to(y.dtype)).chunk(2, dim=1)
        h = a * torch.sigmoid(b)
        for number, block in enumerate(self.blocks):
            h = block(h, self._at_places(1) if number == len(self.blocks) // 2 else None)
        parameters = self.head(F.relu(self.head_hidden(F.relu(h))))
        with torch.autocast(image.device.type, enabled=False):
            return parameters.float() + self.linear(x)

    def _at_places(self, number: int) -> Tensor:
        height, width = self.config.height // PERIOD, self.config.width // PERIOD
        return self.phase[number : number + 1].repeat(1, 1, height, width)


def mixture_loss(network: ColourPixelCNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 3, H, W], in nats a dimension; the network runs in bfloat16."""
    image = to_input(levels, network.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast(levels.device.type, torch.bfloat16):
        parameters = network(image)
    return -mixture.log_probability(parameters.float(), levels, network.config.levels).mean() / 3


def train(data: Cifar10, checkpoint: Path, recipe: TimedRecipe = RECIPE) -> TimedProgress:
    """Train on JPEG files and images without loss, flipped or not, from where the checkpoint ends if there is one."""
    torch.manual_seed(recipe.seed)
    network = ColourPixelCNN().to(DEVICE, memory_format=torch.channels_last)
    compiled = torch.compile(mixture_loss)
    jpeg, jpeg_validation = _parted(data.train_images)
    lossless, lossless_validation = _parted(data.lossless)
    validation = {"JPEG files": jpeg_validation, "without loss": lossless_validation}
    shares = LOSSLESS_SHARES[DEVICE.type]
    jpegs, others = timed.shuffled(len(jpeg)), timed.shuffled(len(lossless))

    def batch(share: float) -> Tensor:
        count = int((torch.rand(recipe.batch_size) < shares[int(share >= 0.6)]).sum())
        few = lossless[[next(others) for _ in range(count)]]
        if share < 0.8:
            few = turned(few, TURNED_SHARE)
        return flipped(torch.cat([few, jpeg[[next(jpegs) for _ in range(recipe.batch_size - count)]]]))

    def monitor(network: nn.Module) -> Measured:
        bits = {name: _bits(network, images) for name, images in validation.items()}
        report = ", ".join(f"{value:.4f} bits/dim {name}" for name, value in bits.items())
        return Measured(report, sum(bits.values()))

    return timed.train(
        network,
        lambda levels: compiled(network, levels),
        batch,
        muon(network, muon_parameters(network)),
        recipe,
        checkpoint,
        monitor,
    )


def _parted(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images that train, and `VALIDATION` evenly spread ones that do not."""
    chooses = torch.arange(len(images)) % (len(images) // VALIDATION) == 0
    return images[~chooses].to(DEVICE), images[chooses].to(DEVICE)


def export(data: Cifar10, checkpoint: Path, folder: Path) -> None:
    """Write a complete version. Its golden images and its picture are drawn by the model."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network = ColourPixelCNN(ColourPixelCNNConfig(**state["config"])).eval()
    network.load_state_dict(state["model"])
    progress = TimedProgress(**state["progress"])
    FAMILY.graphs["logits"].export(network, (torch.rand(2, 3, network.config.height, network.config.width),), folder)
    graph = FAMILY.load(folder)["logits"]
    samples = sample(graph, SAMPLES, network.config, seed=0)
    save_grid(samples, 8, folder / "samples.png")
    golden = torch.cat([samples[:GOLDEN_SAMPLES], oddities(samples)])
    test = log_likelihood(graph, data.test_images, LEVELS, HEAD)
    figures = _figures(graph, data, test)
    version = Version(
        name=NAME,
        family=FAMILY,
        description="Gated PixelCNN of CIFAR-10: exact log-likelihoods of 32×32 colour images with 256 levels",
        channels=3,
        height=network.config.height,
        width=network.config.width,
        levels=LEVELS,
        provenance={
            "data": "CIFAR-10: 49,000 training images as JPEG files and 3,000 without loss",
            "licence": "weights MIT OR Apache-2.0; no licence of CIFAR-10 is stated",
            "command": f"python -m density_training {NAME} train --minutes {state['recipe']['minutes']:g}",
            "parameters": parameter_count(network),
            "training_seconds": round(progress.seconds),
            "test_bits_per_dim": round(figures["test_bits_per_dim"], 4),
        },
        head=HEAD,
        calibration_description=CALIBRATION,
        notes=f"test_bits_per_dim is of JPEG files; {figures['held_out_bits_per_dim']:.4f} of 1,000 held-out images "
        f"without loss; {progress.where()}",
        trained_on=torch.cat([data.train_images, data.lossless]),
    )
    calibration, _ = split_for_calibration(len(test))
    write_version(folder, version, golden, log_likelihood(network, golden, LEVELS, HEAD), test[calibration])
    (folder / "README.md").write_text(
        layout(card(version, folder.name, network.config, state["recipe"]["batch_size"], progress, figures))
    )


def evaluate(data: Cifar10, folder: Path) -> dict[str, float]:
    """Measure an exported version in ONNX Runtime."""
    graph = FAMILY.load(folder)["logits"]
    assert read_manifest(folder)["likelihood"]["head"] == HEAD
    test = log_likelihood(graph, data.test_images, LEVELS, HEAD)
    return {"largest_golden_deviation_nats": check_parity(folder, FAMILY), **_figures(graph, data, test)}


def oddities(images: Tensor) -> Tensor:
    """Golden images that are no photographs: a drawn one amid noise of a few levels, and an inverted one.

    Not a checkerboard or noise of all levels, on which activations grow until single precision gives four digits of a
    score of tens of thousands of nats.
    """
    shape = images[:1].shape
    noise = torch.randint(-NOISE, NOISE + 1, shape, generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    noisy = (images[:1] + noise).clamp(0, LEVELS - 1).to(torch.uint8)
    return torch.cat([noisy, 255 - images[:1]])


@torch.no_grad()
def sample(network: Network, count: int, config: ColourPixelCNNConfig, seed: int) -> Tensor:
    """Draw uint8 images [count, 3, H, W] by fixed-point iteration, see `density_training.sampling`."""
    size = (count, config.height, config.width)
    noise = mixture.noise(size, config.mixtures, torch.Generator().manual_seed(seed))
    images = torch.zeros((count, 3, *size[1:]), dtype=torch.uint8)
    changing = torch.arange(count)
    while len(changing):
        parameters = network(to_input(images[changing], config.levels))
        drawn = mixture.draw(parameters, tuple(part[changing] for part in noise), config.levels)
        changed = (drawn != images[changing]).flatten(1).any(1)
        images[changing] = drawn
        changing = changing[changed]
    return images


def _bits(network: Any, images: Tensor) -> float:
    return bits_per_dim(log_likelihood(network, images, LEVELS, HEAD), images[0].numel())


def _figures(graph: Network, data: Cifar10, test: Tensor) -> dict[str, float]:
    return {
        "test_images": len(test),
        "test_bits_per_dim": bits_per_dim(test, data.test_images[0].numel()),
        "held_out_bits_per_dim": _bits(graph, data.held_out),
        "train_bits_per_dim": _bits(graph, data.train_images[::50]),
        "lossless_bits_per_dim": _bits(graph, data.lossless[::3]),
    }


def card(
    version: Version,
    number: str,
    config: ColourPixelCNNConfig,
    batch_size: int,
    progress: TimedProgress,
    figures: dict[str, float],
) -> str:
    """The model card, in Markdown."""
    first, last = (f"{100 * share:.0f} %" for share in LOSSLESS_SHARES["cuda" if progress.device else "cpu"])
    measured = [
        (f"{figures['test_images']:,} test images as JPEG files", f"**{figures['test_bits_per_dim']:.4f}**"),
        ("1,000 training images as JPEG files", f"{figures['train_bits_per_dim']:.4f}"),
        ("1,000 held-out images without loss", f"**{figures['held_out_bits_per_dim']:.4f}**"),
        ("1,000 training images without loss", f"{figures['lossless_bits_per_dim']:.4f}"),
    ]
    return f"""# {version.name}, version {number}

A gated PixelCNN that puts an **exact probability** on 32×32 colour images with 256 levels in each channel. It knows the
photographs of CIFAR-10: as JPEG files, compressed hard, and a little of them as they were before.

![{SAMPLES} samples](samples.png)

*{SAMPLES} samples drawn from the model, temperature 1, seed 0, not selected.*

## Model
- A 7×7 mask-A convolution over pointwise features of the level, a bias for each row, each column and each place in a
  block of 8×8, {config.blocks} gated 3×3 mask-B blocks of {config.channels} channels with dilations 1, 2, 1, 4, and a
  mixture of {config.mixtures} discretised logistics over the three channels of each pixel, which it links. The network
  sees whole pixels before its own only, so one evaluation of it serves three channels.
- {version.provenance["parameters"]:,} weights; float32; ONNX operator set 18; input `image` = level / 255, output
  `logits` [N, 80, 32, 32], ten parameters for each component.
- References: Salimans et al., *PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood* (2017);
  van den Oord et al., *Conditional Image Generation with PixelCNN Decoders* (2016).

## Data and training
- Data: {version.provenance["data"]} (Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009),
  flipped from side to side at random; on a GPU half of those without loss are turned or transposed as well, but for the
  last fifth of the time. Neither the test images, nor the last 1,000 of the 4,000 images without loss, nor
  their JPEG twins were trained on, and nothing was selected by them.
- Command: `{version.provenance["command"]}`
- {progress.step:,} steps of {batch_size} images, {first} of them without loss and in the last 40 % of the time {last},
  {MUON}, averaged weights of step {progress.kept_step:,}. {progress.where()}. {VALIDATION} of the
  images without loss and as many JPEG files did not train: they chose the step.

## Figures
{table(("bits per dimension of", "figure"), measured)}

The JPEG files are smoother than photographs, so their figure stands beside no published one. That of the images without
loss does, with the remark that 3,000 such images were seen instead of 50,000. JPEG XL without loss (libjxl 0.11.2,
effort 9, a file for each image) takes 3.63 bits for each dimension of every tenth test image, and 4.13 of the held-out
images.

All figures are of the exported graph in ONNX Runtime on a CPU; measure them again with

    python -m density_training {NAME} evaluate --data <folder of CIFAR-10>

## Detection, honestly
The log-likelihood of colour photographs is known to reject badly: a smooth picture of something else is likelier than
the photographs that it was trained on. Its calibration says whether an image is unusually unlikely **or unusually
likely** among held-out JPEG files. Use it as one statistic of a detector, not as the detector.

## Limits
- Only 32×32 colour images in the manner of CIFAR-10. Another compression, resizing or camera changes every score.
- Decoders of JPEG differ by a level here and there, and so do scores, by a per cent or two. Figures and the hashes of
  the training images are of Pillow's pixels.
- CIFAR-10 is a benchmark of tiny photographs of ten kinds. The model is an example of what the server serves, not a
  product.
"""
