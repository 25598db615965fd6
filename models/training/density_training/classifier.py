"""A convolutional classifier: p(y|x) of ten labels, and features that transfer.

References
- He et al., "Deep Residual Learning for Image Recognition" (2016): residual convolutions.
- Ioffe and Szegedy, "Batch Normalization" (2015); an export folds it into constants.
- Guo et al., "On Calibration of Modern Neural Networks" (2017): one temperature calibrates the probabilities.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.card import (
    ONE_THREAD,
    Report,
    accuracy_table,
    evaluation_note,
    limits_section,
    table,
    training_section,
)
from density_training.data import LABELS, LEVELS, ODDITIES, Dataset, golden_levels, to_input
from density_training.figures import Figures, classification_figures
from density_training.model import MONITORED_IMAGES, Exported, Loss, Model, Trained, counted_labels
from density_training.scoring import TwoHeaded
from density_training.training import Recipe, adamw
from density_training.version import Family, Graph, Version, check_parity, served_scores, write_version

HELD_OUT, HELD_OUT_SEED = 5_000, 0
"""Training images that are not trained on; they fit the temperature."""


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes; `channels` of the three resolutions, the last of which is the number of features."""

    levels: int = 256
    labels: int = 10
    channels: tuple[int, int, int] = (24, 48, 96)


class Classifier(nn.Module):
    """`image` [N, 1, H, W] in level/(levels−1) → `logits` [N, labels], `features` [N, channels[2]].

    The softmax of the logits is p(y|x). The temperature divides the logits inside the graph; it is no parameter, since
    it is fitted after the training and on other images.
    """

    temperature: Tensor

    def __init__(self, config: ClassifierConfig = ClassifierConfig()) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.channels
        self.convolutions = nn.Sequential(
            _convolution(1, fine, stride=1),
            nn.ReLU(),
            _convolution(fine, middle, stride=2),
            Residual(middle),
            _convolution(middle, coarse, stride=2),
            Residual(coarse),
        )
        self.head = nn.Linear(coarse, config.labels)
        self.register_buffer("temperature", torch.tensor(1.0))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolutions(image).mean((2, 3))
        return self.head(features) / self.temperature, features


class Residual(nn.Module):
    """ReLU(x + two normalised 3×3 convolutions of ReLU(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(), _convolution(channels, channels, 1), nn.ReLU(), _convolution(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


def cross_entropy_loss(network: Classifier, levels: Tensor, label: Tensor) -> Tensor:
    """Mean of −log p(y|x) in nats over uint8 images [N, 1, H, W], varied at random; convolutions in bfloat16."""
    image = to_input(vary(levels), network.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = network(image)
    return F.cross_entropy(logits.float(), label)


def vary(levels: Tensor, reach: int = 2) -> Tensor:
    """Each image mirrored with probability ½ and moved by up to `reach` pixels each way, black coming in."""
    count, _, height, width = levels.shape
    mirrored = torch.where(torch.rand(count, 1, 1, 1) < 0.5, levels, levels.flip(3))
    padded = F.pad(mirrored, (reach, reach, reach, reach))
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1, 1))
    rows = down + torch.arange(height).view(1, height, 1)
    columns = right + torch.arange(width).view(1, 1, width)
    return padded[torch.arange(count).view(count, 1, 1), 0, rows, columns].unsqueeze(1)


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """The T > 0 that minimises the mean of −log softmax(logits / T)[label]; a convex problem in 1/T, by bisection."""
    logits = logits.double()
    chosen = logits.gather(1, label.unsqueeze(1)).squeeze(1)
    low, high = 0.0, 100.0
    for _ in range(100):
        inverse = (low + high) / 2
        expected = (torch.softmax(inverse * logits, 1) * logits).sum(1)
        slope = (expected - chosen).mean()
        low, high = (inverse, high) if slope < 0 else (low, inverse)
    return 1 / high


@torch.no_grad()
def label_log_probabilities(classifier: TwoHeaded, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """log p(y|x) in nats of every label y, float64 [N, labels], by a classifier (→ logits, features)."""
    logits = [classifier(to_input(part, count))[0] for part in levels.split(batch)]
    return torch.cat(logits).double().log_softmax(1)


def split(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the training images that are trained on, and of those that are held out, at most half of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(HELD_OUT_SEED))
    held_out = min(HELD_OUT, count // 2)
    return order[held_out:], order[:held_out]


FAMILY = Family(
    name="classifier",
    graphs={
        "logits": Graph(
            "model.onnx",
            {"input": "image", "output": "logits", "features": "features"},
            outputs=("logits", "features"),
        )
    },
    score=lambda graphs, levels, manifest: label_log_probabilities(graphs["logits"], levels, manifest.levels),
)


@dataclass(frozen=True, kw_only=True)
class ClassifierModel(Model[Classifier, ClassifierConfig]):
    """The classifier: trained on 55,000 images, and given its temperature by the other 5,000."""

    family = FAMILY

    def build(self, config: ClassifierConfig) -> Classifier:
        return Classifier(config)

    def examples(self, data: Dataset) -> Tensor:
        trained_on, _ = split(len(data.train_images))
        return trained_on

    def loss(self, network: Classifier, data: Dataset) -> Loss:
        return lambda chosen, step: cross_entropy_loss(network, data.train_images[chosen], data.train_labels[chosen])

    def optimisers(self, network: Classifier) -> list[torch.optim.Optimizer]:
        return adamw(network, rate=4e-3, weight_decay=0.05)

    def monitor(self, network: Classifier, data: Dataset, checkpoint: Path) -> str:
        _, held_out = split(len(data.train_images))
        monitored = held_out[:MONITORED_IMAGES]
        scores = label_log_probabilities(network.eval(), data.train_images[monitored], LEVELS)
        network.train()
        accuracy = (scores.argmax(1) == data.train_labels[monitored]).double().mean()
        return f"accuracy {accuracy:.2%} on {len(monitored):,} held-out images"

    def prepare(self, network: Classifier, data: Dataset) -> None:
        """Fit the temperature."""
        _, held_out = split(len(data.train_images))
        # The logarithm of a softmax is a logit as good as any.
        logits = label_log_probabilities(network, data.train_images[held_out], LEVELS)
        network.temperature.fill_(fit_temperature(logits, data.train_labels[held_out]))

    def exported(self, network: Classifier, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {"logits": (network, (torch.rand(2, *shape),))}

    def version(self, trained: Trained[Classifier], data: Dataset) -> Version:
        notes = (
            f"55,000 images trained on, {HELD_OUT:,} for the temperature of {trained.network.temperature.item():.4f}, "
            "by which the logits are already divided; golden scores are log p(y|x) of each label"
        )
        return replace(super().version(trained, data), labels=counted_labels(data), notes=notes)

    def complete(self, folder: Path, version: Version, network: Classifier, data: Dataset) -> Figures:
        golden = golden_levels(data.test_images)
        write_version(folder, version, golden, label_log_probabilities(network, golden, LEVELS))
        temperature = network.temperature.item()
        undivided = served_scores(folder, self.family, data.test_images) * temperature
        return self._figures(data, folder) | {
            "temperature": temperature,
            "before": classification_figures(undivided.log_softmax(1), data.test_labels, LABELS),
        }

    def evaluate(self, data: Dataset, folder: Path) -> Figures:
        return {"largest_golden_deviation": check_parity(folder, self.family), **self._figures(data, folder)}

    def _figures(self, data: Dataset, folder: Path) -> Figures:
        _, features = self.family.load(folder)["logits"](torch.zeros(1, *data.shape))
        scores = served_scores(folder, self.family, data.test_images)
        oddities = served_scores(folder, self.family, golden_levels(data.test_images))[-len(ODDITIES) :]
        confidence, label = oddities.exp().max(1)
        return {
            "test_images": len(data.test_images),
            "features": features.shape[1],
            **classification_figures(scores, data.test_labels, LABELS),
            "oddities": {
                name: {"label": LABELS[index], "probability": probability}
                for name, index, probability in zip(ODDITIES, label.tolist(), confidence.tolist(), strict=True)
            },
        }

    def card(self, report: Report) -> str:
        figures = report.figures
        before = figures["before"]
        hardest, accuracy = min(figures["accuracy_by_label"].items(), key=lambda item: item[1])
        measured = [
            ("accuracy", f"**{figures['accuracy']:.2%}**", f"{before['accuracy']:.2%}"),
            ("log loss", f"{figures['log_loss_nats']:.4f} nats", f"{before['log_loss_nats']:.4f} nats"),
            (
                "expected calibration error, 15 bins",
                f"**{figures['expected_calibration_error']:.4f}**",
                f"{before['expected_calibration_error']:.4f}",
            ),
        ]
        oddities = [
            (name, oddity["label"], f"{oddity['probability']:.1%}") for name, oddity in figures["oddities"].items()
        ]
        training = training_section(
            report,
            "bfloat16 convolutions, AdamW",
            ONE_THREAD,
            images="mirrored and moved by up to two pixels at random",
        )
        test_images = f"{figures['test_images']:,} Fashion-MNIST test images"
        return f"""{report.title}

A classifier of 28×28 grey images: calibrated probabilities of ten labels, p(y|x), and {figures["features"]} features
that serve other tasks. It has **no density**: it cannot say that an image is none of its labels.

## Model
- A convolution, two strided convolutions each followed by a residual block, batch normalisation, a mean over the
  pixels, and a linear layer.
- {report.weights}; float32; ONNX operator set 18; input `image` = level / 255, outputs `logits` [N, 10] and `features`
  [N, {figures["features"]}].
- The logits are already divided by a temperature of {figures["temperature"]:.4f}: their softmax is p(y|x).
- References: He et al., *Deep Residual Learning for Image Recognition* (2016); Guo et al., *On Calibration of Modern
  Neural Networks* (2017), for the temperature.

{training}- 5,000 of the training images were not trained on; they fitted the temperature. The epochs are those of
  60,000 images.

## Figures
{table((test_images, "figure", "at a temperature of 1"), measured)}

{accuracy_table(figures)}

{evaluation_note(self.command, options="")}
## What it says of other pictures
{table(("one picture each", "label", "probability"), oddities)}

Probabilities are calibrated on clothes and mean nothing elsewhere: put a density in front.

## What is not good
- The hardest label is "{hardest}", with an accuracy of {accuracy:.1%}.
- It is small and was trained for minutes; networks that are better by one or two percent are common.
- The features were learnt to tell these ten labels apart; what does not help with that may be lost.

{limits_section()}"""


MODEL = ClassifierModel(
    command="classifier",
    description="Convolutional classifier of Fashion-MNIST: calibrated p(y|x) of ten labels and 96 features",
    recipe=Recipe(steps=6_000, decay_steps=4_500, batch_size=128),
    config=ClassifierConfig(),
)
