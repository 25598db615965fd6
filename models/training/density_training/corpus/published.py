"""Small equivalents of public networks that were taken for what they are not, or not taken at all."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training import mixture
from density_training.corpus import causal, reference
from density_training.corpus.case import CLASSES, HEIGHT, LATENT, SIDE, WIDTH, Case, Graph
from density_training.corpus.causal import MaskedConv2d
from density_training.corpus.densities import Made
from density_training.corpus.vaes import Decoder, Encoder, Whole


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


def first() -> Iterator[Case]:
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
    coordinates = causal.Coordinates()
    yield Case(
        "grey-expanded",
        (Graph(coordinates, (image,), fixed=True),),
        family="pixelcnn",
        levels=4,
        shape=shape,
        numbers=reference.categorical(coordinates, 4),
        sampler="wavefront",
        says=("made free",),
    )
    model = Sized(Decoder(nn.Sigmoid()), lambda *_: None)
    errors = reference.errors(model.encoder, model.decoder)
    yield Case("whole-vae-sized", (Graph(model, (small,), fixed=True),), family="vae", numbers=errors)
    encoder = Encoder(lambda m, v: (m, v))
    yield Case("encoder-nameless", (Graph(encoder, (small,), outputs=("52", "53")),), family="vae")


class Ordered(nn.Module):
    """Mixtures of logistics whose parameters are means of all, then log-scales of all, then coefficients."""

    COUNT = 4

    def __init__(self) -> None:
        super().__init__()
        outputs = mixture.parameter_count(self.COUNT, 3)
        self.net = nn.Sequential(MaskedConv2d("A", 3, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, outputs, 1))

    def paper(self, image: Tensor) -> Tensor:
        """The same in the order of the paper: channels, kinds, components."""
        head = self.net(image)
        rest = head[:, self.COUNT :].reshape(-1, 3, self.COUNT, 3, *head.shape[2:]).permute(0, 3, 1, 2, 4, 5)
        return torch.cat([head[:, : self.COUNT], rest.flatten(1, 3)], 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)


class OtherOrder(nn.Module):
    """MADE that predicts pixels in an order of its own."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.made, self.order = Made(pixels, 80), torch.randperm(pixels)

    def forward(self, image: Tensor) -> Tensor:
        return self.made(image[:, self.order])[:, torch.argsort(self.order)]


class Flow(nn.Module):
    """A coupling layer: the image as noise, and the logarithm of its Jacobian's determinant."""

    def __init__(self, *, scores: bool) -> None:
        super().__init__()
        self.net, self.scores = nn.Conv2d(1, 2, 3, padding=1), scores
        self.register_buffer("mask", ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2).float()[None, None])

    def forward(self, image: Tensor) -> Any:
        shift, log_scale = self.net(image * self.mask).chunk(2, 1)
        log_scale = torch.tanh(log_scale) * (1 - self.mask)
        noise, determinant = image * log_scale.exp() + shift * (1 - self.mask), log_scale.flatten(1).sum(1)
        return determinant - (noise**2 / 2 + 0.92).flatten(1).sum(1) if self.scores else (noise, determinant)


class Denoiser(nn.Module):
    """The noise in an image at a step of a diffusion."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Embedding(20, 4)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image: Tensor, step: Tensor) -> Tensor:
        return self.last(F.silu(self.first(image) + self.step(step)[:, :, None, None]))


class Quantised(nn.Module):
    """VQ-VAE: the code is the nearest row of a book, handed on so that gradients pass."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 4, 4, stride=2, padding=1)
        self.decoder = nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1)
        self.book = nn.Parameter(torch.randn(8, 4) * spread)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(image).permute(0, 2, 3, 1)
        rows = code.reshape(-1, 4)
        distances = (rows**2).sum(1, keepdim=True) + (self.book**2).sum(1) - 2 * rows @ self.book.T
        nearest = F.one_hot(distances.argmin(1), 8).float() @ self.book
        found = nearest.view_as(code)
        loss = F.mse_loss(found, code)
        found = code + (found - code).detach()
        return torch.sigmoid(self.decoder(found.permute(0, 3, 1, 2))), loss


class Several(Whole):
    """Several codes, and as many pictures, of each image."""

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = (x[:, None].expand(-1, 3, -1) for x in self.encoder.posterior(image))
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(code.reshape(-1, LATENT)).view(-1, 3, 1, SIDE, SIDE), mean, log_variance


class Resampled(Whole):
    """A code that a distribution of PyTorch draws, with the divergence beside the picture."""

    def forward(self, image: Tensor) -> Any:
        mean, log_variance = self.encoder.posterior(image)
        posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        return self.decoder(posterior.rsample()), torch.distributions.kl_divergence(posterior, prior).sum(1)


class Scattered(nn.Module):
    """A decoder that makes one of many of a label by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(LATENT + CLASSES, SIDE * SIDE)

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        own = torch.zeros(label.shape[0], CLASSES).scatter_(1, label[:, None], 1.0)
        return torch.sigmoid(self.last(torch.cat([code, own], -1)))


class Sequence(nn.Module):
    """Probabilities of levels by causal convolution along the pixels of a flat image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        before = F.pad(image[:, None], (2, 0))[:, :, :-2]
        return F.softmax(self.net(before).transpose(1, 2), 2)


class Wrapped(nn.Module):
    """A generator that counts labels from the end, too."""

    def __init__(self) -> None:
        super().__init__()
        self.label, self.last = nn.Embedding(CLASSES, LATENT), nn.Linear(LATENT, SIDE * SIDE)

    def forward(self, code: Tensor, label: Tensor) -> Tensor:
        own = self.label(torch.where(label < 0, label + CLASSES, label)).flatten(1)
        return torch.tanh(self.last(code * own)).view(-1, SIDE, SIDE, 1)


def second() -> Iterator[Case]:
    """Those that are served, and those that are refused with what helps."""
    colour, small, code = torch.rand(2, 3, HEIGHT, WIDTH), torch.rand(2, 1, SIDE, SIDE), torch.randn(2, LATENT)
    ordered = Ordered()

    def numbers(images: Tensor) -> Tensor:
        head = ordered.paper(images.float() / 255 * 2 - 1).double()
        return mixture.log_probability(head, images, 256).flatten(1).sum(1)

    yield Case(
        "colour-mixture-ordered",
        (Graph(ordered, (colour,)),),
        family="pixelcnn",
        arguments=("--declare", "parameters=kinds,components,channels"),
        shape=(3, HEIGHT, WIDTH),
        numbers=numbers,
        sampler="wavefront",
    )
    yield Case(
        "colour-mixture-found",
        (Graph(ordered, (colour,), dynamo=True),),
        family="pixelcnn",
        shape=(3, HEIGHT, WIDTH),
        numbers=numbers,
        sampler="wavefront",
    )
    head = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 30, 2, 2))
    yield Case("decoder-mixture", (Graph(head, (code,), "decoder.onnx", ("z",), ("parameters",)),), family="vae")
    named = Decoder(nn.Sigmoid())
    yield Case("gan-named", (Graph(named, (code,), "generator.onnx", ("z",)),), family="gan")
    label = torch.tensor([[0], [3]])
    graph = Graph(Wrapped(), (code, label), "generator.onnx", ("keras_tensor", "keras_tensor_1"))
    yield Case("gan-labels-wrapped", (graph,), family="gan")

    def refused(name: str, graph: Graph, family: str, words: str) -> Case:
        return Case(name, (graph,), family=family, refused=words)

    other = OtherOrder(64)
    yield refused("made-other-order", Graph(other, (torch.rand(2, 64),)), "pixelcnn", "not in the order of rows")
    unmasked = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1), nn.Sigmoid())
    yield refused("masks-lost", Graph(unmasked, (small,)), "pixelcnn", "its masks are not in this file")
    yield refused("flow", Graph(Flow(scores=False), (small,), dynamo=True), "pixelcnn", "normalising flow")
    yield refused("flow-scores", Graph(Flow(scores=True), (small,)), "pixelcnn", "no log-odds")
    image, step = torch.rand(2, 3, SIDE, SIDE), torch.tensor([3, 7])
    graph = Graph(Denoiser(), (image, step), inputs=("x", "t"))
    yield refused("diffusion", graph, "pixelcnn", "diffusion")
    for name, spread in (("quantised", 1.0), ("quantised-collapsed", 1e-4)):
        graph = Graph(Quantised(spread), (small,), outputs=("reconstruction", "vq_loss"))
        yield refused(name, graph, "pixelcnn", "code book")
    several = Several(Decoder(nn.Sigmoid()), lambda *_: None)
    yield refused("whole-several", Graph(several, (small,)), "vae", "several pictures of each image")
    model = Resampled(Decoder(nn.Sigmoid()), lambda *_: None)
    errors = reference.errors(model.encoder, model.decoder)
    yield Case("whole-resampled", (Graph(model, (small,)),), family="vae", numbers=errors, says=("parted at the code",))
    graph = Graph(Scattered(), (code, torch.tensor([0, 3])), "decoder.onnx", ("z", "c"))
    yield Case("decoder-scattered", (graph,), family="vae")
    row = nn.Sequential(nn.Conv1d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 4, 1))
    sequence = Sequence(row)
    yield Case(
        "grey-sequence",
        (Graph(sequence, (torch.rand(2, SIDE * SIDE),)),),
        family="pixelcnn",
        levels=4,
        shape=(1, SIDE, SIDE),
        numbers=lambda images: (
            -F.nll_loss(
                sequence(images.flatten(1).float() / 3).log().transpose(1, 2).double(),
                images.flatten(1),
                reduction="none",
            ).sum(1)
        ),
    )
