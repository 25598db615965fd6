"""How close drawn images come to real ones, judged in the feature space of the classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor

from density_training.scoring import TwoHeaded, to_input


@dataclass(frozen=True)
class Row:
    """How one set of images compares with real ones: a distance, and how many images get each label."""

    name: str
    distance: float | None
    counts: tuple[int, ...]


def judge(name: str, features: Tensor, labels: Tensor, real: Tensor | None, label_count: int) -> Row:
    """Compare features [N, F] and labels [N] that the classifier gives with the features [M, F] of real images."""
    counts = torch.bincount(labels, minlength=label_count)
    return Row(name, None if real is None else frechet_distance(features, real), tuple(counts.tolist()))


def markdown(rows: list[Row], labels: tuple[str, ...]) -> str:
    """A table of the rows, with a column for each label."""
    lines = [f"| images | distance | {' | '.join(labels)} |", "|---" * (2 + len(labels)) + "|"]
    for one in rows:
        distance = "" if one.distance is None else f"{one.distance:.3f}"
        lines.append(f"| {one.name} | {distance} | {' | '.join(f'{count:,}' for count in one.counts)} |")
    return "\n".join(lines)


@torch.no_grad()
def features_and_labels(classifier: TwoHeaded, levels: Tensor, count: int, batch: int = 250) -> tuple[Tensor, Tensor]:
    """Features float64 [N, F] and the most probable labels int64 [N] of uint8 images [N, C, H, W]."""
    logits, features = zip(*(classifier(to_input(part, count)) for part in levels.split(batch)), strict=True)
    return torch.cat(features).double(), torch.cat(logits).argmax(1)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) between Gaussians fitted to features [N, F] and [M, F].

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), with the features of another network: the
    figures compare with each other, not with those of the literature.
    """
    means, covariances = [x.mean(0) for x in (first, second)], [torch.cov(x.T) for x in (first, second)]
    # The eigenvalues of C₁C₂ are those of the symmetric C₁^½ C₂ C₁^½.
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariances[1] @ root)
    spread = covariances[0].trace() + covariances[1].trace() - 2 * product.clamp(min=0).sqrt().sum()
    return ((means[0] - means[1]).square().sum() + spread).item()
