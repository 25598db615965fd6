"""Cases of VAEs and autoencoders: pairs of graphs, whole ones, and parts."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus import reference
from density_training.corpus.case import CLASSES, LATENT, SIDE, Case, Graph
from density_training.corpus.vaes import Decoder, Encoder, Floored, OfLabels, Softened, Whole, WithCountedNoise


def _sampled(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, log-variance and a code, here without a draw."""
    return mean, log_variance, mean + torch.exp(0.5 * log_variance)


def _drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A code, drawn."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


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
            numbers=reference.bound(encoder, decoder),
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


def wholes() -> Iterator[Case]:
    """Autoencoders as `model(image)` gives them, in one graph."""
    image = torch.rand(2, 1, SIDE, SIDE)
    parted = ("parted at the code",)
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, _, mean, spread: (picture, mean, spread))
    graph = Graph(model, (image,), outputs=("19", "21", "23"))
    errors = reference.errors(model.encoder, model.decoder)
    yield Case("whole-vae", (graph,), family="vae", numbers=errors, says=(*parted, "no likelihood"))
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, *_: picture)
    errors = reference.errors(model.encoder, model.decoder)
    yield Case("whole-vae-picture", (Graph(model, (image,), dynamo=True),), family="vae", numbers=errors, says=parted)
    model = Whole(Decoder(nn.Tanh()), lambda *all_of_them: all_of_them, draws=False)
    names = ("recons", "input", "mu", "log_var")
    yield Case(
        "whole-vae-at-mean",
        (Graph(model, (image,), outputs=names, fixed=True),),
        family="vae",
        numbers=reference.errors(model.encoder, model.decoder, signed=True),
        says=parted,
    )
    model = Whole(Decoder(nn.Identity()), lambda picture, _, mean, spread: (picture, mean, spread))
    yield Case(
        "whole-vae-log-odds",
        (Graph(model, (image,), outputs=("logits", "mu", "logvar"), dynamo=True),),
        family="vae",
        arguments=("--levels", "2"),
        levels=2,
        numbers=reference.binary_bound(model.encoder, model.decoder),
        says=("Bernoulli",),
    )
    model = Whole(Decoder(nn.Sigmoid()), lambda picture, *_: picture, draws=False)
    errors = reference.errors(model.encoder, model.decoder)
    yield Case("whole-autoencoder", (Graph(model, (image,)),), family="autoencoder", numbers=errors, says=parted)
    model = Softened(Decoder(nn.Sigmoid()), lambda picture, *_: picture)
    yield Case("whole-softened", (Graph(model, (image,)),), family="vae", refused="not as mean + deviation")
    # One image goes with the noise of two, and gives two pictures.
    counted = WithCountedNoise(Decoder(nn.Sigmoid()), lambda picture, _, mean, spread: (picture, mean, spread))
    yield Case(
        "whole-vae-counted-noise",
        (Graph(counted, (image,), outputs=("recon", "mu", "logvar")),),
        family="vae",
        numbers=reference.errors(counted.encoder, counted.decoder),
        says=parted,
    )


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
    yield Case("vae-sigmoid", pair(*own), family="vae", numbers=reference.errors(*own), says=("no likelihood",))
    own = halves(nn.Sigmoid())
    yield Case(
        "vae-binary",
        pair(*own),
        family="vae",
        arguments=("--levels", "2"),
        levels=2,
        numbers=reference.binary_bound(*own),
        says=("sigmoid is taken off",),
    )
    own = halves(nn.Sigmoid())
    numbers = reference.gaussian_bound(*own, 0.25)
    yield Case(
        "vae-declared", pair(*own), family="vae", arguments=("--sigma", "0.25"), numbers=numbers, says=("Gaussian",)
    )
    for name, scale in (("x_std", torch.exp), ("x_logvar", lambda v: 2 * v)):
        own = halves(nn.Sigmoid(), scale)
        graphs = pair(*own, ("x_mean", name))
        yield Case(
            f"vae-gaussian-{name[2:]}",
            graphs,
            family="vae",
            numbers=reference.gaussian_bound(*own, None),
            says=("Gaussian",),
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
    for name, first, output in (
        ("floored", Floored(), ("mu", "scale")),
        ("spread-first", Encoder(lambda m, v: torch.cat([v, m], 1)), ("logvar_mu",)),
    ):
        own = (first, Decoder(nn.Sigmoid()))
        encoder = Graph(first, (image,), "encoder.onnx", outputs=output, dynamo=True)
        yield Case(
            f"vae-{name}",
            (encoder, *pair(*own)[1:]),
            family="vae",
            arguments=("--levels", "2"),
            levels=2,
            numbers=reference.binary_bound(*own),
        )


def drawn() -> Iterator[Case]:
    """Encoders that draw their code, and give it before all else or alone."""
    image, code = torch.rand(2, 1, SIDE, SIDE), torch.randn(2, LATENT)
    told = "mean + deviation · noise"
    yield Case("encoder-drawn", (Graph(Encoder(_drawn), (image,), outputs=("21",)),), family="vae", says=(told,))
    for name, dynamo, after, outputs in (
        ("vae-drawn-first", True, lambda m, v: (_drawn(m, v), m, v), ("31", "35", "37")),
        ("vae-drawn", False, _drawn, ("31",)),
    ):
        own = (Encoder(after), Decoder(nn.Sigmoid()))
        yield Case(
            name,
            (
                Graph(own[0], (image,), "encoder.onnx", outputs=outputs, dynamo=dynamo),
                Graph(own[1], (code,), "decoder.onnx", ("z",), ("x",)),
            ),
            family="vae",
            arguments=("--levels", "2"),
            levels=2,
            numbers=reference.binary_bound(*own),
            says=(told,),
        )
