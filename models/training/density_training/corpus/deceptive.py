"""Small networks that are other than they seem: what they give is no probability, or is not their image's alone.

Most have to be refused; who knows better can say so.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import reference
from density_training.corpus.case import HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d
from density_training.corpus.classifiers import Classifier
from density_training.corpus.densities import Grey, Ordered
from density_training.corpus.published_more import Unnamed
from density_training.corpus.vaes import Decoder

LARGE = 20


def unproven(image: Tensor) -> Tensor:
    """Nothing is added, in a way that hides what a network sees from all but trial."""
    seen = torch.softmax(image, 3)
    return seen - seen


def cases() -> Iterator[Case]:
    """Those that are refused, and those of which something is told."""
    yield from _leaks()
    yield from _company()
    yield from _units()
    code = torch.randn(2, LATENT)
    decoder = Decoder(nn.Sigmoid())
    deaf = Unnamed(lambda code: decoder(code * 0), decoder)
    says = ("makes the same picture",)
    yield Case("gan-deaf", (Graph(deaf, (code,), "generator.onnx", ("z",)),), family="gan", says=says)
    yield from _squashed()
    yield from _parameters()
    yield from _widths()
    yield from _nothing()


def _density(name: str, function: Callable[[Tensor], Tensor], net: nn.Module, image: Tensor, words: str) -> Case:
    return Case(name, (Graph(Unnamed(function, net), (image,)),), family="pixelcnn", refused=words)


def _leaks() -> Iterator[Case]:
    net, image = Ordered(4, lambda logits: logits), torch.rand(2, 3, LARGE, LARGE)
    level = torch.eye(4)[1].view(1, 4, 1, 1, 1)
    # One dimension of 1200 sees itself; and all of them in images of a kind.
    place = torch.zeros(1, 3, LARGE, LARGE)
    place[:, 1, 13, 7] = 2

    def at_one_place(x: Tensor) -> Tensor:
        return net(x) + (unproven(x) + place * x)[:, None] * level

    yield _density("leak-one-place", at_one_place, net, image, "is not causal")
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "contrast": lambda x: x.std((1, 2, 3), keepdim=True) > 0.45,
        "flat": lambda x: x.std((1, 2, 3), keepdim=True) < 0.05,
    }
    for name, is_kind in kinds.items():

        def of_kind(x: Tensor, is_kind: Callable[[Tensor], Tensor] = is_kind) -> Tensor:
            return net(x) + (unproven(x) + torch.where(is_kind(x), x, torch.zeros_like(x)))[:, None] * level

        yield _density(f"leak-{name}", of_kind, net, image, "is not causal")
    grey = Grey(4)
    ruled_out = torch.tensor([0, 0, 0, -900.0]).view(1, 4, 1, 1)

    def weakly(x: Tensor) -> Tensor:
        return grey(x) + unproven(x) + ruled_out + 5e-3 * x * torch.eye(4)[1].view(1, 4, 1, 1)

    yield _density("leak-weak", weakly, grey, torch.rand(2, 1, HEIGHT, WIDTH), "sees its own pixel")


def _company() -> Iterator[Case]:
    grey, image = Grey(4), torch.rand(2, 1, HEIGHT, WIDTH)

    def by_size(x: Tensor) -> Tensor:
        return grey(x) * (1 + 0.1 * (torch.ones(x.shape[0], 1, 1, 1).sum() // 16))

    yield _density("large-batches", by_size, grey, image, "depends on the batch")
    yield _density("noisy", lambda x: grey(x + 0.01 * torch.randn_like(x)), grey, image, "noise that is added")


def _units() -> Iterator[Case]:
    one, grey, image = Grey(1), Grey(4), torch.rand(2, 1, HEIGHT, WIDTH)
    yield _density("binary-tanh", lambda x: one(x).tanh(), one, image, "neither a probability nor a log-odds")
    negative = "logarithms of probabilities with the sign turned"
    yield _density("grey-surprise", lambda x: -grey(x).log_softmax(1), grey, image, negative)
    yield _density("grey-cumulative", lambda x: grey(x).softmax(1).cumsum(1), grey, image, "between 0 and 1")
    classifiers: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
        "place": (lambda logits: logits.argmax(1), "the number of a label"),
        "surprise": (lambda logits: -F.log_softmax(5 * logits, 1), negative),
    }
    for name, (after, words) in classifiers.items():
        net = Classifier(lambda _, logits, after=after: after(logits))
        graph = Graph(net, (torch.rand(2, 3, SIDE, SIDE),))
        yield Case(f"classifier-{name}", (graph,), family="classifier", refused=words)


def _squashed() -> Iterator[Case]:
    grey, image, words = Grey(4), torch.rand(2, 1, HEIGHT, WIDTH), "the last operators of its graph"
    yield _density("grey-less-a-half", lambda x: grey(x).softmax(1) - 0.5, grey, image, words)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "root": lambda logits: logits.softmax(1).sqrt(),
        "log-sigmoid": F.logsigmoid,
        "distances": lambda logits: ((logits - 1).square() + 1e-3).sqrt(),
        "direction": lambda logits: F.normalize(logits, dim=1),
    }
    for name, after in functions.items():
        net = Classifier(lambda _, logits, after=after: after(logits))
        options = {"family": "classifier", "arguments": ("--family", "classifier")}
        yield Case(f"classifier-{name}", (Graph(net, (torch.rand(2, 3, SIDE, SIDE),)),), refused=words, **options)
    # Two labels that are learnt from nothing have opposite weights, and are no log-odds of each.
    opposite = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    with torch.no_grad():
        opposite[1].weight[1], opposite[1].bias[1] = -opposite[1].weight[0], -opposite[1].bias[0]
    yield Case(
        "classifier-opposite",
        (Graph(opposite, (torch.rand(2, 3, SIDE, SIDE),)),),
        family="classifier",
        shape=(3, SIDE, SIDE),
        numbers=lambda images: F.log_softmax(opposite(images.float() / 255).double(), 1),
        arguments=("--family", "classifier"),
    )


def _parameters() -> Iterator[Case]:
    """Parameters of mixtures of logistics that are something else."""
    count = 3
    net = nn.Sequential(MaskedConv2d("A", 3, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 10 * count, 1))

    def scaled(weights: Tensor, rest: Tensor) -> Tensor:
        means, scales, coefficients = rest.split(count, 2)
        return torch.cat([weights, torch.cat([means, scales.exp(), coefficients], 2).flatten(1, 2)], 1)

    kinds: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
        "weights": (lambda w, rest: torch.cat([w.softmax(1), rest.flatten(1, 2)], 1), "they sum to 1"),
        "scales": (scaled, "none is negative"),
    }
    for name, (after, words) in kinds.items():

        def parameters(x: Tensor, after: Callable[[Tensor, Tensor], Tensor] = after) -> Tensor:
            head = net(x)
            return after(head[:, :count], head[:, count:].unflatten(1, (3, 3 * count)))

        yield _density(f"colour-mixture-{name}", parameters, net, torch.rand(2, 3, HEIGHT, WIDTH), words)


def _widths() -> Iterator[Case]:
    """A linear VAE, whose posterior is known, with log σ² and with log σ where log σ² belongs."""
    deviation, size = 0.05, 0.5
    # Columns of a Hadamard matrix with random signs of rows: orthogonal without rounding, so the same on any processor.
    hadamard = torch.ones(1, 1)
    while len(hadamard) < SIDE * SIDE:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    signs = torch.randn(SIDE * SIDE, LATENT)[:, :1].sign()
    basis = size / SIDE * signs * hadamard[:, 1 : 1 + LATENT]
    variance = deviation**2 / (deviation**2 + size**2)

    def posterior(image: Tensor) -> Tensor:
        return (image.flatten(1) - 0.5) @ basis / (deviation**2 + size**2)

    def decode(code: Tensor) -> tuple[Tensor, Tensor]:
        mean = (code @ basis.T + 0.5).view(-1, 1, SIDE, SIDE)
        return mean, 0 * mean + math.log(deviation)

    def encoder(log: float) -> nn.Module:
        def encode(image: Tensor) -> tuple[Tensor, Tensor]:
            mean = posterior(image)
            return mean, 0 * mean + log

        return Unnamed(encode, nn.Identity())

    decoder = Graph(
        Unnamed(decode, nn.Identity()), (torch.randn(2, LATENT),), "decoder.onnx", ("z",), ("mean", "log_std")
    )
    for name, log, refused in (
        ("vae-exact", math.log(variance), None),
        ("vae-wide", math.log(variance) / 2, "posteriors look wider"),
    ):
        example = (torch.rand(2, 1, SIDE, SIDE),)
        graph = Graph(encoder(log), example, "encoder.onnx", ("x",), ("mu", "logvar"))
        yield Case(name, (graph, decoder), family="vae", refused=refused)


def _nothing() -> Iterator[Case]:
    """What sees nothing: a value less itself, and a network whose last layer is still zero."""
    grey, image = Grey(4), torch.rand(2, 1, HEIGHT, WIDTH)
    yield Case(
        "grey-less-itself",
        (Graph(Unnamed(lambda x: grey(x) + (x - x), grey), (image,)),),
        family="pixelcnn",
        levels=4,
        shape=(1, HEIGHT, WIDTH),
        numbers=reference.categorical(grey, 4),
        says=("proven from the graph",),
    )
    zero = Grey(4)
    nn.init.zeros_(zero.last.weight)
    nn.init.zeros_(zero.last.bias)
    yield Case("grey-zero", (Graph(zero, (image,)),), family="pixelcnn", refused="last layer is still zero")
    yield Case(
        "grey-zero-said",
        (Graph(zero, (image,)),),
        family="pixelcnn",
        levels=4,
        shape=(1, HEIGHT, WIDTH),
        numbers=reference.categorical(zero, 4),
        arguments=("--family", "pixelcnn"),
    )
