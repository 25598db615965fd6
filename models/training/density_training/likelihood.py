"""Log-likelihoods in nats, evaluated in float64 from the float32 outputs of a network: the figures that are published.

Images are uint8 levels [N, C, H, W]; every function returns one float64 a picture, [N].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def categorical_log_likelihood(logits: Tensor, levels: Tensor) -> Tensor:
    """Σ log softmax(logits)[level]; logits [N, L, C, H, W], or [N, L, H, W] when C = 1."""
    if logits.dim() == 4:
        logits = logits.unsqueeze(2)
    log_probability = torch.log_softmax(logits.double(), dim=1)
    return log_probability.gather(1, levels.long().unsqueeze(1)).flatten(1).sum(1)


def bernoulli_log_likelihood(logits: Tensor, levels: Tensor) -> Tensor:
    """Σ log P(level) with P(1) = σ(logit); logits [N, C, H, W] of binary images."""
    sign = 2 * levels.double() - 1
    return F.logsigmoid(sign * logits.double()).flatten(1).sum(1)


def discretized_logistic_log_likelihood(mean: Tensor, log_scale: Tensor, levels: Tensor, count: int) -> Tensor:
    """Σ log P(level), P(k) = σ((x₊ − m)/s) − σ((x₋ − m)/s), x± = (k ± ½)/(count − 1), the edge levels open-ended."""
    return discretized_logistic_log_probability(mean.double(), log_scale.double(), levels, count).flatten(1).sum(1)


def discretized_logistic_log_probability(mean: Tensor, log_scale: Tensor, levels: Tensor, count: int) -> Tensor:
    """The same for each dimension, in the precision of its inputs, without cancellation and with finite gradients.

    With u = (x₊ − m)/s and w = u − v the width of a level in scales, σ(u) − σ(v) = σ(u) · σ(−v) · (1 − e^(−w)),
    whose factors all have exact logarithms (Salimans et al., "PixelCNN++", 2017, define the distribution).
    """
    k = levels.to(mean.dtype)
    inverse_scale = torch.exp(-log_scale)
    upper = ((k + 0.5) / (count - 1) - mean) * inverse_scale
    lower = ((k - 0.5) / (count - 1) - mean) * inverse_scale
    below_upper = F.logsigmoid(upper)
    above_lower = F.logsigmoid(-lower)
    inside = below_upper + above_lower + torch.log(-torch.expm1(-inverse_scale / (count - 1)))
    return torch.where(levels == 0, below_upper, torch.where(levels == count - 1, above_lower, inside))


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, σ²) ‖ N(0, 1)) of each latent coordinate: −½(1 + log σ² − mean² − σ²), same shape as the inputs."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp())


def bits_per_dim(log_likelihood_nats: Tensor, dimensions: int) -> float:
    """−mean log-likelihood / (dimensions · ln 2)."""
    return -log_likelihood_nats.double().mean().item() / (dimensions * math.log(2))
