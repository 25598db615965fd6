"""Train, export and evaluate the background PixelCNN of Fashion-MNIST.

Its training images have each pixel replaced by a random level with a fixed probability, which destroys what they show
and keeps their general statistics. The log-likelihood of the full PixelCNN less that of this one no longer counts what
any image has in common with clothes, such as a black background (Ren et al., "Likelihood Ratios for Out-of-Distribution
Detection", 2019).
"""

# ruff: noqa: E501 (text of a model card is as long as Markdown needs it)
from pathlib import Path

import torch
from torch import Tensor

from density_training import pixelcnn_task
from density_training.card import PixelCNNText
from density_training.fashion_mnist import LEVELS
from density_training.pixelcnn import PixelCNNConfig
from density_training.pixelcnn_task import Variant
from density_training.training import Progress, Recipe

NAME = "fashion-mnist-pixelcnn-background"
DEFAULT_RECIPE = Recipe(steps=6_000, decay_steps=3_000, batch_size=32)
REPLACED = 0.2
"""The probability that a pixel is replaced, fixed before any training; nothing was tuned."""


def replace_pixels(levels: Tensor) -> Tensor:
    """Each pixel of uint8 images becomes, with probability `REPLACED`, one of the 256 levels, all equally likely."""
    replaced = torch.rand(levels.shape) < REPLACED
    return torch.where(replaced, torch.randint(0, LEVELS, levels.shape, dtype=torch.uint8), levels)


VARIANT = Variant(
    command="pixelcnn-background",
    description="Background PixelCNN of Fashion-MNIST, trained on images with replaced pixels: exact log-likelihoods, 28×28 grey, 256 levels",
    config=PixelCNNConfig(channels=32, blocks=5, head_channels=32),
    corrupt=replace_pixels,
    notes=f"trained on images each pixel of which was replaced with probability {REPLACED} by a uniformly random level; test_bits_per_dim is of unaltered test images; ",
    text=PixelCNNText(
        introduction=f"""A small gated PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels. It was trained on **spoilt clothes**:
images of Fashion-MNIST each pixel of which was replaced with probability {REPLACED} by a uniformly random level. It is a helper: log p(x)
of the full PixelCNN less this one does not count what any image has in common with clothes.""",
        network="""One raster-masked stack: a 7×7 mask-A convolution over pointwise features of the level, a bias for each row and column,
  five gated 3×3 mask-B blocks of 32 channels with dilations 1, 2, 1, 4, and a 256-way softmax for each pixel.""",
        references="""
- Ren et al., *Likelihood Ratios for Out-of-Distribution Detection* (2019), for the ratio of a full and a background model.""",
        training=f"""- The replaced pixels are drawn anew for each batch, in what the network reads and in what it predicts. The probability {REPLACED} was fixed
  in advance. Every figure below is of **unaltered** images, which it does not expect: about a fifth of the probability of
  each pixel is spread over all levels.
""",
        verdict="Use it beside the full PixelCNN, not alone.",
    ),
)


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on spoilt copies of the 60,000 training images; Muon for the hidden matrices, AdamW for the rest."""
    return pixelcnn_task.train_variant(VARIANT, data, checkpoint, recipe)


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden and calibration scores, samples, model card."""
    pixelcnn_task.export_variant(VARIANT, data, checkpoint, folder, mnist)


evaluate = pixelcnn_task.evaluate
