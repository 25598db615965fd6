"""The discretised mixture of logistics: probabilities of the levels of a pixel whose channels are linked in the head.

References
- Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood" (2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_LOG_SCALE = -7.0
"""Scales are not taken to be smaller, as in the paper's loss."""


def parameter_count(mixtures: int, channels: int) -> int:
    """Outputs of a network at a pixel: 10K of three channels, 3K of one."""
    return mixtures * (1 + (3 if channels == 3 else 2) * channels)


def parameters(head: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Parts of a head [N, 10K, H, W] (3 channels) or [N, 3K, H, W] (1 channel).

    Log-weights [N, K, H, W], means, log-scales and, of 3 channels, coefficients [N, C, K, H, W]. The coefficients of
    channel 0 are green's on red, those of channel 1 blue's on red, those of channel 2 blue's on green.
    """
    count, outputs, height, width = head.shape
    mixtures = outputs // parameter_count(1, channels)
    weights = F.log_softmax(head[:, :mixtures], dim=1)
    rest = head[:, mixtures:].reshape(count, channels, -1, mixtures, height, width)
    coefficients = torch.tanh(rest[:, :, 2]) if channels == 3 else None
    return weights, rest[:, :, 0], rest[:, :, 1].clamp(min=MIN_LOG_SCALE), coefficients


def log_probability(head: Tensor, levels: Tensor, count: int) -> Tensor:
    """Log-probabilities [N, H, W], in nats, of the pixels of uint8 images [N, C, H, W] with `count` levels."""
    channels = levels.shape[1]
    weights, means, log_scales, coefficients = parameters(head, channels)
    x = (levels.to(head.dtype) * (2 / (count - 1)) - 1).unsqueeze(2)
    if coefficients is not None:
        red, green, blue = coefficients.unbind(1)
        means = torch.stack(
            [
                means[:, 0],
                means[:, 1] + red * x[:, 0],
                means[:, 2] + green * x[:, 0] + blue * x[:, 1],
            ],
            dim=1,
        )
    inverse = torch.exp(-log_scales)
    half = 1 / (count - 1)
    upper = inverse * (x - means + half)
    lower = inverse * (x - means - half)
    # σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)), of which no factor cancels; a level at an edge takes the open tail.
    at_bottom, at_top = levels.unsqueeze(2) == 0, levels.unsqueeze(2) == count - 1
    log_upper = F.logsigmoid(upper).masked_fill(at_top, 0)
    log_lower = F.logsigmoid(-lower).masked_fill(at_bottom, 0)
    width = torch.log(-torch.expm1(-2 * half * inverse)).masked_fill(at_bottom | at_top, 0)
    return torch.logsumexp(weights + (log_upper + log_lower + width).sum(1), dim=1)


def noise(size: tuple[int, int, int], mixtures: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers that decide on pixels [N, H, W] of three channels: one for each component, one for each channel."""
    count, height, width = size
    component = torch.rand((count, mixtures, height, width), generator=generator)
    channel = torch.rand((count, 3, height, width), generator=generator).clamp(1e-5, 1 - 1e-5)
    return -torch.log(-torch.log(component.clamp(1e-7, 1 - 1e-7))), torch.log(channel) - torch.log1p(-channel)


def draw(head: Tensor, numbers: tuple[Tensor, Tensor], count: int) -> Tensor:
    """Levels uint8 [N, 3, H, W] from a head of three channels: a component each pixel, then channel after channel."""
    gumbel, logistic = numbers
    weights, means, log_scales, coefficients = parameters(head, 3)
    assert coefficients is not None
    chosen = (weights + gumbel).argmax(1)[:, None, None]
    means, log_scales, coefficients = (
        part.gather(2, chosen.expand(-1, 3, -1, -1, -1)).squeeze(2) for part in (means, log_scales, coefficients)
    )
    values: list[Tensor] = []
    for channel in range(3):
        first = 0 if channel == 1 else 1
        mean = means[:, channel] + sum(coefficients[:, first + i] * x for i, x in enumerate(values))
        value = mean + torch.exp(log_scales[:, channel]) * logistic[:, channel]
        level = ((value + 1) * ((count - 1) / 2)).round().clamp(0, count - 1)
        values.append(level * (2 / (count - 1)) - 1)
    return ((torch.stack(values, dim=1) + 1) * ((count - 1) / 2)).round().to(torch.uint8)
