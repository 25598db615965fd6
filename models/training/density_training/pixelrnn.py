"""A PixelRNN: the state of each pixel depends on the states of its neighbours before it, and so on all pixels in reach.

van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016), carry the state of an LSTM along
diagonals. Here the state of pixel (i, j) is a gated mean of the states at (i, j−1), (i−1, j) and (i−1, j+1) and of a
new candidate, in each coordinate: one minimal cell instead of two directions of LSTMs (a multi-dimensional form of Cho
et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014). The third neighbour lets context come in
from the upper right as well. Pixels with the same 2i + j do not depend on each other: a 28×28 image takes 82 steps of
up to 14 pixels, in training, scoring and exact sampling alike.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.pixelcnn import LevelFeatures
from density_training.scoring import to_input

NEIGHBOURS = ((0, -1), (-1, 0), (-1, 1))
"""Rows and columns from a pixel to those whose states and levels its own state is computed from."""


@dataclass(frozen=True)
class PixelRNNConfig:
    """Sizes."""

    height: int = 28
    width: int = 28
    levels: int = 256
    state_size: int = 128
    head_channels: int = 128


class PixelRNN(nn.Module):
    """`image` [N, 1, H, W] in level/(levels−1) → `logits` [N, levels, H, W] of each pixel given those before it."""

    def __init__(self, config: PixelRNNConfig = PixelRNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.step = Step(config)

    def forward(self, image: Tensor) -> Tensor:
        """All pixels of the same 2i + j at once.

        States are kept for whole columns of rows, [N, 1 + H + 1, S], with zeros above the image and wherever a row has
        no pixel at this time; a neighbour outside the image is therefore a zero state and a zero level.
        """
        height, width = self.config.height, self.config.width
        features = self.step.features(image).permute(0, 2, 3, 1)
        places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
        blank = features.new_zeros(len(image), height + 1, self.config.state_size + features.shape[3])
        before, last, states = blank, blank, []
        for time in range(2 * (height - 1) + width):
            rows = torch.arange(max(0, -(-(time - width + 1) // 2)), min(height, time // 2 + 1))
            columns = time - 2 * rows
            # Row r of the image is row r + 1 of the column; the row above it is row r.
            first, end = int(rows[0]), int(rows[-1]) + 1
            known = torch.cat([last[:, first + 1 : end + 1], before[:, first:end], last[:, first:end]], dim=2)
            state = self.step.cell(*self._parts(known), places[0, rows, columns], places[1, rows, columns])
            seen = features[:, rows, columns].to(state.dtype)
            now = F.pad(torch.cat([state, seen], dim=2), (0, 0, first + 1, height - end))
            states.append(state)
            before, last = last, now
        order = self._raster_order(height, width)
        logits = self.step.head(torch.cat(states, dim=1)[:, order])
        return logits.permute(0, 2, 1).reshape(len(image), self.config.levels, height, width)

    def _parts(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """States and level features of the neighbours, each [.., 3·size], from them alternating."""
        size = self.config.state_size
        neighbours = known.unflatten(2, (len(NEIGHBOURS), -1))
        return neighbours[..., :size].flatten(2), neighbours[..., size:].flatten(2)

    @staticmethod
    def _raster_order(height: int, width: int) -> Tensor:
        """Where each pixel in raster order stands in the order in which the steps visit them."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        visited = ((2 * rows + columns) * height + rows).flatten().argsort()
        return visited.argsort()


class Step(nn.Module):
    """One pixel: the graph that a sampler runs along the diagonals.

    `states` [N, 3, S] and `levels` [N, 3] in level/(levels−1) of the neighbours, zeros where there is none, `inside`
    [N, 3] one where there is one and zero where there is none, `row` and `column` int64 [N] → `state` [N, S] and
    `logits` [N, levels].
    """

    def __init__(self, config: PixelRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.features = LevelFeatures(config.levels)
        size, neighbours = config.state_size, len(NEIGHBOURS)
        fan_in = neighbours * (size + self.features.count)
        self.weight = nn.Parameter(torch.randn((neighbours + 2) * size, fan_in) / math.sqrt(fan_in))
        self.row = nn.Parameter(torch.zeros(config.height, (neighbours + 2) * size))
        self.column = nn.Parameter(torch.zeros(config.width, (neighbours + 2) * size))
        self.hidden = nn.Linear(size, config.head_channels)
        self.output = nn.Linear(config.head_channels, config.levels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, states: Tensor, levels: Tensor, inside: Tensor, row: Tensor, column: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = self.features(levels.unsqueeze(1).unsqueeze(3)).squeeze(3).permute(0, 2, 1) * inside.unsqueeze(2)
        state = self.cell(states.flatten(1), features.flatten(1), row, column)
        return state, self.head(state)

    def cell(self, states: Tensor, features: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Σ_k softmax_k(g) · (left, above, above right, tanh(candidate)), in each coordinate; [.., 3S] → [.., S]."""
        known = torch.cat([states, features], dim=-1)
        mixed = F.linear(known, self.weight) + (self.row[row] + self.column[column]).to(known.dtype)
        candidate, gates = mixed.split([self.config.state_size, (len(NEIGHBOURS) + 1) * self.config.state_size], dim=-1)
        shares = gates.unflatten(-1, (len(NEIGHBOURS) + 1, -1)).softmax(-2)
        carried = states.unflatten(-1, (len(NEIGHBOURS), -1))
        return (shares[..., :-1, :] * carried).sum(-2) + shares[..., -1, :] * torch.tanh(candidate)

    def head(self, state: Tensor) -> Tensor:
        """Logits of the levels, [.., S] → [.., levels]."""
        return self.output(F.relu(self.hidden(state)))


def training_loss(model: PixelRNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 1, H, W], in nats a pixel; the network runs in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(to_input(levels, model.config.levels))
    return F.cross_entropy(logits.float(), levels[:, 0].long())


def muon_parameters(model: PixelRNN) -> list[nn.Parameter]:
    """The hidden weight matrices; the rest is left to AdamW."""
    return [model.step.weight, model.step.hidden.weight]


def example(config: PixelRNNConfig) -> dict[str, Tensor]:
    """Inputs of the step for two pixels."""
    neighbours = len(NEIGHBOURS)
    return {
        "states": torch.randn(2, neighbours, config.state_size),
        "levels": torch.rand(2, neighbours),
        "inside": torch.ones(2, neighbours),
        "row": torch.tensor([0, 1]),
        "column": torch.tensor([1, 0]),
    }


def recurrence(config: PixelRNNConfig) -> dict[str, object]:
    """What whoever drives the step must know besides its inputs."""
    return {"state_size": config.state_size, "neighbours": NEIGHBOURS}
