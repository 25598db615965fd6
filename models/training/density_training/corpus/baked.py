"""Densities whose exports hold the size of an example's batch, in more than reshapes; and normalised colours."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH, Case, Graph
from density_training.corpus.causal import CHANNELS, MaskedConv2d, ordered_conv
from density_training.corpus.reference import DENSITY, LEVELS, categorical, of_sequences

PIXELS = HEIGHT * WIDTH


class ColoursNormalised(nn.Module):
    """Layer normalisation of each colour's features by themselves, by the same factors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ordered_conv(3, 3 * CHANNELS, 3, sees_itself=False)
        self.norm = nn.LayerNorm(CHANNELS)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.head = ordered_conv(3 * CHANNELS, 3 * LEVELS, 1, sees_itself=True)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image).permute(0, 2, 3, 1)
        x = self.norm(x.unflatten(3, (3, CHANNELS))).flatten(3).permute(0, 3, 1, 2)
        return self.head(F.relu(x)).unflatten(1, (3, LEVELS)).transpose(1, 2)


class Placed(nn.Module):
    """Coordinates that are computed for each image of the batch, beside what attention looks at."""

    hidden: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.mix, self.head = nn.Conv2d(CHANNELS + 2, 3 * CHANNELS, 1), nn.Conv2d(CHANNELS, LEVELS, 1)
        self.register_buffer("hidden", torch.ones(PIXELS, PIXELS).tril() == 0)

    def forward(self, image: Tensor) -> Tensor:
        n, _, height, width = image.shape
        rows = torch.arange(-0.5, 0.5, 1 / height)[None, None, :, None].expand(n, 1, height, width)
        columns = torch.arange(-0.5, 0.5, 1 / width)[None, None, None, :].expand(n, 1, height, width)
        x = F.relu(self.first(image))
        both = torch.cat([torch.cat([rows, columns], dim=1).to(x.dtype), x], dim=1)
        q, k, v = (t.flatten(2) for t in self.mix(both).chunk(3, dim=1))
        scores = (q.transpose(1, 2) @ k).masked_fill(self.hidden, float("-inf"))
        return self.head(x + (v @ scores.softmax(2).transpose(1, 2)).view_as(x))


class StartedSecond(nn.Module):
    """A learnt token before a sequence whose batch is the second axis: it is repeated for each image, as places are."""

    hidden: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(CHANNELS))
        self.words, self.places = nn.Embedding(LEVELS, CHANNELS), nn.Embedding(PIXELS, CHANNELS)
        self.attention, self.head = nn.MultiheadAttention(CHANNELS, 2), nn.Linear(CHANNELS, LEVELS)
        self.register_buffer("hidden", torch.full((PIXELS, PIXELS), float("-inf")).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        length, n = tokens.shape
        start = torch.ones(1, n, CHANNELS) * self.start
        x = torch.cat([start, self.words(tokens)[:-1]], dim=0)
        x = x + self.places(torch.arange(length)[:, None]).expand_as(x)
        return self.head(x + self.attention(x, x, x, attn_mask=self.hidden, need_weights=False)[0])


class RowByRow(nn.Module):
    """A gated cell that a loop takes from row to row; the state that it begins with is repeated for each image."""

    start: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.above, self.head = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, LEVELS, 1)
        self.register_buffer("start", torch.zeros(1, CHANNELS * WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        state, rows = self.start.repeat(image.shape[0], 1), []
        for row in range(HEIGHT):
            state = torch.tanh(self.above(state.view(-1, CHANNELS, WIDTH)) + x[:, :, row]).flatten(1)
            rows.append(state.view(-1, CHANNELS, WIDTH))
        return self.head(torch.stack(rows, dim=2))


class RowsForLoss(nn.Module):
    """Predictions as a loss takes them, a row for each pixel of all images: levels of each colour in order."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ordered_conv(3, 3 * CHANNELS, 3, sees_itself=False)
        self.head = ordered_conv(3 * CHANNELS, 3 * LEVELS, 1, sees_itself=True)

    def logits(self, image: Tensor) -> Tensor:
        """[N, levels, channels, rows, columns]."""
        return self.forward(image).view(-1, HEIGHT, WIDTH, 3, LEVELS).permute(0, 4, 3, 1, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(F.relu(self.first(image))).permute(0, 2, 3, 1).reshape(-1, 3 * LEVELS)


def cases() -> Iterator[Case]:
    """Each is exported as the example has it, with a batch of two."""
    two = torch.rand(2, 1, HEIGHT, WIDTH)
    colours = ColoursNormalised()
    graph = Graph(colours, (torch.rand(2, 3, HEIGHT, WIDTH),))
    shape = {"shape": (3, HEIGHT, WIDTH)}
    yield Case("colour-each-normalised", (graph,), numbers=categorical(colours, LEVELS), **(DENSITY | shape))
    placed = Placed()
    graph = Graph(placed, (two,), fixed=True)
    yield Case("baked-places", (graph,), numbers=categorical(placed, LEVELS), **DENSITY)
    started = StartedSecond()
    for name, dynamo in (("baked-start", False), ("baked-start-dynamo", True)):
        graph = Graph(started, (torch.zeros(PIXELS, 2, dtype=torch.long),), fixed=True, dynamo=dynamo)
        size = ("--size", f"{HEIGHT}x{WIDTH}")
        yield Case(name, (graph,), arguments=size, numbers=of_sequences(started), **DENSITY)
    by_row = RowByRow()
    graph = Graph(by_row, (two,), fixed=True)
    passes = {"sampler": "fixed_point"}
    yield Case("baked-state", (graph,), numbers=categorical(by_row, LEVELS), **(DENSITY | passes))
    rows = RowsForLoss()
    graph = Graph(rows, (torch.rand(2, 3, HEIGHT, WIDTH),), fixed=True)
    yield Case("colour-rows-for-loss", (graph,), numbers=categorical(rows, LEVELS), **(DENSITY | shape))
