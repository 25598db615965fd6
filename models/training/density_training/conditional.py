"""A PixelCNN of images given a label: the exact probability p(x|y), and by Bayes' rule a classifier.

The label shifts both halves of every gate, the same at all pixels (van den Oord et al., "Conditional Image Generation
with PixelCNN Decoders", 2016), and has its own bias for each row and each column, since the labels of Fashion-MNIST
differ in outline above all.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.pixelcnn import PixelCNN, PixelCNNConfig
from density_training.scoring import to_input


@dataclass(frozen=True)
class ConditionalPixelCNNConfig(PixelCNNConfig):
    """Sizes of a PixelCNN and the number of its labels."""

    labels: int = 10


class ConditionalPixelCNN(PixelCNN):
    """`image` [N, 1, H, W] in level/(levels−1), `label` int64 [N] → `logits` [N, levels, H, W].

    All that depends on the label starts at zero, so the weights of a `PixelCNN` are a starting point.
    """

    def __init__(self, config: ConditionalPixelCNNConfig = ConditionalPixelCNNConfig()) -> None:
        super().__init__(config)
        labels, channels = config.labels, config.channels
        self.label_row = nn.Parameter(torch.zeros(labels, channels, config.height, 1))
        self.label_column = nn.Parameter(torch.zeros(labels, channels, 1, config.width))
        self.label_gates = nn.ParameterList(
            nn.Parameter(torch.zeros(labels, 2 * channels, 1, 1)) for _ in range(config.blocks)
        )

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        row, column = self.row + self.label_row, self.column + self.label_column
        first = self.first(self.features(image))
        # Of all labels' biases, those of the label that is asked for: the server compiles a table by place, and one by
        # label, but not one by both.
        one_hot = torch.eye(len(row)).view(-1, len(row), 1, 1, 1).index_select(0, label)
        x = sum(asked * (first + bias) for asked, bias in zip(one_hot.unbind(1), row + column, strict=True))
        for block, gate in zip(self.blocks, self.label_gates, strict=True):
            x = block(x, gate.index_select(0, label))
        return self.head(F.relu(self.head_hidden(F.relu(x))))


def log_likelihoods(model: ConditionalPixelCNN, levels: Tensor, label: Tensor) -> Tensor:
    """log p(x|y) in nats, float32 [N], with gradients; the network runs in bfloat16."""
    image = to_input(levels, model.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image, label)
    logits = logits.permute(0, 2, 3, 1).reshape(-1, model.config.levels)
    nats = F.cross_entropy(logits.float(), levels.reshape(-1).long(), reduction="none")
    return -nats.view(len(levels), -1).sum(1)


class Rivals:
    """Draws a wrong label for an image, more often one that the network confuses with the right one.

    A table [labels, labels] keeps a running mean of the log loss of deciding between two labels; a rival is drawn in
    proportion to its entry, plus a little so that none is forgotten.
    """

    def __init__(self, labels: int) -> None:
        self.confusion = torch.full((labels, labels), math.log(2))

    def draw(self, label: Tensor) -> Tensor:
        """One wrong label for each right one, int64 [N]."""
        weights = (self.confusion[label] + 0.01).scatter(1, label.unsqueeze(1), 0.0)
        return torch.multinomial(weights, 1).squeeze(1)

    def record(self, label: Tensor, rival: Tensor, loss: Tensor) -> None:
        """Take the losses of deciding between these pairs of labels into the means."""
        for right, wrong, value in zip(label.tolist(), rival.tolist(), loss.tolist(), strict=True):
            self.confusion[right, wrong] += 0.05 * (value - self.confusion[right, wrong])


def training_loss(
    model: ConditionalPixelCNN, levels: Tensor, label: Tensor, rivals: Rivals, discrimination: float
) -> Tensor:
    """Mean of −log p(x|y), plus `discrimination` times −log p(y | x, y is the label or a rival), in nats a pixel.

    The first term alone learns the density. Labels explain few of the 2,000 bits of an image, so classes would be
    learned last; the second term, taken over half of the batch, hurries them. Whatever the weights, the network is a
    normalised p(x|y).
    """
    contested = len(levels) // 2
    rival = rivals.draw(label[:contested])
    scores = log_likelihoods(model, torch.cat([levels, levels[:contested]]), torch.cat([label, rival]))
    given_label, given_rival = scores[: len(levels)], scores[len(levels) :]
    contest = F.softplus(given_rival - given_label[:contested])
    rivals.record(label[:contested], rival, contest.detach())
    return (discrimination * contest.mean() - given_label.mean()) / levels[0].numel()
