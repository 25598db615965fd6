"""Train, export and evaluate the PixelCNN of Fashion-MNIST that sees only the nearest pixels.

The log-likelihood that it gives to an image measures how ordinary the image is at the scale of a few pixels, whatever
it shows. Its difference from that of the full PixelCNN is what the wider context explains (Zhang et al., "On the
Out-of-Distribution Generalization of Probabilistic Image Modelling", 2021).
"""

# ruff: noqa: E501 (text of a model card is as long as Markdown needs it)
from pathlib import Path

from density_training import pixelcnn_task
from density_training.card import PixelCNNText
from density_training.pixelcnn import PixelCNNConfig
from density_training.pixelcnn_task import Variant
from density_training.training import Progress, Recipe

NAME = "fashion-mnist-pixelcnn-local"
DEFAULT_RECIPE = Recipe(steps=8_000, decay_steps=4_000, batch_size=32)

VARIANT = Variant(
    command="pixelcnn-local",
    description="Local PixelCNN of Fashion-MNIST: exact log-likelihoods that see 24 neighbours of each pixel, 28×28 grey, 256 levels",
    config=PixelCNNConfig(channels=48, blocks=2, head_channels=48, block_size=1, position=False),
    text=PixelCNNText(
        introduction="""A PixelCNN that puts an **exact probability** on 28×28 grey images with 256 levels, but **sees only the nearest pixels**: each
pixel is predicted from the 24 before it in a 7×7 neighbourhood, the same everywhere in the image. It knows the texture of
clothes and nothing of their shape. It is a helper: log p(x) of the full PixelCNN less this one is what the wider context
explains.""",
        network="""One 7×7 mask-A convolution over pointwise features of the level, two gated 1×1 blocks of 48 channels, and a 256-way
  softmax for each pixel. Where a pixel lies is not an input.""",
        references="""
- Zhang et al., *On the Out-of-Distribution Generalization of Probabilistic Image Modelling* (2021), for the ratio of a full and
  a local model.""",
        verdict="Use it beside the full PixelCNN, not alone: it knows nothing of clothes beyond their texture.",
    ),
)


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images; Muon for the hidden matrices, AdamW for the rest."""
    return pixelcnn_task.train_variant(VARIANT, data, checkpoint, recipe)


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden and calibration scores, samples, model card."""
    pixelcnn_task.export_variant(VARIANT, data, checkpoint, folder, mnist)


evaluate = pixelcnn_task.evaluate
