"""What PyTorch says of images: the numbers that a served model is compared with."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.corpus.case import HEIGHT, WIDTH, Case, Graph, Numbers
from density_training.corpus.vaes import Decoder, Encoder


def categorical(module: Any, levels: int, before: Callable[[Tensor], Tensor] | None = None) -> Numbers:
    """Log-likelihoods in nats by a network's logits, [N, levels, (C,) H, W]."""
    scaled = before or (lambda image: image.float() / (levels - 1))

    def numbers(images: Tensor) -> Tensor:
        logits = module.logits(scaled(images)) if hasattr(module, "logits") else module(scaled(images))
        target = images if logits.dim() == 5 else images[:, 0]
        return -F.cross_entropy(logits.double(), target, reduction="none").flatten(1).sum(1)

    return numbers


# What the corpus says of a small grey density that is drawn along wavefronts.
LEVELS = 4
DENSITY: dict[str, Any] = {
    "family": "pixelcnn",
    "levels": LEVELS,
    "shape": (1, HEIGHT, WIDTH),
    "sampler": "wavefront",
}


def density(name: str, net: nn.Module, *, dynamo: bool = False) -> Case:
    """Such a density, whose logits are [N, levels, H, W]."""
    graph = Graph(net, (torch.rand(2, 1, HEIGHT, WIDTH),), dynamo=dynamo)
    return Case(name, (graph,), numbers=categorical(net, LEVELS), **DENSITY)


def of_sequences(module: nn.Module) -> Numbers:
    """Log-likelihoods in nats by logits, [pixels, N, levels], of tokens, [pixels, N]."""

    def numbers(images: Tensor) -> Tensor:
        tokens = images.flatten(1)
        logits = module(tokens.T).double().permute(1, 2, 0)
        return -F.cross_entropy(logits, tokens, reduction="none").sum(1)

    return numbers


def bernoulli(module: nn.Module) -> Numbers:
    """Log-likelihoods in nats by a network's log-odds, [N, C, H, W]."""

    def numbers(images: Tensor) -> Tensor:
        logits = module(images.float()).double()
        return -F.binary_cross_entropy_with_logits(logits, images.double(), reduction="none").flatten(1).sum(1)

    return numbers


def bound(encoder: Encoder, decoder: Decoder) -> Numbers:
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


def errors(encoder: Encoder, decoder: Decoder, *, signed: bool = False) -> Numbers:
    """Σ (reconstruction − image)² in units of level / 255."""

    def numbers(images: Tensor) -> Tensor:
        x = images.float() / 255
        picture = decoder(encoder.posterior(x * 2 - 1 if signed else x)[0])
        picture = (picture + 1) / 2 if signed else picture
        return ((picture - x).double() ** 2).flatten(1).sum(1)

    return numbers


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence in nats of a diagonal normal distribution from the standard one."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def binary_bound(encoder: Encoder, decoder: Decoder) -> Numbers:
    """log p(x | z = mean) − KL in nats, of a Bernoulli distribution; the decoder's last layer is left out."""

    def numbers(images: Tensor) -> Tensor:
        mean, log_variance = encoder.posterior(images.float())
        logits = decoder.both(mean)[0]
        if isinstance(decoder.last, nn.Sigmoid):
            logits = torch.logit(logits.double())
        rate = -F.binary_cross_entropy_with_logits(logits.double(), images.double(), reduction="none")
        return rate.flatten(1).sum(1) - kl(mean.double(), log_variance.double())

    return numbers


def gaussian_bound(encoder: Encoder, decoder: Decoder, sigma: float | None) -> Numbers:
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
        return (upper - lower).clamp_min(1e-300).log().flatten(1).sum(1) - kl(mean, log_variance)

    return numbers
