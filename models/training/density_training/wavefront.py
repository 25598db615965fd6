"""Drives the step of a recurrent autoregressive network over an image, along its diagonals.

The step computes one pixel from its neighbours at (i, j−1), (i−1, j) and (i−1, j+1). All pixels with the same 2i + j
have their neighbours behind them, so they go through the step together, for all images at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from density_training.pixelrnn import NEIGHBOURS

StepGraph = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`states`, `levels`, `inside`, `row`, `column` → `state`, `logits`, as `pixelrnn.Step`."""


@torch.no_grad()
def log_likelihood(step: StepGraph, levels: Tensor, count: int, state_size: int, batch: int = 100) -> Tensor:
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
def sample(step: StepGraph, shape: tuple[int, int, int, int], count: int, state_size: int, seed: int) -> Tensor:
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
    """Visit all diagonals; `choose(logits [N, P, levels], rows [P], columns [P])` gives the levels [N, P] there."""
    images, _, height, width = shape
    # One row above and one column on either side, all zero, stand for what lies outside.
    states = torch.zeros(images, 1 + height, 1 + width + 1, state_size)
    levels = torch.zeros(images, 1 + height, 1 + width + 1, dtype=torch.uint8)
    inside = torch.zeros(1 + height, 1 + width + 1)
    inside[1:, 1:-1] = 1
    for time in tqdm(range(2 * (height - 1) + width), desc="diagonals", mininterval=5, dynamic_ncols=True):
        rows = torch.arange(max(0, -(-(time - width + 1) // 2)), min(height, time // 2 + 1))
        columns = time - 2 * rows
        down = torch.stack([rows + 1 + row for row, _ in NEIGHBOURS], dim=1)
        right = torch.stack([columns + 1 + column for _, column in NEIGHBOURS], dim=1)
        state, logits = step(
            states[:, down, right].flatten(0, 1),
            levels[:, down, right].flatten(0, 1).float() * (1 / (count - 1)),
            inside[down, right].repeat(images, 1),
            rows.repeat(images),
            columns.repeat(images),
        )
        states[:, rows + 1, columns + 1] = state.view(images, len(rows), state_size)
        levels[:, rows + 1, columns + 1] = choose(logits.view(images, len(rows), -1), rows, columns)
    return levels[:, 1:, 1:-1].unsqueeze(1).clone()
