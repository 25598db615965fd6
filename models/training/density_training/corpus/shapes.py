"""More small causal networks as people write them: other resolutions, sequences, shared keys, labels as pictures."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH
from density_training.corpus.causal import CHANNELS, CLASSES, MaskedConv2d


class Resized(nn.Module):
    """Every way down to half the resolution and back, of which each pixel reads what is known."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.mean, self.largest = nn.AvgPool2d(2), nn.MaxPool2d(2)
        self.shuffle = nn.Conv2d(CHANNELS, 4 * CHANNELS, 1)
        self.other = nn.Conv2d(CHANNELS, CHANNELS, (1, 2), dilation=(1, 2))
        self.up = nn.ConvTranspose2d(CHANNELS, CHANNELS, (1, 3), stride=2, padding=(0, 1), output_padding=1)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        above = F.pad(x, (0, 0, 2, -1))
        nearest = F.interpolate(self.mean(above), scale_factor=2)
        shuffled = F.pixel_shuffle(self.shuffle(self.largest(above)), 2)
        every = F.pad(x[:, :, ::2, ::2], (3, 0, 1, 0))[:, :, :-1]
        back = self.up(F.elu(self.other(every[:, :, :, :-1])))
        return self.head(x + nearest[:, :, :HEIGHT] + shuffled[:, :, :HEIGHT] + back[:, :, :HEIGHT])


class AlongPixels(nn.Module):
    """Dilated convolutions along the sequence of pixels, padded before, or on both sides and cut behind."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, CHANNELS, 3)
        self.second = nn.Conv1d(CHANNELS, 2 * CHANNELS, 2, dilation=4, padding=4)
        self.third = nn.Conv1d(CHANNELS, 4, 2, dilation=WIDTH)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(F.pad(image.flatten(2), (3, 0)))[:, :, :-1]
        x = x + F.glu(self.second(x)[:, :, : HEIGHT * WIDTH], dim=1)
        x = self.third(F.pad(torch.tanh(x), (WIDTH, 0)))
        return x.view(-1, 4, HEIGHT, WIDTH)


class Joined(nn.Module):
    """Two stacks that travel as one tensor, so that layers follow each other: the vertical one sees its own row."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 3, padding=1)
        self.vertical = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, (2, 3), padding=(1, 1)) for _ in range(2))
        self.horizontal = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, (1, 2), padding=(0, 1)) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS) for _ in range(2))
        self.head = MaskedConv2d("B", CHANNELS, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        both = torch.cat([x, x], dim=1)
        for vertical, horizontal, norm in zip(self.vertical, self.horizontal, self.norms, strict=True):
            v, h = F.relu(both).chunk(2, dim=1)
            v = vertical(v)[:, :, :HEIGHT]
            h = h + torch.tanh(horizontal(h)[:, :, :, :WIDTH] + F.pad(v, (0, 0, 1, -1)))
            both = torch.cat([norm(v.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), h], dim=1)
        return self.head(both.chunk(2, dim=1)[1])


class SharedKeys(nn.Module):
    """Heads that look at the same keys in three spellings, each with a mask in another."""

    def __init__(self) -> None:
        super().__init__()
        pixels = HEIGHT * WIDTH
        self.embed, self.place = nn.Linear(1, CHANNELS), nn.Parameter(torch.randn(pixels, CHANNELS))
        self.query, self.key, self.value = (nn.Linear(CHANNELS, size) for size in (CHANNELS, 2, 2))
        self.head = nn.Linear(CHANNELS, 4)
        place = torch.arange(pixels)
        self.register_buffer("near", (place[:, None] >= place) & (place[:, None] - place < 2 * WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        x = F.pad(self.embed(image.flatten(2).transpose(1, 2)), (0, 0, 1, -1)) + self.place
        x = x + self._look(x, self._by_equation)
        x = x + self._look(x, self._by_copies)
        x = x + self._look(x, self._by_products)
        return self.head(x).transpose(1, 2).reshape(-1, 4, HEIGHT, WIDTH)

    def _look(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        query = self.query(F.normalize(x, dim=-1)).unflatten(2, (CHANNELS // 2, 2)).transpose(1, 2)
        return attend(query, self.key(x), self.value(x)).transpose(1, 2).flatten(2)

    def _by_equation(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen = torch.ones(HEIGHT * WIDTH, HEIGHT * WIDTH).tril()
        scores = torch.einsum("bhid,bjd->bhij", query, key) * seen - 1e10 * (1 - seen)
        return torch.einsum("bhij,bjd->bhid", scores.softmax(-1), value)

    def _by_copies(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (t[:, None].expand(-1, CHANNELS // 2, -1, -1) for t in (key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=self.near)

    def _by_products(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen = torch.ones(HEIGHT * WIDTH, HEIGHT * WIDTH).tril()
        scores = query @ key[:, None].transpose(-2, -1) + torch.log(seen)
        return (value[:, None].transpose(-2, -1) @ scores.softmax(-1).transpose(-2, -1)).transpose(-2, -1)


class Labelled(nn.Module):
    """A label as a picture beside the image, as factors and summands, and added where channels come last."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.picture = nn.Embedding(CLASSES, HEIGHT * WIDTH)
        self.film, self.last = nn.Embedding(CLASSES, 2 * CHANNELS), nn.Linear(CLASSES, CHANNELS)
        self.second = MaskedConv2d("B", CHANNELS + 1, CHANNELS, 3, padding=1)
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        picture = self.picture(label).view(-1, 1, HEIGHT, WIDTH)
        factor, summand = self.film(label)[:, :, None, None].chunk(2, dim=1)
        x = self.second(torch.cat([F.relu(self.first(image)), picture], dim=1))
        x = (x * factor + summand).permute(2, 3, 0, 1) + self.last(F.one_hot(label, CLASSES).float())
        return self.head(F.silu(x.permute(2, 3, 0, 1)))


class Marked(nn.Module):
    """A channel of ones that tells the image from its padding, each channel embedded by the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.first = MaskedConv2d("A", 8, CHANNELS, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(1, CHANNELS, 1, 1))
        self.head = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.pad(image, (0, 0, 0, 0, 0, 1), value=1.0)
        x = self.embed(x[..., None]).permute(0, 1, 4, 2, 3).reshape(-1, 8, HEIGHT, WIDTH)
        return self.head(F.normalize(self.first(x), dim=1) * self.gain)
