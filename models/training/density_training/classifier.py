"""A convolutional classifier: p(y|x) of ten labels, and features that transfer.

References
- He et al., "Deep Residual Learning for Image Recognition" (2016): residual convolutions.
- Ioffe and Szegedy, "Batch Normalization" (2015); an export folds it into constants.
- Guo et al., "On Calibration of Modern Neural Networks" (2017): one temperature calibrates the probabilities.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.scoring import to_input


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


def training_loss(model: Classifier, levels: Tensor, label: Tensor) -> Tensor:
    """Mean of −log p(y|x) in nats over uint8 images [N, 1, H, W], varied at random; convolutions in bfloat16."""
    image = to_input(vary(levels), model.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = model(image)
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
