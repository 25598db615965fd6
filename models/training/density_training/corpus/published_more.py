"""Small equivalents of public networks that nobody had tried before, and of those that are no model here.

More cases, beside those of `published`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import reference
from density_training.corpus.case import CLASSES, HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
from density_training.corpus.densities import Grey
from density_training.corpus.vaes import Decoder, Whole


class CodeBook(nn.Module):
    """VQ-VAE with a code of fewer numbers than the image, as `view(input.shape)` writes it."""

    def __init__(self, after: Callable[..., Any]) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 2, 4, stride=2, padding=1)
        self.decoder = nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1)
        self.book, self.after = nn.Parameter(torch.randn(8, 2)), after

    def forward(self, image: Tensor) -> Any:
        code = self.encoder(image)
        last = code.permute(0, 2, 3, 1).contiguous()
        rows = last.view(-1, 2)
        nearest = ((rows**2).sum(1, keepdim=True) + (self.book**2).sum(1) - 2 * rows @ self.book.T).argmin(1)
        found = self.book[nearest].view(last.shape).permute(0, 3, 1, 2)
        handed_on = code + (found - code).detach()
        return self.after(torch.sigmoid(self.decoder(handed_on)), code, found)

    def errors(self, images: Tensor) -> Tensor:
        """Σ (reconstruction − image)² in units of level / 255."""
        x = images.float() / 255
        code = self.encoder(x)
        last = code.permute(0, 2, 3, 1)
        found = self.book[(last[..., None, :] - self.book).square().sum(-1).argmin(-1)].permute(0, 3, 1, 2)
        return ((torch.sigmoid(self.decoder(found)) - x).double() ** 2).flatten(1).sum(1)


class Given(nn.Module):
    """A density that is given a plane beside its image, which another network makes of a label."""

    def __init__(self) -> None:
        super().__init__()
        self.grey, self.beside = Grey(4), nn.Conv2d(1, 4, 1)

    def forward(self, image: Tensor, plane: Tensor) -> Tensor:
        return self.grey(image) + self.beside(plane)


class Informed(nn.Module):
    """A generator that is given a label and numbers that mean something, as an InfoGAN is."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(LATENT + CLASSES + 2, SIDE * SIDE)

    def forward(self, code: Tensor, label: Tensor, meaning: Tensor) -> Tensor:
        return torch.tanh(self.last(torch.cat([code, label, meaning], 1))).view(-1, 1, SIDE, SIDE)


class Squeezed(nn.Module):
    """A stack that is taken apart by a squeeze, which takes the axis of a single image as well."""

    def __init__(self) -> None:
        super().__init__()
        self.grey = Grey(4)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.grey(image)
        first = torch.squeeze(torch.squeeze(torch.split(torch.stack([logits, logits]), 1, 0)[0], 0), 0)
        return F.max_pool2d(first, 1)


class InOneRow(nn.Module):
    """A conditional VAE that takes an image and its label in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(SIDE * SIDE + CLASSES, 2 * LATENT)
        self.decoder = nn.Linear(LATENT + CLASSES, SIDE * SIDE)

    def forward(self, both: Tensor) -> Any:
        mean, log_variance = self.encoder(both).chunk(2, 1)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return torch.sigmoid(self.decoder(torch.cat([code, both[:, SIDE * SIDE :]], 1))), mean, log_variance


class Unnamed(nn.Module):
    """A function with the modules that it calls."""

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.own = function, nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def cases() -> Iterator[Case]:
    """Those that are served, and those that are refused with what helps."""
    yield from _codes()
    yield from _vaes()
    yield from _refused()
    yield from _levels()
    yield from _chosen()


def _codes() -> Iterator[Case]:
    small = torch.rand(2, 1, SIDE, SIDE)
    for name, dynamo in (("code-book", False), ("code-book-dynamo", True)):
        model = CodeBook(lambda picture, *_: picture)
        yield Case(
            name,
            (Graph(model, (small,), dynamo=dynamo),),
            family="autoencoder",
            numbers=model.errors,
            says=("looks its code up in a code book", "has no density by itself"),
        )
    # What is before the book and after it are no mean and no variance.
    model = CodeBook(lambda *all_of_them: all_of_them)
    graph = Graph(model, (small,), outputs=("x_tilde", "z_e", "z_q"))
    yield Case("code-book-beside", (graph,), family="autoencoder", numbers=model.errors, says=("code book",))


def _vaes() -> Iterator[Case]:
    row, code = torch.rand(2, SIDE * SIDE), torch.randn(2, LATENT - 1)
    net, back = nn.Linear(SIDE * SIDE, 2 * LATENT - 2), nn.Linear(LATENT - 1, SIDE * SIDE)
    # Nothing of the file tells how many numbers the encoder gives.
    halves = Unnamed(lambda x: torch.chunk(net(x), 2, dim=1), net)
    yield Case(
        "vae-flat",
        (
            Graph(halves, (row,), "encoder.onnx", ("x",), ("mu", "log_var")),
            Graph(Unnamed(lambda z: torch.sigmoid(back(z)), back), (code,), "decoder.onnx", ("z",), ("p",)),
        ),
        family="vae",
    )
    # A deviation that is 1 whatever the code, as `Normal(mean, 1)` has it.
    whole = Whole(Decoder(nn.Identity()), lambda picture, _, mean, spread: (picture, torch.ones_like(picture), mean))
    graph = Graph(whole, (torch.rand(2, 1, SIDE, SIDE),), outputs=("112", "113", "114"))
    numbers = reference.gaussian_bound(whole.encoder, whole.decoder, 1.0)
    yield Case("whole-vae-ones", (graph,), family="vae", numbers=numbers, says=("Gaussian",))


def _refused() -> Iterator[Case]:
    grey, small = torch.rand(2, 1, HEIGHT, WIDTH), torch.rand(2, 1, SIDE, SIDE)
    code, label = torch.randn(2, LATENT), F.one_hot(torch.tensor([0, 2]), CLASSES).float()

    def refused(name: str, graph: Graph, family: str, words: str) -> Case:
        return Case(name, (graph,), family=family, refused=words)

    graph = Graph(Given(), (grey, torch.rand(2, 1, HEIGHT, WIDTH)), inputs=("x", "h"))
    yield refused("two-pictures", graph, "pixelcnn", 'takes 2 pictures, "x" and "h"')
    graph = Graph(Informed(), (code, label, torch.randn(2, 2)), "generator.onnx", ("noise", "labels", "code"))
    yield refused("gan-two-labels", graph, "gan", "torch.cat")
    loss = Unnamed(lambda x: Grey.forward(own, x).logsumexp(1).mean(), own := Grey(4))
    yield refused("loss-alone", Graph(loss, (grey,)), "pixelcnn", "rather than its loss")
    # Refused once: one image lost its axis.
    says = ("how many images it is given",)
    yield Case("several-only", (Graph(Squeezed(), (grey,)),), family="pixelcnn", says=says)
    finer = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh())
    yield refused("finer", Graph(finer, (small,)), "encoder", "16×16 of an image of 8×8")
    graph = Graph(InOneRow(), (torch.rand(2, SIDE * SIDE + CLASSES),), inputs=("x",))
    yield refused("image-and-label", graph, "vae", "an image and its label in one row")
    judge = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 1))
    yield refused("one-number", Graph(judge, (small,)), "classifier", "An age, a price or anything else")


def _levels() -> Iterator[Case]:
    image, shape = torch.rand(2, 1, HEIGHT, WIDTH), (1, HEIGHT, WIDTH)
    net = Grey(1)
    graph = Graph(net, (image,))
    options: dict[str, Any] = {"family": "pixelcnn", "levels": 2, "shape": shape}
    numbers = reference.bernoulli(net)
    yield Case("levels-said", (graph,), arguments=("--levels", "2"), numbers=numbers, sampler="wavefront", **options)
    yield Case(
        "levels-at-odds", (graph,), arguments=("--levels", "16"), refused="number of levels that it predicts", **options
    )
    yield Case("size-at-odds", (graph,), arguments=("--size", "9x6"), refused="another size than its input", **options)


def _chosen() -> Iterator[Case]:
    """A linear classifier that gives the label it chooses beside its probabilities, as those of scikit-learn do."""
    net = nn.Linear(SIDE * SIDE, 10)
    both = Unnamed(lambda x: (net(x).argmax(1), net(x).softmax(1)), net)
    yield Case(
        "classifier-chosen",
        (Graph(both, (torch.rand(2, SIDE * SIDE),), outputs=("label", "probabilities")),),
        family="classifier",
        numbers=lambda images: net(images.flatten(1).float() / 255).double().log_softmax(1),
    )
