"""Exact samples from an autoregressive network by fixed-point iteration.

Fix the random numbers, guess an image, and replace all its pixels at once by what the network draws given the guess.
Each pass makes at least one more pixel final, usually many, and an image that no longer changes is the one that
drawing pixel after pixel would have given (Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear
Equation Solving", 2021).
"""

import torch
from torch import Tensor
from tqdm import tqdm

from density_training.scoring import Network, to_input


@torch.no_grad()
def sample(network: Network, count: int, height: int, width: int, levels: int, seed: int) -> Tensor:
    """Draw `count` grey images, uint8 [count, 1, H, W], from categorical logits [N, levels, H, W]."""
    uniform = torch.rand((count, levels, height, width), generator=torch.Generator().manual_seed(seed))
    # A categorical draw is the argmax of the logits plus Gumbel noise.
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
    images = torch.zeros((count, 1, height, width), dtype=torch.uint8)
    changing = torch.arange(count)
    for _ in tqdm(range(height * width + 1), desc="sampling", unit="pass", mininterval=5, dynamic_ncols=True):
        drawn = (network(to_input(images[changing], levels)) + gumbel[changing]).argmax(1, keepdim=True).byte()
        changed = (drawn != images[changing]).flatten(1).any(1)
        images[changing] = drawn
        changing = changing[changed]
        if len(changing) == 0:
            break
    return images
