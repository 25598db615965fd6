"""How close what each model draws comes to real images: as many draws of each, judged by the classifier.

The judge is Fréchet's distance in a feature space: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium" (2017).

The GAN, the PixelRNN and the VAE are drawn from here. The server draws from a PixelCNN much faster than this project
does; `DRAWS` expects its draws, uint8 arrays [N, 28, 28] in `<model>/*.npy`, `JUDGED` images of each model in all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from density_training import pixelrnn, vae
from density_training.card import table
from density_training.data import LABELS, LEVELS, DataError, Dataset, to_input, to_levels
from density_training.model import CACHE, REPOSITORY
from density_training.sampling import each_label, generate
from density_training.scoring import TwoHeaded, load_graph
from density_training.version import read_interpretation, read_manifest

DRAWS = CACHE / "draws"
JUDGED = 10_000
"""How many images of each kind are compared with as many real ones."""
PART = 500
CLASSIFIER, GAN, VAE, PIXELRNN = (
    REPOSITORY / f"fashion-mnist-{name}" / "1" for name in ("classifier", "gan", "vae", "pixelrnn")
)
DRAWN_BY_THE_SERVER = ("fashion-mnist-pixelcnn", "fashion-mnist-pixelcnn-conditional")


@dataclass(frozen=True)
class Row:
    """How one set of images compares with real ones: a distance, and how many images get each label."""

    name: str
    distance: float | None
    counts: tuple[int, ...]


def compare(data: Dataset, draws: Path = DRAWS, generator: Path = GAN) -> list[Row]:
    """Compare what the models of the repository draw with the test images of Fashion-MNIST.

    `generator` is the folder of the GAN's version.
    """
    classifier = load_graph(CLASSIFIER / "model.onnx")
    real, labels = features_and_labels(classifier, data.test_images, LEVELS)
    half = len(real) // 2
    rows = [
        judge("real: the 10,000 test images", real, labels, None, len(LABELS)),
        judge("real: 5,000 test images, from the other 5,000", real[:half], labels[:half], real[half:], len(LABELS)),
    ]
    sources: dict[str, Callable[[], Tensor]] = {
        "real: 10,000 training images": lambda: data.train_images[:JUDGED],
        "fashion-mnist-gan": lambda: draw_generator(generator)[0],
        **{name: partial(read_draws, draws / name) for name in DRAWN_BY_THE_SERVER},
        "fashion-mnist-pixelrnn": lambda: _draw_pixelrnn(data.shape),
        "fashion-mnist-vae": lambda: _draw_vae(noise=True),
        "fashion-mnist-vae, means without the noise of pixels": lambda: _draw_vae(noise=False),
    }
    for name, source in sources.items():
        rows.append(judge(name, *features_and_labels(classifier, source(), LEVELS), real, len(LABELS)))
    return rows


def markdown(rows: list[Row], labels: tuple[str, ...]) -> str:
    """A table of the rows, with a column for each label."""
    return table(
        ("images", "distance", *labels),
        (
            (row.name, "" if row.distance is None else f"{row.distance:.3f}", *(f"{count:,}" for count in row.counts))
            for row in rows
        ),
    )


def recognised_labels(levels: Tensor) -> Tensor:
    """The labels that the classifier of the repository gives to images, int64 [N]."""
    return features_and_labels(load_graph(CLASSIFIER / "model.onnx"), levels, LEVELS)[1]


def draw_generator(folder: Path) -> tuple[Tensor, Tensor]:
    """`JUDGED` images of a generator, uint8 [N, 1, H, W], and the labels that were asked for, equally many of each."""
    wanted = each_label(len(LABELS), JUDGED // len(LABELS))
    latent_size = read_manifest(folder)["latent"]["size"]
    return generate(load_graph(folder / "generator.onnx"), wanted, latent_size, LEVELS, seed=0), wanted


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


def judge(name: str, features: Tensor, labels: Tensor, real: Tensor | None, label_count: int) -> Row:
    """Compare features [N, F] and labels [N] that the classifier gives with the features [M, F] of real images."""
    counts = torch.bincount(labels, minlength=label_count)
    return Row(name, None if real is None else frechet_distance(features, real), tuple(counts.tolist()))


@torch.no_grad()
def features_and_labels(classifier: TwoHeaded, levels: Tensor, count: int, batch: int = 250) -> tuple[Tensor, Tensor]:
    """Features float64 [N, F] and the most probable labels int64 [N] of uint8 images [N, C, H, W]."""
    logits, features = zip(*(classifier(to_input(part, count)) for part in levels.split(batch)), strict=True)
    return torch.cat(features).double(), torch.cat(logits).argmax(1)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) between Gaussians fitted to features [N, F] and [M, F].

    The features are those of another network than in the literature: figures compare with each other only.
    """
    means, covariances = [x.mean(0) for x in (first, second)], [torch.cov(x.T) for x in (first, second)]
    # The eigenvalues of C₁C₂ are those of the symmetric C₁^½ C₂ C₁^½.
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariances[1] @ root)
    spread = covariances[0].trace() + covariances[1].trace() - 2 * product.clamp(min=0).sqrt().sum()
    return ((means[0] - means[1]).square().sum() + spread).item()


def _draw_pixelrnn(image: tuple[int, int, int]) -> Tensor:
    step, state_size = load_graph(PIXELRNN / "step.onnx"), read_interpretation(PIXELRNN).state_size
    parts = [
        pixelrnn.sample_along_diagonals(step, (PART, *image), LEVELS, state_size, seed)
        for seed in range(-(-JUDGED // PART))
    ]
    return torch.cat(parts)[:JUDGED]


def _draw_vae(*, noise: bool) -> Tensor:
    decoder, latent_size = load_graph(VAE / "decoder.onnx"), read_manifest(VAE)["latent"]["size"]
    generator = torch.Generator().manual_seed(0)
    parts = [vae.draw(decoder, PART, latent_size, LEVELS, generator, noise=noise) for _ in range(-(-JUDGED // PART))]
    return torch.cat(parts)[:JUDGED]
