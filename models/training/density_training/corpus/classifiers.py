"""Classifiers and encoders as people write and export them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import CLASSES, SIDE, Case, Graph, Numbers
from density_training.corpus.densities import Before


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


class Backbone(nn.Module):
    """Features of an image: a row of numbers, or maps of them."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.conv, self.place = nn.Conv2d(3, 6, 3, stride=2, padding=1), place

    def forward(self, image: Tensor) -> Tensor:
        maps = F.relu(self.conv(image))
        return (maps.mean((2, 3)), maps)[self.place]


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
            arguments=("--family", "classifier") if kind in ("logits", "one-logit", "features", "loss") else (),
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


def of_batches() -> Iterator[Case]:
    """Networks that compute over the batch, as batch normalisation in training mode and scaling by extremes do."""
    image = torch.rand(2, 3, SIDE, SIDE)
    options: dict[str, Any] = {"family": "classifier", "shape": (3, SIDE, SIDE)}
    net = Classifier(lambda _, x: x).eval()

    def standardised(x: Tensor) -> Tensor:
        axes = (0, 2, 3)
        return (x - x.mean(axes, keepdim=True)) / (x.std(axes, keepdim=True) + 1e-3)

    def alone(images: Tensor) -> Tensor:
        logits = [net(standardised(own)) for own in (images.float() / 255).split(1)]
        return F.log_softmax(torch.cat(logits).double(), 1)

    graph, family = Graph(Before(standardised, net), (image,)), ("--family", "classifier")
    yield Case("batch-standardised", (graph,), arguments=family, refused="--one-at-a-time", **options)
    says = ("images are run one at a time, as was said",)
    said = (*family, "--one-at-a-time")
    yield Case("batch-alone", (graph,), arguments=said, numbers=alone, says=says, **options)


def of_photographs() -> Iterator[Case]:
    """Classifiers of the size and the labels of ImageNet; neither anybody nor a golden number tells what they take."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    network, example = Classifier(lambda _, x: x, labels=1000), torch.rand(2, 3, 128, 128)
    whole = Before(lambda x: (x - mean[:, None, None]) / deviation[:, None, None], network)
    for name, module, likely in (
        ("classifier-photographs", network, "imagenet"),
        ("classifier-photographs-normalised", whole, "0..1"),
    ):
        graph, says = Graph(module, (example,)), (f"{likely}, as is likely",)
        yield Case(name, (graph,), family="classifier", shape=(3, 128, 128), says=says)


def backbones() -> Iterator[Case]:
    """Layers of a network for photographs, without its labels."""
    for side, likely in ((224, "imagenet"), (128, "0..1")):
        graph = Graph(Backbone(1), (torch.rand(2, 3, side, side),), outputs=("features",))
        yield Case(
            f"features-photographs-{side}",
            (graph,),
            family="encoder",
            shape=(3, side, side),
            says=(f"{likely}, as is likely",),
        )
