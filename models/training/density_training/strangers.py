"""Small networks as other people write and export them, for the server's command `import`.

Each is a folder with graphs, some images and what PyTorch says of them; `cases.json` says how each is imported and what
has to come of it. Weights are random. Of the same few networks there are many exports: both exporters, old operators,
fixed batches, other orders of axes, other units, other precisions, outputs that nobody needs.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import foreign, mixture
from density_training.foreign import MaskedConv2d
from density_training.version import drop_metadata

HEIGHT, WIDTH = foreign.HEIGHT, foreign.WIDTH
SIDE, LATENT, CLASSES = 8, 5, 4
Numbers = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Graph:
    """One file of a case: a module, an example of what it takes, and how it is exported."""

    module: nn.Module
    example: tuple[Tensor, ...]
    file: str = "model.onnx"
    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ("output",)
    dynamo: bool = False
    opset: int | None = None
    fixed: bool = False
    external: bool = False


@dataclass(frozen=True)
class Case:
    """What is imported, and what has to come of it."""

    name: str
    graphs: tuple[Graph, ...]
    family: str
    arguments: tuple[str, ...] = ()
    levels: int = 256
    shape: tuple[int, int, int] = (1, SIDE, SIDE)
    numbers: Numbers | None = None
    sampler: str | None = None
    says: tuple[str, ...] = ()
    refused: str | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Expected:
    """A line of `cases.json`."""

    name: str
    graphs: list[str]
    arguments: list[str]
    family: str
    golden: bool
    scored: bool
    tolerance: float
    sampler: str | None = None
    says: list[str] = field(default_factory=list)
    refused: str | None = None


def write_strangers(folder: Path, cases: Iterable[Case]) -> None:
    """Write `<case>/…` for every case, and `cases.json`."""
    expected = []
    for case in cases:
        own = folder / case.name
        own.mkdir(parents=True, exist_ok=True)
        for graph in case.graphs:
            _export(graph, own / graph.file)
        images = _images(case)
        if case.numbers is not None:
            np.save(own / "images.npy", images.permute(0, 2, 3, 1).numpy().astype(np.uint8))
            with torch.no_grad():
                np.save(own / "numbers.npy", case.numbers(images).double().numpy())
        line = Expected(
            name=case.name,
            graphs=[graph.file for graph in case.graphs],
            arguments=list(case.arguments),
            family=case.family,
            golden=case.numbers is not None,
            scored=case.family == "pixelcnn" and case.numbers is not None,
            tolerance=case.tolerance,
            sampler=case.sampler,
            says=list(case.says),
            refused=case.refused,
        )
        expected.append({key: value for key, value in asdict(line).items() if value not in (None, [])})
    (folder / "cases.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def _images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, case.levels, (3, *case.shape), generator=generator)


def _export(graph: Graph, path: Path) -> None:
    module = graph.module.eval()
    example = graph.example
    # An exporter that is given no names counts; none can be told to.
    names = {f"output_{name}" if name.isdigit() else name: name for name in graph.outputs}
    options: dict[str, Any] = {}
    if not graph.fixed:
        if graph.dynamo:
            options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in example)
        else:
            options["dynamic_axes"] = {name: {0: "batch"} for name in (*graph.inputs, *names)}
    if graph.opset is not None:
        options["opset_version"] = graph.opset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=graph.dynamo,
            input_names=list(graph.inputs),
            output_names=list(names),
            verbose=False,
            **({"external_data": graph.external} if graph.dynamo else {}),
            **options,
        )
    model = onnx.load(path)
    drop_metadata(model)
    for value in [*model.graph.output, *model.graph.node]:
        if isinstance(value, onnx.NodeProto):
            value.output[:] = [names.get(name, name) for name in value.output]
            value.input[:] = [names.get(name, name) for name in value.input]
        else:
            value.name = names.get(value.name, value.name)
    if graph.external:
        beside = path.with_suffix(".onnx.data")
        beside.unlink(missing_ok=True)
        onnx.convert_model_to_external_data(model, location=beside.name, size_threshold=64)
        onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
    path.write_bytes(model.SerializeToString(deterministic=True))


# Densities.


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
        self.first = MaskedConv2d("A", 1, foreign.CHANNELS, 5, padding=2)
        self.mix = nn.Conv2d(foreign.CHANNELS, 3 * foreign.CHANNELS, 1)
        self.head = nn.Conv2d(foreign.CHANNELS, 4, 1)

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
        self.first = foreign.ordered_conv(3, 9, 3, sees_itself=False)
        self.last = foreign.ordered_conv(9, 3 * levels, 1, sees_itself=True)

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


def _categorical(module: Any, levels: int, before: Callable[[Tensor], Tensor] | None = None) -> Numbers:
    """Log-likelihoods in nats by a network's logits, [N, levels, (C,) H, W]."""
    scaled = before or (lambda image: image.float() / (levels - 1))

    def numbers(images: Tensor) -> Tensor:
        logits = module.logits(scaled(images)) if hasattr(module, "logits") else module(scaled(images))
        target = images if logits.dim() == 5 else images[:, 0]
        return -F.cross_entropy(logits.double(), target, reduction="none").flatten(1).sum(1)

    return numbers


def _bernoulli(module: nn.Module) -> Numbers:
    def numbers(images: Tensor) -> Tensor:
        logits = module(images.float()).double()
        return -F.binary_cross_entropy_with_logits(logits, images.double(), reduction="none").flatten(1).sum(1)

    return numbers


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
    numbers = _categorical(plain, levels)

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
        numbers=_categorical(signed, levels, lambda x: x.float() / (levels - 1) * 2 - 1),
    )
    half = foreign.Half()
    yield case(
        "grey-half-inside",
        Graph(half, (image,)),
        levels=4,
        numbers=_categorical(half, 4),
        tolerance=1.0,
    )
    double = Grey(levels).double()
    yield case(
        "grey-double",
        Graph(double, (image.double(),)),
        numbers=_categorical(double, levels, lambda x: x.double() / (levels - 1)),
    )
    short = Grey(levels).half()
    yield case(
        "grey-half",
        Graph(short, (image.half(),)),
        numbers=_categorical(short, levels, lambda x: x.half() / (levels - 1)),
        tolerance=1.0,
    )
    for name, maker in (("two-stacks", foreign.TwoStacks), ("dilated", foreign.Dilated), ("shifted", foreign.Shifted)):
        own = maker()
        yield case(f"grey-{name}", Graph(own, (image,), dynamo=True), levels=4, numbers=_categorical(own, 4))
    attention = foreign.Attention()
    yield case(
        "grey-attention",
        Graph(attention, (image,)),
        levels=4,
        numbers=_categorical(attention, 4),
        sampler="wavefront",
    )
    # Cases after it keep their weights.
    with torch.random.fork_rng():
        bytes_mask = MaskOfBytes()
    yield case(
        "grey-mask-of-bytes",
        Graph(bytes_mask, (image,)),
        levels=4,
        numbers=_categorical(bytes_mask, 4),
        sampler="wavefront",
    )
    lstm = RowLstm(4)
    yield case(
        "grey-lstm",
        Graph(lstm, (image,), fixed=True),
        levels=4,
        numbers=_categorical(lstm, 4),
        sampler="fixed-point",
    )


def other_densities() -> Iterator[Case]:
    """The same of two levels, of colour, and given labels."""
    levels, grey = 6, (1, HEIGHT, WIDTH)
    image = torch.rand(2, 1, HEIGHT, WIDTH)
    colour = torch.rand(2, 3, HEIGHT, WIDTH)

    def case(name: str, graph: Graph, **options: Any) -> Case:
        settings = {"family": "pixelcnn", "levels": levels, "shape": grey, "sampler": "wavefront"}
        return Case(name, (graph,), **(settings | options))

    bernoulli = foreign.Bernoulli()
    yield case("binary", Graph(bernoulli, (image,)), levels=2, numbers=_bernoulli(bernoulli))
    yield case(
        "binary-sigmoid",
        Graph(Before(lambda x: x, nn.Sequential(bernoulli, nn.Sigmoid())), (image,), dynamo=True),
        levels=2,
        numbers=_bernoulli(bernoulli),
    )
    made = Made(64)
    yield case(
        "binary-made",
        Graph(made, (torch.rand(2, 64),)),
        levels=2,
        shape=(1, 8, 8),
        numbers=lambda images: _bernoulli(made)(images.flatten(1)),
        sampler="fixed-point",
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
            numbers=_categorical(own, levels),
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
        numbers=_categorical(own, levels, normalised),
    )
    for name, channels, count in (("grey-mixture", 1, 5), ("colour-mixture", 3, 4)):
        yield _mixture(name, channels, count)
    conditional = foreign.Conditional()

    def of_labels(images: Tensor) -> Tensor:
        scores = []
        for label in range(foreign.CLASSES):
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


# Pairs.


class Encoder(nn.Module):
    """An image to one or two rows of numbers, or to whatever `after` makes of mean and log-variance."""

    def __init__(self, after: Callable[[Tensor, Tensor], Any], channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.mean, self.spread = nn.Linear(4 * 16, LATENT), nn.Linear(4 * 16, LATENT)
        self.after = after

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.conv(image)).flatten(1)
        return self.mean(x), self.spread(x) - 1

    def forward(self, image: Tensor) -> Any:
        return self.after(*self.posterior(image))


class Decoder(nn.Module):
    """A code to a picture, up-sampled; and perhaps its log-scale."""

    def __init__(self, last: nn.Module, *, scale: Callable[[Tensor], Tensor] | None = None, channels: int = 1) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, 4 * 16)
        self.up = nn.ConvTranspose2d(4, 2 * channels, 4, stride=2, padding=1)
        self.last, self.scale, self.channels = last, scale, channels

    def both(self, code: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(F.relu(self.first(code)).view(-1, 4, 4, 4))
        return self.last(x[:, : self.channels]), x[:, self.channels :] - 2

    def forward(self, code: Tensor) -> Any:
        mean, log_scale = self.both(code)
        return mean if self.scale is None else (mean, self.scale(log_scale))


def _bound(encoder: Encoder, decoder: Decoder) -> Numbers:
    """log p(x | z = mean) − KL in nats, of a discretised logistic distribution of 256 levels."""

    def numbers(images: Tensor) -> Tensor:
        mean, log_variance = (x.double() for x in encoder.posterior(images.float() / 255))
        picture, log_scale = (x.double() for x in decoder.both(mean.float()))
        x = images.double() / 255
        upper = torch.sigmoid((x + 0.5 / 255 - picture) * torch.exp(-log_scale))
        lower = torch.sigmoid((x - 0.5 / 255 - picture) * torch.exp(-log_scale))
        upper = torch.where(images == 255, torch.ones_like(upper), upper)
        lower = torch.where(images == 0, torch.zeros_like(lower), lower)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return (upper - lower).clamp_min(1e-300).log().flatten(1).sum(1) - kl

    return numbers


def _sampled(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, log-variance and a code, here without a draw."""
    return mean, log_variance, mean + torch.exp(0.5 * log_variance)


def pairs() -> Iterator[Case]:
    """VAEs and autoencoders."""
    image, code = torch.rand(2, 1, SIDE, SIDE), torch.randn(2, LATENT)
    kinds: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[str, ...]]] = {
        "log-variance": (lambda m, v: (m, v), ("mu", "logvar")),
        "deviation": (lambda m, v: (m, torch.exp(0.5 * v)), ("mu", "sigma")),
        "log-deviation": (lambda m, v: (m, 0.5 * v), ("mean", "log_std")),
        "variance": (lambda m, v: (m, torch.exp(v)), ("mean", "variance")),
        "joined": (lambda m, v: torch.cat([m, v], 1), ("output",)),
        "with-code": (_sampled, ("mu", "log_var", "z")),
        "nameless": (lambda m, v: (m, v), ("19", "21")),
    }
    scales: dict[str, Callable[[Tensor], Tensor]] = {"deviation": torch.exp}
    for number, (kind, (after, names)) in enumerate(kinds.items()):
        encoder = Encoder(after)
        decoder = Decoder(nn.Sigmoid(), scale=scales.get(kind, lambda x: x))
        yield Case(
            f"vae-{kind}",
            (
                Graph(encoder, (image,), "encoder.onnx", outputs=names, dynamo=number % 2 == 1),
                Graph(decoder, (code,), "decoder.onnx", ("z",), ("x_mean", "x_scale"), dynamo=number % 2 == 0),
            ),
            family="vae",
            numbers=_bound(encoder, decoder),
        )
    for name, last, fixed in (
        ("sigmoid", nn.Sigmoid(), False),
        ("tanh", nn.Tanh(), False),
        ("fixed", nn.Sigmoid(), True),
    ):
        encoder, decoder = Encoder(lambda m, _: m), Decoder(last)
        signed = name == "tanh"

        def error(images: Tensor, e: Encoder = encoder, d: Decoder = decoder, signed: bool = signed) -> Tensor:
            x = images.float() / 255
            picture = d(e(x * 2 - 1 if signed else x))
            picture = (picture + 1) / 2 if signed else picture
            return ((picture - x).double() ** 2).flatten(1).sum(1)

        yield Case(
            f"autoencoder-{name}",
            (
                Graph(encoder, (image,), "encoder.onnx", fixed=fixed),
                Graph(decoder, (code,), "decoder.onnx", ("input",), fixed=fixed),
            ),
            family="autoencoder",
            numbers=error,
        )


# Generators.


class Labelled(nn.Module):
    """A generator that is given labels beside codes."""

    def __init__(self, *, one_hot: bool) -> None:
        super().__init__()
        self.one_hot = one_hot
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.linear = nn.Linear(CLASSES, LATENT)
        self.decoder = Decoder(nn.Tanh())

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        return self.decoder(code + (self.linear(label) if self.one_hot else self.embedding(label)))


def generators() -> Iterator[Case]:
    """Networks from codes to pictures."""
    code = torch.randn(2, LATENT)
    wide = Before(lambda z: z.flatten(1), Decoder(nn.Tanh(), channels=3))
    yield Case(
        "gan-dcgan", (Graph(wide, (code[:, :, None, None],), inputs=("noise",)),), family="gan", says=("tangents",)
    )
    yield Case(
        "gan-sigmoid",
        (Graph(Decoder(nn.Sigmoid()), (code,), inputs=("z",), dynamo=True),),
        family="gan",
        arguments=("--family", "gan"),
    )
    flat = nn.Sequential(nn.Linear(LATENT, 16), nn.ReLU(), nn.Linear(16, SIDE * SIDE), nn.Tanh())
    yield Case("gan-flat", (Graph(flat, (code,), inputs=("z",), fixed=True),), family="gan")
    label = torch.tensor([0, 3])
    yield Case(
        "gan-labels",
        (Graph(Labelled(one_hot=False), (code, label), inputs=("z", "label")),),
        family="gan",
        arguments=("--labels", "a,b,c,d"),
    )
    yield Case(
        "gan-one-hot",
        (Graph(Labelled(one_hot=True), (code, F.one_hot(label, CLASSES).float()), inputs=("z", "label"), dynamo=True),),
        family="gan",
    )
    random = Decoder(nn.Sequential(nn.Sigmoid(), Noise()))
    yield Case("gan-random", (Graph(random, (code,), inputs=("z",)),), family="gan", refused="random")


class Noise(nn.Module):
    """A draw inside a network."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.rand_like(x)


# Classifiers.


class Classifier(nn.Module):
    """Convolution, pooling, a linear layer; and whatever `after` makes of features and logits."""

    def __init__(self, after: Callable[[Tensor, Tensor], Any], labels: int = CLASSES, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Linear(6, labels)
        self.after = after

    def both(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.norm(self.conv(image)))
        features = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return features, 4 * self.last(features)

    def forward(self, image: Tensor) -> Any:
        return self.after(*self.both(image))


def classifiers() -> Iterator[Case]:
    """Networks that tell labels apart."""
    image = torch.rand(2, 3, SIDE, SIDE)

    def posterior(module: Classifier, before: Callable[[Tensor], Tensor] = lambda x: x) -> Numbers:
        def numbers(images: Tensor) -> Tensor:
            logits = module.both(before(images.float() / 255))[1].double()
            if logits.shape[1] == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            return F.log_softmax(logits, 1)

        return numbers

    kinds: dict[str, tuple[Callable[[Tensor, Tensor], Any], int, tuple[str, ...]]] = {
        "logits": (lambda _, x: x, CLASSES, ("logits",)),
        "softmax": (lambda _, x: F.softmax(x, 1), CLASSES, ("output",)),
        "log-softmax": (lambda _, x: F.log_softmax(x, 1), CLASSES, ("output",)),
        "one-logit": (lambda _, x: x, 1, ("output",)),
        "one-sigmoid": (lambda _, x: torch.sigmoid(x).squeeze(1), 1, ("output",)),
        "features": (lambda f, x: (f, x), CLASSES, ("embedding", "logits")),
        "loss": (lambda _, x: (x, x.mean()), CLASSES, ("logits", "loss")),
    }
    for number, (kind, (after, labels, names)) in enumerate(kinds.items()):
        module = Classifier(after, labels).eval()
        dynamic = kind != "loss"
        yield Case(
            f"classifier-{kind}",
            (Graph(module, (image,), outputs=names, dynamo=number % 2 == 1, fixed=not dynamic),),
            family="classifier",
            shape=(3, SIDE, SIDE),
            numbers=posterior(module),
            arguments=("--family", "classifier") if labels > 1 and kind in ("logits", "features", "loss") else (),
        )
    module = Classifier(lambda _, x: x).eval()
    last = Before(lambda x: x.permute(0, 3, 1, 2), module)
    yield Case(
        "classifier-channels-last",
        (Graph(last, (image.permute(0, 2, 3, 1),)),),
        family="classifier",
        shape=(3, SIDE, SIDE),
        numbers=posterior(module),
        arguments=("--family", "classifier"),
    )
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    yield Case(
        "classifier-imagenet",
        (Graph(module, (image,), dynamo=True),),
        family="classifier",
        shape=(3, SIDE, SIDE),
        numbers=posterior(module, lambda x: (x - mean[:, None, None]) / deviation[:, None, None]),
        arguments=("--family", "classifier", "--input", "imagenet"),
    )
    many = Classifier(lambda _, x: torch.sigmoid(x)).eval()
    yield Case(
        "classifier-many",
        (Graph(many, (image,)),),
        family="classifier",
        shape=(3, SIDE, SIDE),
        refused="labels that do not compete",
    )
    batched = Before(lambda x: x / x.amax(), Classifier(lambda _, x: x))
    yield Case(
        "classifier-batch-statistics",
        (Graph(batched, (image,)),),
        family="classifier",
        shape=(3, SIDE, SIDE),
        arguments=("--family", "classifier"),
        refused="depends on the batch",
    )
    for name, place in (("rows", 0), ("maps", 1)):
        encoder = Backbone(place)

        def summary(images: Tensor, encoder: Backbone = encoder) -> Tensor:
            features = encoder(images.float() / 255).double().flatten(1)
            return torch.stack([features.mean(1), (features**2).mean(1).sqrt()], 1)

        yield Case(
            f"encoder-{name}",
            (Graph(encoder, (image,), dynamo=place == 1),),
            family="encoder",
            shape=(3, SIDE, SIDE),
            numbers=summary,
            arguments=("--family", "encoder") if name == "rows" else (),
        )


class Backbone(nn.Module):
    """Features of an image: a row of numbers, or maps of them."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.conv, self.place = nn.Conv2d(3, 6, 3, stride=2, padding=1), place

    def forward(self, image: Tensor) -> Tensor:
        maps = F.relu(self.conv(image))
        return (maps.mean((2, 3)), maps)[self.place]


# Heads of decoders, whole autoencoders, parts.


class Whole(nn.Module):
    """Encoder and decoder in one graph, with or without the draw between them."""

    def __init__(self, decoder: Decoder, after: Callable[..., Any], *, draws: bool = True) -> None:
        super().__init__()
        self.encoder, self.decoder, self.after, self.draws = Encoder(lambda m, _: m), decoder, after, draws

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = self.encoder.posterior(image)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.draws else mean
        return self.after(self.decoder(code), image, mean, log_variance)


class Softened(Whole):
    """A code that is drawn otherwise than from a Gaussian."""

    def forward(self, image: Tensor) -> Any:
        mean, _ = self.encoder.posterior(image)
        return self.decoder(F.softmax(mean - torch.log(-torch.log(torch.rand_like(mean) + 1e-7)), dim=-1))


class OfLabels(nn.Module):
    """A network that sees a label beside its image or code."""

    def __init__(self, module: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.label, self.size = module, nn.Linear(CLASSES, math.prod(size)), size

    def forward(self, x: Tensor, label: Tensor) -> Any:
        return self.module(x + self.label(label).view(-1, *self.size))


def _errors(encoder: Encoder, decoder: Decoder, *, signed: bool = False) -> Numbers:
    """Σ (reconstruction − image)² in units of level / 255."""

    def numbers(images: Tensor) -> Tensor:
        x = images.float() / 255
        picture = decoder(encoder.posterior(x * 2 - 1 if signed else x)[0])
        picture = (picture + 1) / 2 if signed else picture
        return ((picture - x).double() ** 2).flatten(1).sum(1)

    return numbers


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def _binary_bound(encoder: Encoder, decoder: Decoder) -> Numbers:
    """log p(x | z = mean) − KL in nats, of a Bernoulli distribution; the decoder's last layer is left out."""

    def numbers(images: Tensor) -> Tensor:
        mean, log_variance = encoder.posterior(images.float())
        logits = decoder.both(mean)[0]
        if isinstance(decoder.last, nn.Sigmoid):
            logits = torch.logit(logits.double())
        rate = -F.binary_cross_entropy_with_logits(logits.double(), images.double(), reduction="none")
        return rate.flatten(1).sum(1) - _kl(mean.double(), log_variance.double())

    return numbers


def _gaussian_bound(encoder: Encoder, decoder: Decoder, sigma: float | None) -> Numbers:
    """log p(x | z = mean) − KL in nats, of a normal density that is integrated over the bin of each of 256 levels."""

    def numbers(images: Tensor) -> Tensor:
        mean, log_variance = (x.double() for x in encoder.posterior(images.float() / 255))
        picture, log_scale = (x.double() for x in decoder.both(mean.float()))
        deviation = log_scale.exp() if sigma is None else torch.full_like(picture, sigma)
        x = images.double() / 255
        upper = torch.special.ndtr((x + 0.5 / 255 - picture) / deviation)
        lower = torch.special.ndtr((x - 0.5 / 255 - picture) / deviation)
        upper = torch.where(images == 255, torch.ones_like(upper), upper)
        lower = torch.where(images == 0, torch.zeros_like(lower), lower)
        return (upper - lower).clamp_min(1e-300).log().flatten(1).sum(1) - _kl(mean, log_variance)

    return numbers


def wholes() -> Iterator[Case]:
    """Autoencoders as `model(image)` gives them, in one graph."""
    image = torch.rand(2, 1, SIDE, SIDE)
    parted = ("parted at the code",)
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, _, mean, spread: (picture, mean, spread))
    graph = Graph(model, (image,), outputs=("19", "21", "23"))
    errors = _errors(model.encoder, model.decoder)
    yield Case("whole-vae", (graph,), family="vae", numbers=errors, says=(*parted, "no likelihood"))
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, *_: picture)
    errors = _errors(model.encoder, model.decoder)
    yield Case("whole-vae-picture", (Graph(model, (image,), dynamo=True),), family="vae", numbers=errors, says=parted)
    model = Whole(Decoder(nn.Tanh()), lambda *all_of_them: all_of_them, draws=False)
    names = ("recons", "input", "mu", "log_var")
    yield Case(
        "whole-vae-at-mean",
        (Graph(model, (image,), outputs=names, fixed=True),),
        family="vae",
        numbers=_errors(model.encoder, model.decoder, signed=True),
        says=parted,
    )
    model = Whole(Decoder(nn.Identity()), lambda picture, _, mean, spread: (picture, mean, spread))
    yield Case(
        "whole-vae-log-odds",
        (Graph(model, (image,), outputs=("logits", "mu", "logvar"), dynamo=True),),
        family="vae",
        arguments=("--levels", "2"),
        levels=2,
        numbers=_binary_bound(model.encoder, model.decoder),
        says=("Bernoulli",),
    )
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, *_: picture, draws=False)
    errors = _errors(model.encoder, model.decoder)
    yield Case("whole-autoencoder", (Graph(model, (image,)),), family="autoencoder", numbers=errors, says=parted)
    model = Softened(Decoder(nn.Sigmoid()), lambda picture, *_: picture)
    yield Case("whole-softened", (Graph(model, (image,)),), family="vae", refused="not as mean + deviation")


def parts() -> Iterator[Case]:
    """VAEs whose decoders are trained otherwise, and halves of VAEs."""
    image, code, label = torch.rand(2, 1, SIDE, SIDE), torch.randn(2, LATENT), F.one_hot(torch.tensor([0, 2]), CLASSES)

    def pair(encoder: nn.Module, decoder: nn.Module, outputs: tuple[str, ...] = ("x",)) -> tuple[Graph, ...]:
        return (
            Graph(encoder, (image,), "encoder.onnx", outputs=("mu", "log_var"), dynamo=True),
            Graph(decoder, (code,), "decoder.onnx", ("z",), outputs),
        )

    def halves(last: nn.Module, scale: Callable[[Tensor], Tensor] | None = None) -> tuple[Encoder, Decoder]:
        return Encoder(lambda m, v: (m, v)), Decoder(last, scale=scale)

    own = halves(nn.Sigmoid())
    yield Case("vae-sigmoid", pair(*own), family="vae", numbers=_errors(*own), says=("no likelihood",))
    own = halves(nn.Sigmoid())
    yield Case(
        "vae-binary",
        pair(*own),
        family="vae",
        arguments=("--levels", "2"),
        levels=2,
        numbers=_binary_bound(*own),
        says=("sigmoid is taken off",),
    )
    own = halves(nn.Sigmoid())
    numbers = _gaussian_bound(*own, 0.25)
    yield Case(
        "vae-declared", pair(*own), family="vae", arguments=("--sigma", "0.25"), numbers=numbers, says=("Gaussian",)
    )
    for name, scale in (("x_std", torch.exp), ("x_logvar", lambda v: 2 * v)):
        own = halves(nn.Sigmoid(), scale)
        graphs = pair(*own, ("x_mean", name))
        yield Case(
            f"vae-gaussian-{name[2:]}", graphs, family="vae", numbers=_gaussian_bound(*own, None), says=("Gaussian",)
        )
    own = halves(nn.Sigmoid())
    only = "golden images"
    yield Case("decoder", pair(*own)[1:], family="vae", says=(only,))
    own = halves(nn.Sigmoid(), lambda v: v)
    yield Case("decoder-located", pair(*own, ("x_mean", "x_log_scale"))[1:], family="vae", says=(only,))
    own = halves(nn.Sigmoid())
    yield Case("encoder", pair(*own)[:1], family="vae")
    own = halves(nn.Sigmoid())
    seen = (OfLabels(own[0], (1, SIDE, SIDE)), OfLabels(own[1], (LATENT,)))
    yield Case(
        "conditional-vae",
        (
            Graph(seen[0], (image, label.float()), "encoder.onnx", ("x", "y"), ("mu", "log_var")),
            Graph(seen[1], (code, label.float()), "decoder.onnx", ("z", "y"), ("x",)),
        ),
        family="vae",
        says=("only the decoder is",),
    )


# What networks of strangers taught.


class Spread(nn.Module):
    """A label that is spread over the image and convolved, as conditional PixelCNNs are often written."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.label = nn.Linear(CLASSES, HEIGHT * WIDTH)
        self.first, self.second = MaskedConv2d("A", 1, 6, 5, padding=2), MaskedConv2d("B", 6, 6, 3, padding=1)
        self.beside = nn.ModuleList(nn.Conv2d(1, 6, 1) for _ in range(2))
        self.head = nn.Conv2d(6, levels, 1)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        plane = self.label(label).view(-1, 1, HEIGHT, WIDTH)
        x = torch.tanh(self.first(image) + self.beside[0](plane))
        return self.head(torch.tanh(self.second(x)) * torch.sigmoid(self.beside[1](plane)))


class Sized(Whole):
    """A draw of which the exporter writes the size down."""

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = self.encoder.posterior(image)
        return self.decoder(mean + log_variance.mul(0.5).exp() * torch.randn(*mean.size())), mean, log_variance


def lessons() -> Iterator[Case]:
    """A small equivalent of each public network that was not understood."""
    image, small = torch.rand(2, 1, HEIGHT, WIDTH), torch.rand(2, 1, SIDE, SIDE)
    label, shape = F.one_hot(torch.tensor([0, 2]), CLASSES).float(), (1, HEIGHT, WIDTH)
    spread = Spread(4)

    def of_labels(images: Tensor) -> Tensor:
        scores = []
        for one in torch.eye(CLASSES):
            logits = spread(images.float() / 3, one.expand(len(images), CLASSES)).double()
            scores.append(-F.cross_entropy(logits, images[:, 0], reduction="none").flatten(1).sum(1))
        return torch.stack(scores, 1)

    yield Case(
        "conditional-spread",
        (Graph(spread, (image, label), inputs=("x", "h"), fixed=True),),
        family="pixelcnn",
        levels=4,
        shape=shape,
        numbers=of_labels,
        sampler="wavefront",
        says=("kept as a table",),
    )
    coordinates = foreign.Coordinates()
    yield Case(
        "grey-expanded",
        (Graph(coordinates, (image,), fixed=True),),
        family="pixelcnn",
        levels=4,
        shape=shape,
        numbers=_categorical(coordinates, 4),
        sampler="wavefront",
        says=("made free",),
    )
    model = Sized(Decoder(nn.Sigmoid()), lambda *_: None)
    errors = _errors(model.encoder, model.decoder)
    yield Case("whole-vae-sized", (Graph(model, (small,), fixed=True),), family="vae", numbers=errors)
    encoder = Encoder(lambda m, v: (m, v))
    yield Case("encoder-nameless", (Graph(encoder, (small,), outputs=("52", "53")),), family="vae")


def cases() -> Iterator[Case]:
    """All of them; random weights from a fixed seed, larger than they are at the start of training."""
    for seed, makers in enumerate((densities, other_densities, pairs, generators, classifiers, wholes, parts, lessons)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield from makers()
