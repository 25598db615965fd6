"""Networks that expect flat images to go on, as trained ones do, and so tell how they are read; and others' units.

Their one layer looks at the pixel to the left: the nearer a level is to it, the likelier.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, LATENT, WIDTH, Case, Graph
from density_training.corpus.densities import Grey
from density_training.corpus.published_more import Unnamed
from density_training.corpus.vaes import Decoder

LEVELS, SHARPNESS = 16, 300.0


class Copies(nn.Module):
    """Logits −a (u − k / (levels − 1))² but for a term common to all levels; `signed`: of images from −1 to 1."""

    def __init__(self, channels: int, *, signed: bool) -> None:
        super().__init__()
        levels = torch.linspace(0, 1, LEVELS)
        self.conv = nn.Conv2d(channels, channels * LEVELS, (1, 2), groups=channels)
        with torch.no_grad():
            self.conv.weight.zero_()
            slope, term = 2 * SHARPNESS * levels, -SHARPNESS * levels**2
            self.conv.weight[:, 0, 0, 1] = (slope / 2 if signed else slope).repeat(channels)
            self.conv.bias[:] = (term + slope / 2 if signed else term).repeat(channels)
        # Of what has no neighbour nothing is known.
        self.register_buffer("inside", (torch.arange(WIDTH) > 0).float())

    def forward(self, image: Tensor) -> Tensor:
        left = nn.functional.pad(image, (2, 0))[:, :, :, :-1]
        return self.conv(left) * self.inside


def cases() -> Iterator[Case]:
    """Densities of which the likely reading is wrong, and pictures in other units."""
    grey, colour = torch.rand(2, 1, HEIGHT, WIDTH), torch.rand(2, 3, HEIGHT, WIDTH)
    signed, joined = Copies(1, signed=True), Copies(3, signed=False)
    yield Case("grey-copies-signed", (Graph(signed, (grey,)),), family="pixelcnn", says=('likely with "-1..1"',))
    said = ("--input", "0..1")
    yield Case(
        "grey-copies-mistaken",
        (Graph(signed, (grey,)),),
        family="pixelcnn",
        arguments=said,
        says=("is as if it took images",),
    )
    yield Case("colour-copies", (Graph(joined, (colour,)),), family="pixelcnn", says=('likely with "N,C,levels,H,W"',))
    yield from _units()


def _units() -> Iterator[Case]:
    grey, image = Grey(4), torch.rand(2, 1, HEIGHT, WIDTH)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "entropy": lambda p: p * p.log(),
        "variance": lambda p: p * (1 - p) - 1,
    }
    words = "the last operators of its graph"
    for name, after in functions.items():
        net = Unnamed(lambda x, after=after: after(grey(x).softmax(1)), grey)
        yield Case(f"grey-{name}", (Graph(net, (image,)),), family="pixelcnn", refused=words)
    decoder, code = Decoder(nn.Sigmoid()), torch.randn(2, LATENT)

    def generator(name: str, after: Callable[[Tensor], Tensor], **options: object) -> Case:
        net = Unnamed(lambda z: after(decoder(z)), decoder)
        return Case(f"gan-{name}", (Graph(net, (code,), "generator.onnx", ("z",)),), family="gan", **options)

    yield generator("levels", lambda y: y * 255, says=("between the lowest and the highest level",))
    yield generator("standardised", lambda y: (y - 0.1307) / 0.3081, refused="in another range than from 0 to 1")
    open_ended = Decoder(nn.Identity())
    pictures = Unnamed(lambda z: open_ended(z) / 4 + 0.5, open_ended)
    yield Case(
        "gan-unbounded",
        (Graph(pictures, (code,), "generator.onnx", ("z",)),),
        family="gan",
        says=("nothing in it bounds its pictures",),
    )
