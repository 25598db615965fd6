"""Log-likelihoods in nats, evaluated in float64 from the float32 outputs of a network: the figures that are published."""

import math

import torch
from torch import Tensor


def categorical_log_likelihood(logits: Tensor, levels: Tensor) -> Tensor:
    """Σ over dimensions of log softmax(logits)[level]; logits [N, L, …], levels [N, …], result [N] in nats."""
    log_probability = torch.log_softmax(logits.double(), dim=1)
    return log_probability.gather(1, levels.long().unsqueeze(1)).flatten(1).sum(1)


def bits_per_dim(log_likelihood_nats: Tensor, dimensions: int) -> float:
    """−mean log-likelihood / (dimensions · ln 2)."""
    return -log_likelihood_nats.double().mean().item() / (dimensions * math.log(2))
