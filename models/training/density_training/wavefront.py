"""Drives the step of a recurrent autoregressive network over an image, along its diagonals.

The step computes a pixel (i, j) from the states of its neighbours and the levels in its window, which all have a
smaller 2i + j. So all pixels with the same 2i + j go through the step together, for all images at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from density_training.pixelrnn import NEIGHBOURS, WINDOW

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
        neighbours, window = (
            (places.unsqueeze(1) + torch.tensor(offsets)).unbind(2) for offsets in (NEIGHBOURS, WINDOW)
        )
        state, logits = step(
            states[:, *neighbours].flatten(0, 1),
            levels[:, *window].flatten(0, 1).float() * (1 / (count - 1)),
            inside[*window].repeat(images, 1),
            rows.repeat(images),
            columns.repeat(images),
        )
        states[:, *places.T] = state.view(images, len(rows), state_size)
        levels[:, *places.T] = choose(logits.view(images, len(rows), -1), rows, columns)
    return levels[:, margin:, margin:-margin].unsqueeze(1).clone()
