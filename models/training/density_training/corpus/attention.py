"""Small causal networks with attention, written as people write them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH
from density_training.corpus.causal import CHANNELS, MaskedConv2d


class Attention(nn.Module):
    """A masked convolution, then causal self-attention over all pixels.

    With `leaks`, attention is not masked: every pixel sees all others.
    """

    def __init__(self, *, leaks: bool = False) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.mix = nn.Conv2d(CHANNELS, 3 * CHANNELS, 1)
        self.head = nn.Conv2d(CHANNELS, 4, 1)
        pixels = HEIGHT * WIDTH
        mask = torch.full((pixels, pixels), 0.0 if leaks else float("-inf"))
        self.register_buffer("mask", mask.triu(1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        q, k, v = self.mix(x).flatten(2).transpose(1, 2).chunk(3, dim=2)
        weights = torch.softmax(q @ k.transpose(1, 2) + self.mask, dim=2)
        y = (weights @ v).transpose(1, 2).reshape(x.shape)
        return self.head(x + y)


class Heads(nn.Module):
    """Attention of two heads between feature maps; with `before`, to the pixels before only, and to what they are."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.query = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.rest = nn.Conv2d(CHANNELS + before, 2 * CHANNELS, 1)
        self.join = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        def heads(t: Tensor) -> Tensor:
            return t.view(t.shape[0], 2, CHANNELS // 2, HEIGHT * WIDTH).transpose(2, 3)

        query = heads(self.query(x))
        key, value = map(heads, self.rest(torch.cat([x, image], 1) if self.before else x).chunk(2, dim=1))
        hidden = torch.ones(HEIGHT * WIDTH, HEIGHT * WIDTH).tril(-int(self.before)) == 0
        scores = query @ key.transpose(2, 3) / (CHANNELS // 2) ** 0.5
        weights = scores.masked_fill(hidden, -torch.inf).softmax(3).masked_fill(hidden, 0)
        return self.join((weights @ value).transpose(2, 3).reshape(x.shape))


class Snail(nn.Module):
    """Masked convolutions, and attention to the pixels before, then to those and the pixel itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.outer, self.inner = Heads(before=True), Heads(before=False)
        self.second = MaskedConv2d("B", CHANNELS, CHANNELS, 3, padding=1)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        x = x + self.outer(x, image)
        x = x + F.relu(self.second(x))
        return self.head(x + self.inner(x, image))


class Transformer(nn.Module):
    """A sequence of pixels behind a first token, with embedded places, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        pixels = HEIGHT * WIDTH
        self.embed = nn.Linear(1, CHANNELS)
        self.start = nn.Parameter(torch.randn(1, 1, CHANNELS))
        self.place = nn.Parameter(torch.randn(pixels, CHANNELS))
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(CHANNELS, 2 * CHANNELS), nn.Linear(2 * CHANNELS, CHANNELS)
        self.head = nn.Linear(CHANNELS, 4)
        self.register_buffer("mask", torch.full((pixels, pixels), float("-inf")).triu(1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image.flatten(2).transpose(1, 2))
        x = torch.cat([self.start.expand(image.shape[0], 1, CHANNELS), x[:, :-1]], dim=1) + self.place
        y = self.norm(x)
        x = x + self.attention(y, y, y, attn_mask=self.mask, need_weights=False)[0]
        x = x + self.narrow(F.gelu(self.wide(x)))
        return self.head(x).transpose(1, 2).reshape(-1, 4, HEIGHT, WIDTH)


class LooselyMasked(nn.Module):
    """Attention to the pixels before, masked by a number that is merely low, with a mask for the first pixel."""

    def __init__(self) -> None:
        super().__init__()
        pixels = HEIGHT * WIDTH
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.query, self.key, self.value = (nn.Linear(CHANNELS, CHANNELS) for _ in range(3))
        self.head = nn.Conv2d(CHANNELS, 4, 1)
        self.register_buffer("seen", torch.ones(pixels, pixels).tril(-1))
        self.register_buffer("start", (torch.arange(pixels) > 0).float()[:, None])

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        y = x.flatten(2).transpose(1, 2)

        def heads(t: Tensor) -> Tensor:
            return t.view(t.shape[0], -1, 2, CHANNELS // 2).transpose(1, 2)

        scores = torch.einsum("bhid,bhjd->bhij", heads(self.query(y)), heads(self.key(y))) / (CHANNELS // 2) ** 0.5
        weights = scores.masked_fill(self.seen == 0, -1e4).softmax(3) * self.start
        y = torch.einsum("bhij,bhjd->bhid", weights, heads(self.value(y)))
        y = y.transpose(1, 2).reshape(x.shape[0], HEIGHT, WIDTH, CHANNELS)
        return self.head(x + y.permute(0, 3, 1, 2))


class RowsAbove(nn.Module):
    """What the rows above say of a pixel, [N, pixels, CHANNELS]: rows can then be drawn side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, CHANNELS, (2, 3))

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(F.pad(image, (1, 1, 2, 0))[:, :, :-1])
        return F.relu(x).flatten(2).transpose(1, 2)


class Biased(nn.Module):
    """Attention in a window, to whose scores each head adds what it has learnt of the distance (Shaw et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = RowsAbove()
        self.mix = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.head = nn.Linear(CHANNELS, 4)
        self.bias = nn.Parameter(torch.randn(2, (2 * HEIGHT - 1) * (2 * WIDTH - 1)))
        place = torch.arange(HEIGHT * WIDTH)
        rows, columns = place // WIDTH, place % WIDTH
        down, right = rows[:, None] - rows + HEIGHT - 1, columns[:, None] - columns + WIDTH - 1
        self.register_buffer("offset", down * (2 * WIDTH - 1) + right)
        behind = place[:, None] - place
        self.register_buffer("hidden", (behind < 0) | (behind > 2 * WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        q, k, v = (t.unflatten(2, (2, -1)).transpose(1, 2) for t in self.mix(x).chunk(3, dim=2))
        scores = q @ k.transpose(2, 3) / (CHANNELS // 2) ** 0.5 + self.bias[:, self.offset]
        weights = scores.masked_fill(self.hidden, -torch.inf).softmax(3)
        x = x + (weights @ v).transpose(1, 2).flatten(2)
        return self.head(x).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))


class Rotary(nn.Module):
    """Attention whose queries and keys are turned by their places (Su et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = RowsAbove()
        self.mix = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.head = nn.Linear(CHANNELS, 4)
        angle = torch.arange(HEIGHT * WIDTH)[:, None] / 100 ** (torch.arange(0, CHANNELS, 2) / CHANNELS)
        self.register_buffer("cos", torch.cat([angle, angle], 1).cos())
        self.register_buffer("sin", torch.cat([angle, angle], 1).sin())
        self.register_buffer("mask", torch.full((HEIGHT * WIDTH, HEIGHT * WIDTH), float("-inf")).triu(1))

    def forward(self, image: Tensor) -> Tensor:
        def turned(t: Tensor) -> Tensor:
            first, second = t.chunk(2, dim=2)
            return t * self.cos + torch.cat([-second, first], 2) * self.sin

        x = self.first(image)
        q, k, v = self.mix(x).chunk(3, dim=2)
        weights = torch.softmax(turned(q) @ turned(k).transpose(1, 2) / CHANNELS**0.5 + self.mask, dim=2)
        return self.head(x + weights @ v).transpose(1, 2).unflatten(2, (HEIGHT, WIDTH))
