"""A PixelRNN: the state of each pixel depends on the states of its neighbours, and so on all pixels before them.

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
"""Rows and columns from a pixel to those whose states its own state is computed from."""
WINDOW = tuple((i, j) for i in range(-3, 1) for j in range(-3, 4) if 2 * i + j < 0 and (i < 0 or j < 0))
"""Rows and columns from a pixel to those whose levels it sees: 22 of the 24 before it in a 7×7 window, those with a
smaller 2i + j, which are known by then."""


@dataclass(frozen=True)
class PixelRNNConfig:
    """Sizes; `window_channels` is what is kept of the levels in the window."""

    height: int = 28
    width: int = 28
    levels: int = 256
    state_size: int = 128
    window_channels: int = 96
    head_channels: int = 128


class PixelRNN(nn.Module):
    """`image` [N, 1, H, W] in level/(levels−1) → `logits` [N, levels, H, W] of each pixel given those before it."""

    def __init__(self, config: PixelRNNConfig = PixelRNNConfig()) -> None:
        super().__init__()
        self.config = config
        self.step = Step(config)

    def forward(self, image: Tensor) -> Tensor:
        """All pixels of the same 2i + j at once.

        States are kept for whole columns of rows, [N, 1 + H, S], with zeros above the image and wherever a row has no
        pixel at this time; a neighbour outside the image therefore has a state of zero.
        """
        height, width = self.config.height, self.config.width
        seen = self._windows(image)
        blank = seen.new_zeros(len(image), 1 + height, self.config.state_size)
        before, last, states = blank, blank, []
        for time in range(2 * (height - 1) + width):
            rows = torch.arange(max(0, -(-(time - width + 1) // 2)), min(height, time // 2 + 1))
            columns = time - 2 * rows
            # Row i of the image is row i + 1 of a column of states.
            first, end = int(rows[0]), int(rows[-1]) + 1
            known = torch.cat([last[:, first + 1 : end + 1], before[:, first:end], last[:, first:end]], dim=2)
            state = self.step.cell(known, seen[:, rows, columns], rows, columns)
            states.append(state)
            before, last = last, F.pad(state, (0, 0, first + 1, height - end))
        order = self._raster_order(height, width)
        logits = self.step.head(torch.cat(states, dim=1)[:, order], seen.flatten(1, 2))
        return logits.permute(0, 2, 1).reshape(len(image), self.config.levels, height, width)

    def _windows(self, image: Tensor) -> Tensor:
        """What each pixel sees of the levels around it, [N, H, W, channels]: the step's linear map as a convolution."""
        rows, columns = torch.tensor(WINDOW).T + 3
        weight = self.step.window.weight.unflatten(1, (len(WINDOW), -1)).permute(0, 2, 1)
        kernel = weight.new_zeros(*weight.shape[:2], 4, 7)
        kernel[:, :, rows, columns] = weight
        features = F.pad(self.step.features(image), (3, 3, 3, 0))
        return F.silu(F.conv2d(features, kernel, self.step.window.bias)).permute(0, 2, 3, 1)

    @staticmethod
    def _raster_order(height: int, width: int) -> Tensor:
        """Where each pixel in raster order stands in the order in which the steps visit them."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        visited = ((2 * rows + columns) * height + rows).flatten().argsort()
        return visited.argsort()


class Step(nn.Module):
    """One pixel: the graph that a sampler runs along the diagonals.

    `states` [N, 3, S] of the neighbours, zeros where there is none; `levels` [N, 22] in level/(levels−1) of the window
    and `inside` [N, 22], one where there is a pixel and zero where there is none; `row` and `column` int64 [N] →
    `state` [N, S] and `logits` [N, levels].
    """

    def __init__(self, config: PixelRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.features = LevelFeatures(config.levels)
        values = torch.arange(config.levels) / (config.levels - 1)
        self.register_buffer("table", self.features(values.view(1, 1, 1, -1))[0, :, 0].T, persistent=False)
        self.window = nn.Linear(len(WINDOW) * self.features.count, config.window_channels)
        fan_in = len(NEIGHBOURS) * config.state_size + config.window_channels
        outputs = (len(NEIGHBOURS) + 2) * config.state_size
        self.weight = nn.Parameter(torch.randn(outputs, fan_in) / math.sqrt(fan_in))
        self.row = nn.Parameter(torch.zeros(config.height, outputs))
        self.column = nn.Parameter(torch.zeros(config.width, outputs))
        self.hidden = nn.Linear(config.state_size + config.window_channels, config.head_channels)
        self.output = nn.Linear(config.head_channels, config.levels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, states: Tensor, levels: Tensor, inside: Tensor, row: Tensor, column: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Looked up: a runtime's sines may differ in the last bit with the number of pixels that share a run.
        index = (levels * (self.config.levels - 1)).round().long()
        features = self.table[index] * inside.unsqueeze(2)
        seen = F.silu(self.window(features.flatten(1)))
        state = self.cell(states.flatten(1), seen, row, column)
        return state, self.head(state, seen)

    def cell(self, states: Tensor, seen: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Σ_k softmax_k(g) · (left, above, above right, tanh(candidate)), in each coordinate; [.., 3S] → [.., S]."""
        size, ways = self.config.state_size, len(NEIGHBOURS) + 1
        known = torch.cat([states, seen], dim=-1)
        mixed = F.linear(known, self.weight)
        mixed = mixed + (self.row[row] + self.column[column]).to(mixed.dtype)
        candidate, gates = mixed.split([size, ways * size], dim=-1)
        shares = gates.unflatten(-1, (ways, size)).softmax(-2).to(mixed.dtype)
        carried = states.unflatten(-1, (ways - 1, size))
        return (shares[..., :-1, :] * carried).sum(-2) + shares[..., -1, :] * torch.tanh(candidate)

    def head(self, state: Tensor, seen: Tensor) -> Tensor:
        """Logits of the levels, [.., S] and [.., channels] → [.., levels]."""
        return self.output(F.relu(self.hidden(torch.cat([state, seen], dim=-1))))


def training_loss(model: PixelRNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 1, H, W], in nats a pixel; the network runs in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(to_input(levels, model.config.levels))
    return F.cross_entropy(logits.float(), levels[:, 0].long())


def muon_parameters(model: PixelRNN) -> list[nn.Parameter]:
    """The hidden weight matrices; the rest is left to AdamW."""
    return [model.step.weight, model.step.window.weight, model.step.hidden.weight]


def example(config: PixelRNNConfig) -> dict[str, Tensor]:
    """Inputs of the step for two pixels."""
    return {
        "states": torch.randn(2, len(NEIGHBOURS), config.state_size),
        "levels": torch.rand(2, len(WINDOW)),
        "inside": torch.ones(2, len(WINDOW)),
        "row": torch.tensor([0, 1]),
        "column": torch.tensor([1, 0]),
    }


def recurrence(config: PixelRNNConfig) -> dict[str, object]:
    """What whoever drives the step must know besides its inputs."""
    return {"state_size": config.state_size, "neighbours": NEIGHBOURS, "window": WINDOW}
