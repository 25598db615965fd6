"""Networks as those export them who give an exporter one image and nothing else.

Sizes that Python counts become part of the graph.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import reference
from density_training.corpus.case import HEIGHT, SIDE, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d
from density_training.corpus.densities import Before, Grey
from density_training.corpus.published import Resampled
from density_training.corpus.vaes import Decoder

CHANNELS, PIXELS = 6, SIDE * SIDE


class Joined(nn.Module):
    """A layer over channels as a product of rows, of which every pixel of every image is one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, CHANNELS, 5, padding=2)
        self.rows, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image)).permute(0, 2, 3, 1)
        n, height, width, channels = (int(size) for size in x.shape)
        rows = self.rows(x.reshape(n * height * width, channels))
        return self.last(F.relu(rows.view(n, height, width, channels).permute(0, 3, 1, 2)))


class Marked(nn.Module):
    """Levels as one of many numbers: ones that are put into rows of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = MaskedConv2d("A", 4, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        level = (image * 3).round().long().reshape(-1, 1)
        marks = torch.zeros(level.shape[0], 4).scatter_(1, level, 1.0)
        return self.last(F.relu(self.first(marks.view(-1, HEIGHT, WIDTH, 4).permute(0, 3, 1, 2))))


class Placed(Grey):
    """A network that is told where each pixel is, by numbers that it makes of sizes."""

    def logits(self, image: Tensor) -> Tensor:
        n, _, height, width = image.shape
        rows = torch.arange(-0.5, 0.5, 1 / height)[None, None, :, None] + torch.zeros(n, 1, height, width)
        return super().logits(image) + self.last(torch.cat([rows, torch.tanh(self.first(image))[:, 1:]], 1))


class Second(nn.Module):
    """Attention over pixels as layers of PyTorch take them: the batch is the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.levels, self.start, self.place = nn.Embedding(4, 8), nn.Parameter(torch.randn(8)), nn.Embedding(PIXELS, 8)
        self.norm, self.mix, self.head = nn.LayerNorm(8), nn.MultiheadAttention(8, 2), nn.Linear(8, 4, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        length, n = sequence.shape
        start = torch.ones(1, n, 8) * self.start
        x = torch.cat([start, self.levels(sequence)[:-1]]) + self.place(torch.arange(length)[:, None])
        y = self.norm(x)
        later = torch.full((length, length), -torch.inf).triu(1)
        return self.head(x + self.mix(y, y, y, attn_mask=later, need_weights=False)[0])

    def numbers(self, images: Tensor) -> Tensor:
        """Log-likelihoods in nats."""
        levels = images.flatten(1)
        logits = self(levels.T).permute(1, 2, 0)
        return -F.cross_entropy(logits.double(), levels, reduction="none").sum(1)


def cases() -> Iterator[Case]:
    """All of them are served, any number of images at a time."""
    grey, small, free = torch.rand(1, 1, HEIGHT, WIDTH), torch.rand(1, 1, SIDE, SIDE), "is made free"
    joined, marked, placed = Joined(), Marked(), Placed(4)
    for name, net, dynamo in (
        ("one-image-rows", joined, False),
        ("one-image-rows-dynamo", joined, True),
        ("one-image-marks", marked, False),
        ("one-image-marks-dynamo", marked, True),
        ("one-image-places", placed, False),
    ):
        yield Case(
            name,
            (Graph(net, (grey,), dynamo=dynamo, fixed=True),),
            family="pixelcnn",
            levels=4,
            shape=(1, HEIGHT, WIDTH),
            numbers=reference.categorical(net, 4),
            sampler="passes" if net is marked else "wavefront",
            says=(free,),
        )
    whole = Resampled(Decoder(nn.Sigmoid()), lambda *_: None)
    yield Case(
        "one-image-resampled",
        (Graph(whole, (small,), fixed=True),),
        family="vae",
        numbers=reference.errors(whole.encoder, whole.decoder),
        says=("parted at the code", "taken to be standard normal"),
    )
    plain = Grey(8)
    yield Case(
        "one-image-levels",
        (Graph(Before(lambda x: (x - 3.5) / 3.5, plain), (grey,), fixed=True),),
        family="pixelcnn",
        levels=8,
        shape=(1, HEIGHT, WIDTH),
        numbers=reference.categorical(plain, 8, lambda x: (x.float() - 3.5) / 3.5),
        sampler="wavefront",
        says=("so it takes levels",),
    )
    second = Second()
    sequence = torch.zeros(PIXELS, 1, dtype=torch.long)
    for name, dynamo in (("one-image-second", False), ("one-image-second-dynamo", True)):
        yield Case(
            name,
            (Graph(second, (sequence,), dynamo=dynamo, fixed=True),),
            family="pixelcnn",
            levels=4,
            numbers=second.numbers,
            sampler="wavefront",
            says=("the batch, its second axis, is put first", free),
        )
