"""Small causal networks that lay neighbours side by side and mask those behind, or attend along lines or in blocks."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH, Case
from density_training.corpus.causal import CHANNELS, MaskedConv2d
from density_training.corpus.reference import LEVELS, density

PIXELS, SIDE = HEIGHT * WIDTH, 3


class LinesAttended(nn.Module):
    """PyTorch's own attention along each row, then along each column: lines and heads are part of its batch."""

    rows: Tensor
    columns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.along, self.down = (nn.MultiheadAttention(CHANNELS, 2, batch_first=True) for _ in range(2))
        self.head = nn.Conv2d(CHANNELS, LEVELS, 1)
        self.register_buffer("rows", torch.full((WIDTH, WIDTH), float("-inf")).triu(1))
        self.register_buffer("columns", torch.full((HEIGHT, HEIGHT), float("-inf")).triu(1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image)).permute(0, 2, 3, 1)
        n = x.shape[0]
        y = x.reshape(n * HEIGHT, WIDTH, CHANNELS)
        x = x + self.along(y, y, y, attn_mask=self.rows, need_weights=False)[0].view(n, HEIGHT, WIDTH, CHANNELS)
        x = x.transpose(1, 2)
        y = x.reshape(n * WIDTH, HEIGHT, CHANNELS)
        x = x + self.down(y, y, y, attn_mask=self.columns, need_weights=False)[0].view(n, WIDTH, HEIGHT, CHANNELS)
        return self.head(x.permute(0, 3, 2, 1))


class BlocksAttended(nn.Module):
    """Attention of two heads within blocks of pixels, one after the other (Parmar et al. 2018), with learnt places."""

    hidden: Tensor

    def __init__(self, size: int = 14) -> None:
        super().__init__()
        self.size = size
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.place = nn.Parameter(torch.randn(size, CHANNELS))
        self.mix, self.head = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, LEVELS)
        self.register_buffer("hidden", torch.ones(size, size).tril() == 0)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image)).flatten(2).transpose(1, 2)
        blocks = x.unflatten(1, (-1, self.size)) + self.place
        q, k, v = (t.unflatten(3, (2, -1)).transpose(2, 3) for t in self.mix(blocks).chunk(3, dim=3))
        scores = (q @ k.transpose(3, 4) / (CHANNELS // 2) ** 0.5).masked_fill(self.hidden, float("-inf"))
        y = (scores.softmax(4) @ v).transpose(2, 3).flatten(3).flatten(1, 2)
        return self.head(x + y).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class NeighboursAttended(nn.Module):
    """Attention to the neighbours before a pixel and to itself (Ramachandran et al. 2019): all are laid side by side.

    `fill` is the score of those behind; with `inside`, those outside the image have it, too.
    """

    hidden: Tensor

    def __init__(self, fill: float = float("-inf"), *, inside: bool = False) -> None:
        super().__init__()
        self.fill = fill
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.query, self.key, self.value = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(3))
        self.head = nn.Conv2d(CHANNELS, LEVELS, 1)
        hidden = (torch.arange(SIDE**2) > SIDE**2 // 2)[:, None]
        outside = F.unfold(torch.ones(1, 1, HEIGHT, WIDTH), SIDE, padding=1)[0] == 0
        self.register_buffer("hidden", hidden | outside if inside else hidden)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        n = x.shape[0]
        query = self.query(x).view(n, CHANNELS, 1, PIXELS)
        key, value = (
            F.unfold(layer(x), SIDE, padding=1).view(n, CHANNELS, SIDE**2, PIXELS) for layer in (self.key, self.value)
        )
        scores = (query * key).sum(1) / CHANNELS**0.5
        weights = scores.masked_fill(self.hidden, self.fill).softmax(1)
        return self.head(x + (weights.unsqueeze(1) * value).sum(2).view_as(x))


class LocallyMaskedConv2d(nn.Module):
    """A convolution whose neighbours are masked at each place (Jain, Abbeel and Pathak 2020)."""

    mask: Tensor

    def __init__(self, kind: str, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS, inputs * SIDE**2) / 4)
        self.bias = nn.Parameter(torch.randn(CHANNELS, 1))
        places = torch.arange(1.0, 1 + PIXELS).view(1, 1, HEIGHT, WIDTH)
        near, own = F.unfold(places, SIDE, padding=1), places.flatten(2)
        seen = (near > 0) & ((near <= own) if kind == "B" else (near < own))
        self.register_buffer("mask", seen.float().repeat(1, inputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.weight @ (F.unfold(x, SIDE, padding=1) * self.mask) + self.bias
        return y.view(-1, CHANNELS, HEIGHT, WIDTH)


class LocallyMasked(nn.Module):
    """Two such convolutions, the first with a plane of ones beside the image, which tells where that ends."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = LocallyMaskedConv2d("A", 2), LocallyMaskedConv2d("B", CHANNELS)
        self.head = nn.Conv2d(CHANNELS, LEVELS, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.elu(self.first(torch.cat([image, torch.ones_like(image)], dim=1)))
        return self.head(F.elu(self.second(x)))


def cases() -> Iterator[Case]:
    """All of them are drawn along wavefronts."""
    networks: dict[str, tuple[nn.Module, bool]] = {
        "lines-attended": (LinesAttended(), True),
        "blocks-attended": (BlocksAttended(), False),
        "neighbours-attended": (NeighboursAttended(inside=True), False),
        "neighbours-attended-low": (NeighboursAttended(-1e9), True),
        "neighbours-masked": (LocallyMasked(), False),
    }
    for name, (net, dynamo) in networks.items():
        yield density(name, net.eval(), dynamo=dynamo)
