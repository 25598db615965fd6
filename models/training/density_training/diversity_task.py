"""How close what each model draws comes to real images: as many draws of each, judged by the classifier.

The GAN, the PixelRNN and the VAE are drawn from here. The server draws from a PixelCNN much faster than this project
does; `DRAWS` expects its draws, uint8 arrays [N, 28, 28] in `<model>/*.npy`, `JUDGED` images of each model in all.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from density_training import gan, wavefront
from density_training.data import DataError, load_images
from density_training.diversity import Row, features_and_labels, judge
from density_training.fashion_mnist import CACHE, HEIGHT, LABELS, LEVELS, REPOSITORY, WIDTH
from density_training.scoring import load_graph, to_levels

DRAWS = CACHE / "draws"
JUDGED = 10_000
"""How many images of each kind are compared with as many real ones."""
PART = 500
CLASSIFIER, GAN, VAE, PIXELRNN = (
    REPOSITORY / f"fashion-mnist-{name}" / "1" for name in ("classifier", "gan", "vae", "pixelrnn")
)
DRAWN_BY_THE_SERVER = ("fashion-mnist-pixelcnn", "fashion-mnist-pixelcnn-conditional")


def compare(data: Path, draws: Path = DRAWS, generator: Path = GAN) -> list[Row]:
    """Compare what the models of the repository draw with the test images of Fashion-MNIST; prints a table.

    `generator` is the folder of the GAN's version.
    """
    classifier = load_graph(CLASSIFIER / "model.onnx")
    test = to_levels(load_images(data, "test"))
    real, labels = features_and_labels(classifier, test, LEVELS)
    half = len(real) // 2
    rows = [
        judge("real: the 10,000 test images", real, labels, None, len(LABELS)),
        judge("real: 5,000 test images, from the other 5,000", real[:half], labels[:half], real[half:], len(LABELS)),
    ]
    sources: dict[str, Callable[[], Tensor]] = {
        "real: 10,000 training images": lambda: to_levels(load_images(data, "train"))[:JUDGED],
        "fashion-mnist-gan": lambda: draw_gan(generator),
        **{name: lambda name=name: read_draws(draws / name) for name in DRAWN_BY_THE_SERVER},
        "fashion-mnist-pixelrnn": _draw_pixelrnn,
        "fashion-mnist-vae": lambda: _draw_vae(noise=True),
        "fashion-mnist-vae, means without the noise of pixels": lambda: _draw_vae(noise=False),
    }
    for name, source in sources.items():
        rows.append(judge(name, *features_and_labels(classifier, source(), LEVELS), real, len(LABELS)))
    return rows


def each_label(count: int) -> Tensor:
    """`count` labels, int64, equally many of each and those of the same label together."""
    return torch.arange(len(LABELS)).repeat_interleave(count // len(LABELS))


def draw_gan(folder: Path) -> Tensor:
    """`JUDGED` images of a generator, uint8 [N, 1, H, W], of the labels `each_label`."""
    latent_size = tomllib.loads((folder / "model.toml").read_text())["latent"]["size"]
    return gan.draw(load_graph(folder / "generator.onnx"), each_label(JUDGED), latent_size, LEVELS, seed=0)


def recognised_labels(folder: Path) -> Tensor:
    """The labels that the classifier gives to `draw_gan`."""
    return features_and_labels(load_graph(CLASSIFIER / "model.onnx"), draw_gan(folder), LEVELS)[1]


def read_draws(folder: Path) -> Tensor:
    """Images that the server drew, uint8 [N, 1, H, W]."""
    arrays = [np.load(file) for file in sorted(folder.glob("*.npy"))]
    count = sum(len(array) for array in arrays)
    if count != JUDGED:
        raise DataError(
            f"{folder}: {count:,} images in *.npy, {JUDGED:,} are compared; draw them with: "
            f"density-server sample {folder.name} -n {JUDGED} --output {folder}/all.npy"
        )
    return to_levels(np.concatenate(arrays))


def _draw_pixelrnn() -> Tensor:
    step = load_graph(PIXELRNN / "step.onnx")
    state_size = tomllib.loads((PIXELRNN / "model.toml").read_text())["recurrence"]["state_size"]
    shape = (PART, 1, HEIGHT, WIDTH)
    return torch.cat([wavefront.sample(step, shape, LEVELS, state_size, seed) for seed in range(JUDGED // PART)])


def _draw_vae(noise: bool) -> Tensor:
    """A code from the prior, then a level from the logistic of each pixel, or the nearest to its mean."""
    decoder = load_graph(VAE / "decoder.onnx")
    latent_size = tomllib.loads((VAE / "model.toml").read_text())["latent"]["size"]
    generator = torch.Generator().manual_seed(0)
    parts = []
    for _ in range(JUDGED // PART):
        mean, log_scale = decoder(torch.randn((PART, latent_size), generator=generator))
        uniform = torch.rand(mean.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        drawn = mean + log_scale.exp() * torch.logit(uniform) if noise else mean
        parts.append((drawn * (LEVELS - 1)).round().clamp(0, LEVELS - 1).to(torch.uint8))
    return torch.cat(parts)
