"""Autoregressive networks as people write and export them, with random weights."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import mixture
from density_training.corpus import attention, causal, reference
from density_training.corpus.case import HEIGHT, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d


class Grey(nn.Module):
    """A small stack of masked convolutions; what its logits are turned into is a function."""

    def __init__(self, levels: int = 6, channels: int = 6, after: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, channels, 5, padding=2)
        self.second = MaskedConv2d("B", channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, levels, 1)
        self.after = after

    def logits(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        return self.last(F.relu(self.second(x)))

    def forward(self, image: Tensor) -> Tensor:
        logits = self.logits(image)
        return logits if self.after is None else self.after(logits)


class MaskOfBytes(nn.Module):
    """Attention behind a masked convolution, its mask a triangle of bytes made at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedConv2d("A", 1, causal.CHANNELS, 5, padding=2)
        self.mix = nn.Conv2d(causal.CHANNELS, 3 * causal.CHANNELS, 1)
        self.head = nn.Conv2d(causal.CHANNELS, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        query, key, value = self.mix(x).flatten(2).transpose(1, 2).chunk(3, dim=2)
        pixels = x.shape[2] * x.shape[3]
        seen = torch.tril(torch.ones(pixels, pixels, dtype=torch.uint8), diagonal=-1)
        scores = (query @ key.transpose(1, 2)).masked_fill(seen == 0, -torch.inf)
        y = scores.softmax(2).masked_fill(seen == 0, 0) @ value
        return self.head(x + y.transpose(1, 2).reshape(x.shape))


class Before(nn.Module):
    """Something done to the image before a network sees it."""

    def __init__(self, before: Callable[[Tensor], Tensor], module: nn.Module) -> None:
        super().__init__()
        self.before, self.module = before, module

    def forward(self, image: Tensor, *others: Tensor) -> Tensor:
        return self.module(self.before(image), *others)


class Ordered(nn.Module):
    """Three channels in order: red, then green, then blue; logits as `view` gives them."""

    def __init__(self, levels: int, view: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.levels, self.view = levels, view
        self.first = causal.ordered_conv(3, 9, 3, sees_itself=False)
        self.last = causal.ordered_conv(9, 3 * levels, 1, sees_itself=True)

    def logits(self, image: Tensor) -> Tensor:
        """[N, levels, C, H, W]."""
        x = self.last(F.relu(self.first(image)))
        return x.view(-1, 3, self.levels, *x.shape[2:]).transpose(1, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.view(self.logits(image))


class Made(nn.Module):
    """MADE: dense layers with masks over a flat binary image."""

    def __init__(self, pixels: int, hidden: int = 32) -> None:
        super().__init__()
        order = torch.arange(pixels)
        degrees = torch.arange(hidden) % (pixels - 1)
        self.first, self.last = nn.Linear(pixels, hidden), nn.Linear(hidden, pixels)
        self.register_buffer("into", (degrees[:, None] >= order[None, :]).float())
        self.register_buffer("out", (order[:, None] > degrees[None, :]).float())

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.relu(F.linear(image, self.first.weight * self.into, self.first.bias))
        return F.linear(hidden, self.last.weight * self.out, self.last.bias)


class RowLstm(nn.Module):
    """An LSTM along the pixels of an image, each fed with the pixel before."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 8, batch_first=True)
        self.last = nn.Linear(8, levels)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(1)
        before = F.pad(pixels, (1, 0))[:, :-1, None]
        states, _ = self.lstm(before)
        logits = self.last(states)
        return logits.transpose(1, 2).reshape(-1, logits.shape[2], image.shape[2], image.shape[3])


def _mixture(name: str, channels: int, count: int) -> Case:
    """Mixtures of logistics for each pixel given those before it, of images from −1 to 1, as in PixelCNN++."""
    outputs = mixture.parameter_count(count, channels)
    module = nn.Sequential(MaskedConv2d("A", channels, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, outputs, 1))

    def numbers(images: Tensor) -> Tensor:
        head = module(images.float() / 255 * 2 - 1).double()
        return mixture.log_probability(head, images, 256).flatten(1).sum(1)

    return Case(
        name,
        (Graph(module, (torch.rand(2, channels, HEIGHT, WIDTH),)),),
        family="pixelcnn",
        shape=(channels, HEIGHT, WIDTH),
        numbers=numbers,
        sampler="wavefront",
    )


def densities() -> Iterator[Case]:
    """Networks that give a distribution for every pixel."""
    levels, grey = 6, (1, HEIGHT, WIDTH)
    image = torch.rand(2, 1, HEIGHT, WIDTH)
    plain = Grey(levels)
    numbers = reference.categorical(plain, levels)

    def case(name: str, graph: Graph, **options: Any) -> Case:
        settings = {"family": "pixelcnn", "levels": levels, "shape": grey, "numbers": numbers, "sampler": "wavefront"}
        return Case(name, (graph,), **(settings | options))

    def after(function: Callable[[Tensor], Tensor]) -> nn.Module:
        other = Grey(levels, after=function)
        other.load_state_dict(plain.state_dict())
        return other

    yield case("grey", Graph(plain, (image,)))
    yield case("grey-dynamo", Graph(plain, (image,), dynamo=True))
    yield case("grey-default", Graph(plain, (image[:1],), dynamo=True, fixed=True, external=True))
    yield case("grey-fixed", Graph(plain, (image,), fixed=True), says=("made free",))
    yield case("grey-opset-11", Graph(after(lambda x: F.softmax(x, 1)), (image,), opset=11), says=("version 11",))
    yield case("grey-opset-12", Graph(after(lambda x: x.squeeze().view(-1, levels, HEIGHT, WIDTH)), (image,), opset=12))
    yield case(
        "grey-probabilities", Graph(after(lambda x: F.softmax(x, 1)), (image,), outputs=("19",)), says=("softmax",)
    )
    yield case("grey-log-probabilities", Graph(after(lambda x: F.log_softmax(x, 1)), (image,), dynamo=True))
    yield case("grey-channels", Graph(after(lambda x: x[:, None]), (image,)))
    yield case("grey-levels-last", Graph(after(lambda x: x.permute(0, 2, 3, 1)), (image,)))
    yield case("grey-flattened", Graph(after(lambda x: x.flatten(2)), (image,), dynamo=True))
    nhwc = Before(lambda x: x.permute(0, 3, 1, 2), after(lambda x: x.permute(0, 2, 3, 1)))
    yield case("grey-channels-last", Graph(nhwc, (image.permute(0, 2, 3, 1),), inputs=("input_1",)))
    yield case("grey-no-channel", Graph(Before(lambda x: x[:, None], plain), (image[:, 0],), dynamo=True))
    whole = Before(lambda x: x.float() / (levels - 1), plain)
    yield case("grey-integers", Graph(whole, (torch.randint(0, levels, (2, 1, HEIGHT, WIDTH)),)))
    yield case("grey-bytes", Graph(whole, (torch.randint(0, levels, (2, 1, HEIGHT, WIDTH), dtype=torch.uint8),)))
    yield case(
        "grey-levels", Graph(Before(lambda x: x / (levels - 1), plain), (image,)), arguments=("--input", "levels")
    )
    signed = Grey(levels)
    yield case(
        "grey-signed",
        Graph(signed, (image,)),
        numbers=reference.categorical(signed, levels, lambda x: x.float() / (levels - 1) * 2 - 1),
    )
    half = causal.Half()
    yield case(
        "grey-half-inside",
        Graph(half, (image,)),
        levels=4,
        numbers=reference.categorical(half, 4),
        tolerance=1.0,
    )
    double = Grey(levels).double()
    yield case(
        "grey-double",
        Graph(double, (image.double(),)),
        numbers=reference.categorical(double, levels, lambda x: x.double() / (levels - 1)),
    )
    short = Grey(levels).half()
    yield case(
        "grey-half",
        Graph(short, (image.half(),)),
        numbers=reference.categorical(short, levels, lambda x: x.half() / (levels - 1)),
        tolerance=1.0,
    )
    for name, maker in (("two-stacks", causal.TwoStacks), ("dilated", causal.Dilated), ("shifted", causal.Shifted)):
        own = maker()
        yield case(f"grey-{name}", Graph(own, (image,), dynamo=True), levels=4, numbers=reference.categorical(own, 4))
    attending = attention.Attention()
    yield case(
        "grey-attention",
        Graph(attending, (image,)),
        levels=4,
        numbers=reference.categorical(attending, 4),
        sampler="wavefront",
    )
    # Cases after it keep their weights.
    with torch.random.fork_rng():
        bytes_mask = MaskOfBytes()
    yield case(
        "grey-mask-of-bytes",
        Graph(bytes_mask, (image,)),
        levels=4,
        numbers=reference.categorical(bytes_mask, 4),
        sampler="wavefront",
    )
    lstm = RowLstm(4)
    yield case(
        "grey-lstm",
        Graph(lstm, (image,), fixed=True),
        levels=4,
        numbers=reference.categorical(lstm, 4),
        sampler="wavefront",
    )


def other_densities() -> Iterator[Case]:
    """The same of two levels, of colour, and given labels."""
    levels, grey = 6, (1, HEIGHT, WIDTH)
    image = torch.rand(2, 1, HEIGHT, WIDTH)
    colour = torch.rand(2, 3, HEIGHT, WIDTH)

    def case(name: str, graph: Graph, **options: Any) -> Case:
        settings = {"family": "pixelcnn", "levels": levels, "shape": grey, "sampler": "wavefront"}
        return Case(name, (graph,), **(settings | options))

    bernoulli = causal.Bernoulli()
    yield case("binary", Graph(bernoulli, (image,)), levels=2, numbers=reference.bernoulli(bernoulli))
    yield case(
        "binary-sigmoid",
        Graph(Before(lambda x: x, nn.Sequential(bernoulli, nn.Sigmoid())), (image,), dynamo=True),
        levels=2,
        numbers=reference.bernoulli(bernoulli),
    )
    made = Made(64)
    yield case(
        "binary-made",
        Graph(made, (torch.rand(2, 64),)),
        levels=2,
        shape=(1, 8, 8),
        numbers=lambda images: reference.bernoulli(made)(images.flatten(1)),
        sampler="wavefront",
    )
    layouts = {
        "levels-first": lambda x: x,
        "channels-first": lambda x: x.transpose(1, 2),
        "joined": lambda x: x.transpose(1, 2).flatten(1, 2),
        "levels-last": lambda x: x.permute(0, 3, 4, 2, 1),
    }
    for name, view in layouts.items():
        own = Ordered(levels, view)
        yield case(
            f"colour-{name}",
            Graph(own, (colour,), dynamo=name == "joined"),
            shape=(3, HEIGHT, WIDTH),
            numbers=reference.categorical(own, levels),
        )
    mean, deviation = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])
    own = Ordered(levels, lambda x: x)

    def normalised(x: Tensor) -> Tensor:
        return (x.float() / (levels - 1) - mean[:, None, None]) / deviation[:, None, None]

    yield case(
        "colour-normalised",
        Graph(own, (colour,)),
        arguments=("--mean", "0.4,0.5,0.6", "--deviation", "0.2,0.3,0.25"),
        shape=(3, HEIGHT, WIDTH),
        numbers=reference.categorical(own, levels, normalised),
    )
    for name, channels, count in (("grey-mixture", 1, 5), ("colour-mixture", 3, 4)):
        yield _mixture(name, channels, count)
    conditional = causal.Conditional()

    def of_labels(images: Tensor) -> Tensor:
        scores = []
        for label in range(causal.CLASSES):
            logits = conditional(images.float() / 3, torch.full((len(images),), label)).double()
            scores.append(-F.cross_entropy(logits, images[:, 0], reduction="none").flatten(1).sum(1))
        return torch.stack(scores, 1)

    yield case(
        "conditional",
        Graph(conditional, (image, torch.tensor([0, 1])), inputs=("image", "y")),
        levels=4,
        numbers=of_labels,
        arguments=("--labels", "bag,shoe,shirt"),
    )
    yield case(
        "leak",
        Graph(nn.Conv2d(1, levels, 3, padding=1), (image,)),
        numbers=None,
        refused="sees its own pixel",
    )
