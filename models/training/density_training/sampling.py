"""Images drawn from networks, and sheets of them.

Exact samples of an autoregressive network come by fixed-point iteration. Fix the random numbers, guess an image, and
replace all its pixels at once by what the network draws given the guess. Each pass makes at least one more pixel final,
usually many, and an image that no longer changes is the one that drawing pixel after pixel would have given (Song et
al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", 2021).
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from density_training.data import to_input, to_pictures
from density_training.scoring import Network, TwoInputs


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


@torch.no_grad()
def generate(generator: TwoInputs, label: Tensor, latent_size: int, levels: int, seed: int) -> Tensor:
    """One image a label, uint8 [N, 1, H, W], from a generator (latent, label → image between 0 and 1)."""
    batch = 250
    latent = torch.randn((len(label), latent_size), generator=torch.Generator().manual_seed(seed))
    parts = [generator(*part) for part in zip(latent.split(batch), label.split(batch), strict=True)]
    return (torch.cat(parts) * (levels - 1)).round().to(torch.uint8)


def each_label(labels: int, count: int) -> Tensor:
    """`count` of each label, int64, those of the same label together."""
    return torch.arange(labels).repeat_interleave(count)


def save_grid(levels: Tensor, columns: int, path: Path, magnify: int = 3) -> None:
    """Write uint8 images [N, C, H, W], grey or coloured, as one PNG, row by row, two pixels apart."""
    _, channels, height, width = levels.shape
    rows = -(-len(levels) // columns)
    colour = () if channels == 1 else (channels,)
    canvas = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, *colour), 128, dtype=np.uint8)
    for index, picture in enumerate(to_pictures(levels)):
        top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
        canvas[top : top + height, left : left + width] = picture
    image = Image.fromarray(canvas)
    image.resize((image.width * magnify, image.height * magnify), Image.Resampling.NEAREST).save(path, optimize=True)
