"""Small networks that are other than they seem: what they give is no probability, or is not their image's alone.

Most have to be refused; who knows better can say so.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
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
