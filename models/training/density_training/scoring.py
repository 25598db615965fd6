"""Scores of images under a network, wherever it runs: a PyTorch module or an exported graph in ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from tqdm import tqdm

from density_training.likelihood import (
    bernoulli_log_likelihood,
    categorical_log_likelihood,
    discretized_logistic_log_likelihood,
    discretized_logistic_log_probability,
    gaussian_kl,
)

Network = Callable[[Tensor], Tensor]
"""float [N, C, H, W] → logits, or → a code and back."""
TwoHeaded = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A VAE's encoder (→ mean, log-variance) or decoder (→ mean, log-scale)."""


def to_levels(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W] or [N, H, W, C], as on disk → [N, C, H, W], as everywhere in this package."""
    levels = torch.from_numpy(np.ascontiguousarray(pictures))
    return levels.unsqueeze(1) if levels.dim() == 3 else levels.permute(0, 3, 1, 2).contiguous()


def to_pictures(levels: Tensor) -> np.ndarray:
    """The inverse of `to_levels`."""
    return (levels.squeeze(1) if levels.shape[1] == 1 else levels.permute(0, 2, 3, 1)).contiguous().numpy()


def to_input(levels: Tensor, count: int) -> Tensor:
    """What a graph reads: level · 1/(count − 1), with the multiplication that a server does."""
    return levels.float() * (1 / (count - 1))


def load_graph(path: Path) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """An exported graph as a function of its inputs in order, on as many threads as PyTorch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        feed = {name: x.contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
        outputs = tuple(torch.from_numpy(y) for y in session.run(None, feed))
        return outputs[0] if len(outputs) == 1 else outputs

    return run


@torch.no_grad()
def log_likelihood(network: Network, levels: Tensor, count: int, head: str = "categorical", batch: int = 50) -> Tensor:
    """The exact log-likelihood in nats of uint8 images [N, C, H, W] under an autoregressive network, float64 [N]."""
    head_log_likelihood = {"categorical": categorical_log_likelihood, "bernoulli": bernoulli_log_likelihood}[head]
    return torch.cat([head_log_likelihood(network(to_input(part, count)), part) for part in levels.split(batch)])


@torch.no_grad()
def label_log_likelihoods(
    network: Callable[[Tensor, Tensor], Tensor], levels: Tensor, count: int, labels: int, batch: int = 50
) -> Tensor:
    """log p(x|y) in nats of uint8 images [N, C, H, W] for every label y, float64 [N, labels].

    One pass of the network a label. Log-likelihood and label prior together classify by Bayes' rule.
    """
    scores = []
    for part in tqdm(levels.split(batch), desc="labels", mininterval=5, dynamic_ncols=True):
        given = [
            categorical_log_likelihood(network(to_input(part, count), torch.full((len(part),), label)), part)
            for label in range(labels)
        ]
        scores.append(torch.stack(given, dim=1))
    return torch.cat(scores)


@torch.no_grad()
def label_log_probabilities(classifier: TwoHeaded, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """log p(y|x) in nats of every label y, float64 [N, labels], by a classifier (→ logits, features)."""
    logits = [classifier(to_input(part, count))[0] for part in levels.split(batch)]
    return torch.cat(logits).double().log_softmax(1)


@torch.no_grad()
def reconstruction_errors(encoder: Network, decoder: Network, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """Σ (x̂ − x)² over the dimensions of each image in units of level/(count − 1), float64 [N]; no likelihood."""
    errors = []
    for part in levels.split(batch):
        image = to_input(part, count)
        errors.append((decoder(encoder(image)) - image).double().square().flatten(1).sum(1))
    return torch.cat(errors)


@torch.no_grad()
def elbo_at_mean(encoder: TwoHeaded, decoder: TwoHeaded, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """The deterministic plug-in bound log p(x | z = μ(x)) − KL(q(z|x) ‖ p(z)) in nats, float64 [N]."""
    scores = []
    for part in levels.split(batch):
        mean, log_variance = encoder(to_input(part, count))
        reconstruction = discretized_logistic_log_likelihood(*decoder(mean), part, count)
        scores.append(reconstruction - gaussian_kl(mean.double(), log_variance.double()).sum(1))
    return torch.cat(scores)


@torch.no_grad()
def log_importance_weights(
    encoder: TwoHeaded, decoder: TwoHeaded, levels: Tensor, count: int, draws: int, seed: int, batch: int = 32
) -> Tensor:
    """log p(x|z) + log p(z) − log q(z|x) in nats for `draws` z from the posterior of each image, float64 [N, draws].

    Their mean is the evidence lower bound, their log-mean-exp the importance-weighted bound of Burda, Grosse and
    Salakhutdinov, "Importance Weighted Autoencoders" (2016).
    """
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for part in tqdm(levels.split(batch), desc="importance samples", mininterval=5, dynamic_ncols=True):
        mean, log_variance = encoder(to_input(part, count))
        noise = torch.randn((len(part), draws, mean.shape[1]), generator=generator)
        latent = mean.unsqueeze(1) + (0.5 * log_variance).exp().unsqueeze(1) * noise
        # log p(z) − log q(z|x); the terms in log 2π cancel.
        prior_to_posterior = 0.5 * (
            noise.double().square() + log_variance.double().unsqueeze(1) - latent.double().square()
        )
        # Per pixel in float32: an average over draws does not need more, and float64 takes three times as long.
        log_probability = discretized_logistic_log_probability(
            *decoder(latent.flatten(0, 1)), part.repeat_interleave(draws, dim=0), count
        )
        reconstruction = log_probability.flatten(1).double().sum(1)
        weights.append(reconstruction.view(len(part), draws) + prior_to_posterior.sum(2))
    return torch.cat(weights)
