"""A classifier of small photographs: p(y|x) of the ten labels of CIFAR-10, and 192 features.

    python -m density_training.cifar10_classifier train --data FOLDER --minutes 70
    python -m density_training.cifar10_classifier export --data FOLDER

References
- He et al., "Deep Residual Learning for Image Recognition" (2016); Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
  GPU" (2024), whose first layer and widths these are after.
- Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016): smoothed labels.
- Guo et al., "On Calibration of Modern Neural Networks" (2017): one temperature calibrates the probabilities.
"""

import argparse
import copy
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.cifar10 import LABELS, Cifar10
from density_training.classifier import FAMILY, fit_temperature, label_log_probabilities
from density_training.data import LEVELS, to_input
from density_training.figures import classification_figures
from density_training.model import REPOSITORY
from density_training.version import Labels, Version, served_scores, write_version

NAME = "cifar10-classifier"
CHECKPOINT = Path(".cache/cifar10-classifier.pt")
BATCH, RATE, SMOOTHING, AVERAGING = 256, 0.25, 0.1, 0.998
HELD_OUT = 1_500
"""Training images that are not trained on; they fit the temperature, and are watched in the log."""


class Classifier(nn.Module):
    """`image` [N, 3, 32, 32] in level/255 → `logits` [N, 10], `features` [N, 192].

    The first layer whitens 2×2 pixels and is not trained. The temperature divides the logits inside the graph.
    """

    temperature: Tensor

    def __init__(self, widths: tuple[int, int, int, int] = (24, 64, 128, 192)) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, widths[0], 2).requires_grad_(False)
        self.groups = nn.ModuleList(Group(*pair) for pair in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], len(LABELS))
        self.register_buffer("temperature", torch.tensor(1.0))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.whiten(image))
        for group in self.groups:
            x = group(x)
        features = x.mean((2, 3))
        return self.head(features) / self.temperature, features

    @torch.no_grad()
    def fit_whitening(self, image: Tensor) -> None:
        """Both signs of the principal axes of 2×2 pixels, scaled to a variance of one."""
        patches = image.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
        chosen = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:500_000]
        mean = patches[chosen].mean(0)
        centred = patches[chosen] - mean
        values, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        filters = (axes / (values + 5e-4).sqrt()).T
        filters = torch.cat([filters, -filters])
        self.whiten.weight.copy_(filters.view(-1, 3, 2, 2))
        self.whiten.bias.copy_(-(filters @ mean))


class Group(nn.Module):
    """A convolution that halves the resolution, and a residual one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(F.max_pool2d(self.first(x), 2)))
        return F.relu(x + self.norm2(self.second(x)))


def vary(levels: Tensor, reach: int = 3) -> Tensor:
    """Each image mirrored with probability ½ and moved by up to `reach` pixels each way, its border mirrored in."""
    count, _, height, width = levels.shape
    mirrored = torch.where(torch.rand(count, 1, 1, 1) < 0.5, levels, levels.flip(3))
    padded = F.pad(mirrored.float(), (reach, reach, reach, reach), mode="reflect").to(torch.uint8)
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1, 1))
    rows = down + torch.arange(height).view(1, height, 1)
    columns = right + torch.arange(width).view(1, 1, width)
    return padded.permute(0, 2, 3, 1)[torch.arange(count).view(count, 1, 1), rows, columns].permute(0, 3, 1, 2)


def split(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the training images that are trained on, and of those that are held out."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[HELD_OUT:], order[:HELD_OUT]


@dataclass(frozen=True)
class Clock:
    """A learning rate that rises for 15 % of some minutes and falls for the rest, however fast the machine is."""

    minutes: float
    started: float

    def passed(self) -> float:
        """The share of the time that is over."""
        return (time.time() - self.started) / (60 * self.minutes)

    def rate(self) -> float:
        """The learning rate now."""
        passed = self.passed()
        return RATE * min(passed / 0.15, 1, max(1 - passed, 0) / 0.85 + 0.002)


def train(data: Cifar10, checkpoint: Path, minutes: float) -> None:
    """Train by the clock, in bfloat16, and keep an average of the weights; continues from the checkpoint."""
    torch.manual_seed(0)
    trained_on, held_out = split(len(data.train_images))
    network = Classifier()
    network.fit_whitening(to_input(data.train_images[trained_on[:2000]], LEVELS))
    network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    matrices, vectors = ([w for w in weights if (w.dim() > 1) == is_matrix] for is_matrix in (True, False))
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=RATE, momentum=0.9, nesterov=True)
    clock, epoch, step = Clock(minutes, time.time()), 0, 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        clock, epoch, step = Clock(minutes, state["started"]), state["epoch"], state["step"]
    while clock.passed() < 1:
        for chosen in trained_on[torch.randperm(len(trained_on))].split(BATCH)[:-1]:
            if clock.passed() >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = clock.rate()
            image = to_input(vary(data.train_images[chosen]), LEVELS).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = network(image)
            F.cross_entropy(logits.float(), data.train_labels[chosen], label_smoothing=SMOOTHING).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            step += 1
            follow(average, network, min(AVERAGING, step / (step + 9)))
        epoch += 1
        state = {"network": network.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state | {"started": clock.started, "epoch": epoch, "step": step}, checkpoint)
        scores = label_log_probabilities(average.eval(), data.train_images[held_out], LEVELS)
        accuracy = (scores.argmax(1) == data.train_labels[held_out]).double().mean()
        print(f"epoch {epoch}: accuracy {accuracy:.2%} on {HELD_OUT:,} held-out images", flush=True)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average of weights and statistics towards the present ones."""
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def drawings() -> Tensor:
    """Images that nobody photographed, uint8 [12, 3, 32, 32]: flat colours, slopes, squares, discs, noise."""
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    random = torch.Generator().manual_seed(0)
    colours = torch.rand(12, 2, 3, 1, 1, generator=random)
    soft = F.interpolate(torch.rand(2, 3, 5, 5, generator=random), size=(32, 32), mode="bilinear")
    disc = (((row - 16) ** 2 + (column - 14) ** 2) < 81).float()
    masks = [row / 31, column / 31, (row + column) / 62, ((row // 8 + column // 8) % 2).float(), disc, 1 - disc]
    painted = [first * mask + second * (1 - mask) for mask, (first, second) in zip(masks, colours, strict=False)]
    flat = [torch.zeros(3, 32, 32), torch.ones(3, 32, 32), colours[6, 0].expand(3, 32, 32)]
    images = torch.stack([*flat, *painted, *soft, torch.rand(3, 32, 32, generator=random)])
    return (images * (LEVELS - 1)).round().to(torch.uint8)


def export(data: Cifar10, checkpoint: Path, folder: Path) -> None:
    """Fit the temperature, write the version and its card, and measure it on the test images."""
    state = torch.load(checkpoint, weights_only=True)
    network = Classifier()
    weights = {"temperature": network.temperature} | state["average"]
    network.load_state_dict(weights)
    network.eval()
    trained_on, held_out = split(len(data.train_images))
    logits = label_log_probabilities(network, data.train_images[held_out], LEVELS)
    temperature = fit_temperature(logits, data.train_labels[held_out])
    network.temperature.fill_(temperature)
    FAMILY.graphs["logits"].export(network, (torch.rand(2, 3, 32, 32),), folder)
    parameters = sum(weight.numel() for weight in network.parameters())
    version = Version(
        name=NAME,
        family=FAMILY,
        description="Convolutional classifier of small photographs: calibrated p(y|x) of ten labels and 192 features",
        channels=3,
        height=32,
        width=32,
        levels=LEVELS,
        labels=Labels(LABELS, (0.1,) * len(LABELS)),
        provenance={
            "data": "CIFAR-10 training images as JPEG files, without the twins of 1,000 held-out images",
            "licence": "MIT OR Apache-2.0",
            "command": "python -m density_training.cifar10_classifier train --minutes 70",
            "parameters": parameters,
            "training_seconds": 4200,
        },
        notes=f"golden images are drawings; {HELD_OUT:,} images fitted the temperature of {temperature:.4f}, by which "
        "the logits are already divided; golden scores are log p(y|x) of each label",
        trained_on=data.train_images[trained_on],
    )
    golden = drawings()
    write_version(folder, version, golden, label_log_probabilities(network, golden, LEVELS))
    scores = served_scores(folder, FAMILY, data.test_images)
    figures = classification_figures(scores, data.test_labels, LABELS)
    (folder / "README.md").write_text(card(figures, temperature, parameters, state["epoch"]))
    print({name: value for name, value in figures.items() if isinstance(value, float)})


def card(figures: dict, temperature: float, parameters: int, epochs: int) -> str:
    """The model card."""
    rows = "\n".join(f"| {label} | {value:.1%} |" for label, value in figures["accuracy_by_label"].items())
    hardest, worst = min(figures["accuracy_by_label"].items(), key=lambda item: item[1])
    return f"""# {NAME}, version 1

A classifier of 32×32 photographs: calibrated probabilities of ten labels, p(y|x), and 192 features. It has **no
density**: it names a label for anything. `cifar10-classifier-gate`, a detector of its features, can refuse.

## Model
- A fixed convolution that whitens 2×2 pixels, three groups of a convolution that halves the resolution and a residual
  one, batch normalisation, a mean over the pixels, and a linear layer.
- {parameters:,} weights; float32; ONNX operator set 18; input `image` = level / 255, outputs `logits` [N, 10] and
  `features` [N, 192].
- The logits are already divided by a temperature of {temperature:.4f}: their softmax is p(y|x).

## Training
- 47,500 of the 50,000 training images of CIFAR-10, as JPEG files that are compressed hard: pixels are about 7 levels
  from the originals. The twins of 1,000 images that are held out everywhere are not among them, nor are 1,500 images
  that fitted the temperature.
- {epochs} epochs in 70 minutes on one thread of a processor that did other work, bfloat16; SGD with Nesterov momentum,
  labels smoothed by 0.1; mirrored and moved by up to three pixels; the weights are an average over the last steps.

## Figures
Of the 10,000 test images, compressed in the same way, which selected nothing:

| figure | |
|---|---|
| accuracy | **{figures["accuracy"]:.2%}** |
| log loss | {figures["log_loss_nats"]:.4f} nats |
| expected calibration error, 15 bins | {figures["expected_calibration_error"]:.4f} |

| label | accuracy |
|---|---|
{rows}

## What is not good
- The hardest label is "{hardest}", with an accuracy of {worst:.1%}.
- Larger networks with hours on a GPU are right in 96 % and more of the images without loss.
- Probabilities are calibrated on photographs of these ten labels and mean nothing elsewhere.

## Licence
Weights: MIT OR Apache-2.0. The data set is not part of this repository.
"""


def main() -> None:
    """Train or export."""
    parser = argparse.ArgumentParser(prog="python -m density_training.cifar10_classifier", description=__doc__)
    parser.add_argument("action", choices=("train", "export"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the files of CIFAR-10")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--minutes", type=float, default=70.0)
    parser.add_argument("--output", type=Path, default=REPOSITORY / NAME / "1")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Cifar10.read(arguments.data)
    if arguments.action == "train":
        train(data, arguments.checkpoint, arguments.minutes)
    else:
        export(data, arguments.checkpoint, arguments.output)


if __name__ == "__main__":
    main()
