"""A PixelRNN: the state of each pixel depends on the states of its neighbours, and so on all pixels before them.

van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (2016), carry the state of an LSTM along
diagonals. Here the state of pixel (i, j) is a gated mean of the states at (i, j−1), (i−1, j) and (i−1, j+1) and of a
new candidate, in each coordinate: one minimal cell instead of two directions of LSTMs (a multi-dimensional form of Cho
et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014). The third neighbour lets context come in
from the upper right as well. Pixels with the same 2i + j do not depend on each other: a 28×28 image takes 82 steps of
up to 14 pixels, in training, scoring and exact sampling alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from density_training.card import (
    MUON,
    ONE_THREAD_INTERRUPTED,
    Report,
    detection_section,
    evaluation_note,
    false_alarm_rows,
    limits_section,
    table,
    training_section,
)
from density_training.data import LEVELS, Dataset, to_input
from density_training.model import Density, Exported, Loss, Trained, published_bits_per_dim
from density_training.pixelcnn import LevelFeatures
from density_training.sampling import save_grid
from density_training.scoring import log_likelihood
from density_training.training import Recipe, muon
from density_training.version import Family, Graph, Graphs, Table, Version

NEIGHBOURS = ((0, -1), (-1, 0), (-1, 1))
"""Rows and columns from a pixel to those whose states its own state is computed from."""
WINDOW = tuple((i, j) for i in range(-3, 1) for j in range(-3, 4) if 2 * i + j < 0 and (i < 0 or j < 0))
"""Rows and columns from a pixel to those whose levels it sees: 22 of the 24 before it in a 7×7 window, those with a
smaller 2i + j, which are known by then."""
SAMPLES = 32
GOAL = 0.1
"""How many bits per dimension more than fashion-mnist-pixelcnn this network was allowed to need."""


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

    table: Tensor

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


def categorical_loss(network: PixelRNN, levels: Tensor) -> Tensor:
    """Mean negative log-likelihood of uint8 images [N, 1, H, W], in nats a pixel; the network runs in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(to_input(levels, network.config.levels))
    return F.cross_entropy(logits.float(), levels[:, 0].long())


StepGraph = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`states`, `levels`, `inside`, `row`, `column` → `state`, `logits`, as `Step`."""


@torch.no_grad()
def log_likelihood_along_diagonals(
    step: StepGraph, levels: Tensor, count: int, state_size: int, batch: int = 100
) -> Tensor:
    """log p(x) in nats of grey uint8 images [N, 1, H, W], float64 [N]."""
    scores = []
    for part in levels.split(batch):
        score = torch.zeros(len(part)).double()

        def known(logits: Tensor, rows: Tensor, columns: Tensor, part: Tensor = part, score: Tensor = score) -> Tensor:
            level = part[:, 0, rows, columns]
            log_probability = logits.double().log_softmax(2).gather(2, level.long().unsqueeze(2))
            score += log_probability.sum((1, 2))
            return level

        _run(step, known, part.shape, count, state_size)
        scores.append(score)
    return torch.cat(scores)


@torch.no_grad()
def sample_along_diagonals(
    step: StepGraph, shape: tuple[int, int, int, int], count: int, state_size: int, seed: int
) -> Tensor:
    """Draw grey images, uint8 [N, 1, H, W]: exact, one pass of the step for each diagonal."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        uniform = torch.rand(logits.shape, generator=generator).clamp(1e-7, 1 - 1e-7)
        return (logits - torch.log(-torch.log(uniform))).argmax(2).byte()

    return _run(step, drawn, shape, count, state_size)


def _run(
    step: StepGraph,
    choose: Callable[[Tensor, Tensor, Tensor], Tensor],
    shape: tuple[int, int, int, int],
    count: int,
    state_size: int,
) -> Tensor:
    """Drive the step over images along their diagonals, all pixels with the same 2i + j and all images at once.

    The step computes a pixel from the states of its neighbours and the levels in its window, which all have a smaller
    2i + j. `choose(logits [N, P, levels], rows [P], columns [P])` gives the levels [N, P] there.
    """
    images, _, height, width = shape
    # A margin of zeros above and on either side stands for what lies outside.
    margin = 3
    padded = (images, margin + height, margin + width + margin)
    states = torch.zeros(*padded, state_size)
    levels = torch.zeros(padded, dtype=torch.uint8)
    inside = torch.zeros(padded[1:])
    inside[margin:, margin:-margin] = 1
    for time in tqdm(range(2 * (height - 1) + width), desc="diagonals", mininterval=5, dynamic_ncols=True):
        rows = torch.arange(max(0, -(-(time - width + 1) // 2)), min(height, time // 2 + 1))
        columns = time - 2 * rows
        places = torch.stack([rows, columns], dim=1) + margin
        near_rows, near_columns = (places.unsqueeze(1) + torch.tensor(NEIGHBOURS)).unbind(2)
        window_rows, window_columns = (places.unsqueeze(1) + torch.tensor(WINDOW)).unbind(2)
        state, logits = step(
            states[:, near_rows, near_columns].flatten(0, 1),
            levels[:, window_rows, window_columns].flatten(0, 1).float() * (1 / (count - 1)),
            inside[window_rows, window_columns].repeat(images, 1),
            rows.repeat(images),
            columns.repeat(images),
        )
        states[:, *places.T] = state.view(images, len(rows), state_size)
        levels[:, *places.T] = choose(logits.view(images, len(rows), -1), rows, columns)
    return levels[:, margin:, margin:-margin].unsqueeze(1).clone()


def muon_parameters(network: PixelRNN) -> list[Tensor]:
    """The hidden weight matrices; the rest is left to AdamW."""
    return [network.step.weight, network.step.window.weight, network.step.hidden.weight]


def example(config: PixelRNNConfig) -> tuple[Tensor, ...]:
    """Inputs of the step for two pixels."""
    return (
        torch.randn(2, len(NEIGHBOURS), config.state_size),
        torch.rand(2, len(WINDOW)),
        torch.ones(2, len(WINDOW)),
        torch.tensor([0, 1]),
        torch.tensor([1, 0]),
    )


def recurrence(config: PixelRNNConfig) -> Table:
    """What whoever drives the step must know besides its inputs."""
    return {"state_size": config.state_size, "neighbours": NEIGHBOURS, "window": WINDOW}


FAMILY = Family(
    name="pixelrnn",
    graphs={
        "step": Graph(
            "step.onnx",
            {
                "states": "states",
                "levels": "levels",
                "inside": "inside",
                "row": "row",
                "column": "column",
                "state": "state",
                "output": "logits",
            },
            outputs=("state", "logits"),
        )
    },
    score=lambda graphs, levels, manifest: log_likelihood_along_diagonals(
        graphs["step"], levels, manifest.levels, manifest.state_size
    ),
    statistic="log_likelihood",
)


@dataclass(frozen=True, kw_only=True)
class PixelRNNModel(Density[PixelRNN, PixelRNNConfig]):
    """The PixelRNN: PyTorch scores whole images, the exported step scores along diagonals, and both must agree."""

    family = FAMILY

    def build(self, config: PixelRNNConfig) -> PixelRNN:
        return PixelRNN(config)

    def loss(self, network: PixelRNN, data: Dataset) -> Loss:
        return lambda chosen, step: categorical_loss(network, data.train_images[chosen])

    def optimisers(self, network: PixelRNN) -> list[torch.optim.Optimizer]:
        return muon(network, muon_parameters(network))

    def exported(self, network: PixelRNN, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {"step": (network.step, example(network.config))}

    def torch_scores(self, network: PixelRNN, levels: Tensor) -> Tensor:
        return log_likelihood(network, levels, LEVELS)

    def save_samples(self, graphs: Graphs, version: Version, data: Dataset, path: Path) -> None:
        shape = (SAMPLES, *data.shape)
        state_size = version.interpretation.state_size
        save_grid(sample_along_diagonals(graphs["step"], shape, LEVELS, state_size, seed=0), 8, path)

    def version(self, trained: Trained[PixelRNN], data: Dataset) -> Version:
        notes = f"exported after {trained.progress.step:,} of {trained.recipe.steps:,} steps"
        return replace(super().version(trained, data), recurrence=recurrence(trained.network.config), notes=notes)

    def card(self, report: Report) -> str:
        figures, size = report.figures, report.version.interpretation.state_size
        pixelcnn = published_bits_per_dim("fashion-mnist-pixelcnn")
        excess = figures["test_score_bits_per_dim"] - pixelcnn
        measured = [
            (
                f"bits per dimension, {figures['test_images']:,} Fashion-MNIST test images",
                f"**{figures['test_score_bits_per_dim']:.4f}**",
            ),
            (f"more than fashion-mnist-pixelcnn, which needs {pixelcnn:.4f}", f"{excess:+.4f}"),
            *false_alarm_rows(figures),
        ]
        detection = detection_section(
            figures, "the log-likelihood of an image", unit="bits per dimension", statistic="−log p(x)"
        )
        return f"""{report.title}

A recurrent network that puts an **exact probability** on 28×28 grey images with 256 levels. Each pixel has a state,
computed from the states of the pixels to its left, above it and to its upper right, and from the levels around it.

![{SAMPLES} samples](samples.png)

*{SAMPLES} samples drawn from the model, temperature 1, seed 0, not selected.*

## Model
- The state of a pixel, {size} numbers, is a gated mean of its neighbours' states and of a new candidate. Gates and
  candidate are one linear map of the neighbours' states and of what a layer sees of the 22 levels before the pixel in a
  7×7 window, with a bias for each row and column. A hidden layer and a 256-way softmax predict the level.
- {report.weights}; float32; ONNX operator set 18. `step.onnx` is one pixel: inputs `states` [N, 3, {size}] of the
  neighbours at (0, −1), (−1, 0) and (−1, +1), zeros outside the image; `levels` = level / 255 of the window and
  `inside` [N, 22], zeros outside the image; `row` and `column` int64 [N]. Outputs `state` [N, {size}] and `logits`
  [N, 256]. The manifest lists the places of neighbours and window.
- Pixels with the same 2·row + column do not depend on each other: scoring and exact sampling take 82 steps an image.
- References: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel Recurrent Neural Networks* (2016).

{training_section(report, MUON, ONE_THREAD_INTERRUPTED)}
## Figures
{table(("what", "figure"), measured)}

The goal, fixed before the training, was at most {GOAL} bits per dimension more than fashion-mnist-pixelcnn: it is
{"reached" if excess <= GOAL else "missed"}.

{evaluation_note(self.command)}
{detection}
As the only gate in front of a classifier the log-likelihood would be a poor choice.

## What is not good
- It is the worse density of the two, with fewer weights and after a third of the steps. Whether more steps would close
  the gap was not tried.
- Many samples fall apart: outlines that do not close, sleeves without a body, texture like noise. It draws sneakers and
  ankle boots less than half as often as they occur, and dresses too often; the table in the card of fashion-mnist-gan
  counts them.
- One minimal cell in one direction along the diagonals stands for the two directions and several layers of LSTMs of the
  paper.

{limits_section()}"""


MODEL = PixelRNNModel(
    command="pixelrnn",
    description="PixelRNN of Fashion-MNIST: exact log-likelihoods along diagonals, 28×28 grey, 256 levels",
    recipe=Recipe(steps=4_000, decay_steps=2_500, batch_size=32),
    config=PixelRNNConfig(),
)
