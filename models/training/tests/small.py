"""Small networks for every model, and images that are easy to learn."""

from typing import Any

import torch
from torch import Tensor

from density_training import autoencoder, classifier, gan, pixelcnn, pixelcnn_conditional, pixelrnn, vae
from density_training.convolutional import CodeConfig
from density_training.data import Dataset
from density_training.version import Graphs

HEIGHT, WIDTH = 8, 12


def configs(levels: int, labels: int) -> dict[str, Any]:
    """The sizes of a small network for each model, by its command."""
    image = {"height": HEIGHT, "width": WIDTH, "levels": levels}
    plain = {**image, "channels": 8, "blocks": 3, "head_channels": 16}
    return {
        pixelcnn.MODEL.command: pixelcnn.PixelCNNConfig(**plain),
        pixelcnn.LOCAL.command: pixelcnn.PixelCNNConfig(**plain, block_size=1, position=False),
        pixelcnn.BACKGROUND.command: pixelcnn.PixelCNNConfig(**plain),
        pixelcnn_conditional.MODEL.command: pixelcnn_conditional.ConditionalPixelCNNConfig(**plain, labels=labels),
        pixelrnn.MODEL.command: pixelrnn.PixelRNNConfig(**image, state_size=12, window_channels=8, head_channels=16),
        vae.MODEL.command: CodeConfig(**image, latent_size=3, channels=4),
        autoencoder.MODEL.command: CodeConfig(**image, latent_size=3, channels=4),
        gan.MODEL.command: gan.GANConfig(**image, labels=labels, latent_size=3, channels=4),
        classifier.MODEL.command: classifier.ClassifierConfig(levels, labels, channels=(4, 6, 8)),
    }


def gradients(count: int, levels: int, labels: int) -> tuple[Tensor, Tensor]:
    """Images whose brightness grows along the diagonal from a random value, and how bright each one starts."""
    start = torch.randint(0, levels // 2, (count, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    ramp = (torch.arange(HEIGHT)[:, None] + torch.arange(WIDTH)) // 3
    images = (start + ramp).clamp(max=levels - 1).to(torch.uint8)
    return images, start.flatten() * labels // (levels // 2)


def dataset(levels: int, labels: int) -> Dataset:
    """The same images to train and to test."""
    images, names = gradients(64, levels, labels)
    return Dataset(images, names, images, names)


def modules(model: Any, network: Any) -> Graphs:
    """What would be exported, by graph, still in PyTorch."""
    return {key: module for key, (module, _) in model.exported(network, (1, HEIGHT, WIDTH)).items()}
