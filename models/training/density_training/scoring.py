"""Exact log-likelihoods of images under a network, wherever it runs: a PyTorch module or a graph in ONNX Runtime.

They are evaluated in float64, in nats, from the float32 outputs of the network: these are the figures that are
published. Images are uint8 levels [N, C, H, W]; every function returns one score an image, [N].
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from density_training import mixture
from density_training.data import to_input

onnxruntime.disable_telemetry_events()  # Official builds report what they run unless they are told not to.

Network = Callable[[Tensor], Tensor]
"""float [N, C, H, W] → logits, or → a code and back."""
TwoInputs = Callable[[Tensor, Tensor], Tensor]
"""A network of an image or a latent code, and a label."""
TwoHeaded = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A network with two outputs, such as a VAE's encoder (→ mean, log-variance)."""


def load_graph(path: Path) -> Callable[..., Any]:
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
    """log p(x) in nats of images with `count` levels under an autoregressive network over whole images, float64 [N]."""
    head_log_likelihood = {
        "categorical": categorical_log_likelihood,
        "bernoulli": bernoulli_log_likelihood,
        "discretized-logistic-mixture": partial(mixture_log_likelihood, count=count),
    }[head]
    return torch.cat([head_log_likelihood(network(to_input(part, count)), part) for part in levels.split(batch)])


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


def mixture_log_likelihood(parameters: Tensor, levels: Tensor, count: int) -> Tensor:
    """Σ over pixels of log P(levels of the pixel); parameters [N, 10K, H, W] of 3 channels or [N, 3K, H, W] of one."""
    return mixture.log_probability(parameters.double(), levels, count).flatten(1).sum(1)


def bits_per_dim(log_likelihood_nats: Tensor, dimensions: int) -> float:
    """−mean log-likelihood / (dimensions · ln 2)."""
    return -log_likelihood_nats.double().mean().item() / (dimensions * math.log(2))
