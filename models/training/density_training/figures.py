"""The figures that model cards report: how well scores detect outliers, and how good probabilities of labels are.

References
- Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005): conformal p-values.
- Guo et al., "On Calibration of Modern Neural Networks" (2017): the expected calibration error.
"""

from typing import Any

import torch
from torch import Tensor

from density_training.data import ODDITIES
from density_training.scoring import bits_per_dim

Figures = dict[str, Any]
"""Name → number, or a table of numbers by name."""
CALIBRATION_COUNT = 5_000
SPLIT_SEED = 0
BINS = 15


def split_for_calibration(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the calibration images and of the remaining ones: a random permutation with a fixed seed, cut."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    calibration = min(CALIBRATION_COUNT, count // 2)
    return order[:calibration], order[calibration:]


def two_sided_p_values(calibration: Tensor, scores: Tensor) -> Tensor:
    """min(1, 2·min((1 + #{sᵢ ≤ s})/(n + 1), (1 + #{sᵢ ≥ s})/(n + 1))): too unlikely and too likely both count."""
    ordered = calibration.sort().values
    at_most = torch.searchsorted(ordered, scores, right=True)
    at_least = len(ordered) - torch.searchsorted(ordered, scores, right=False)
    tail = (1 + torch.minimum(at_most, at_least)).double() / (len(ordered) + 1)
    return (2 * tail).clamp(max=1)


def rejection_rates(calibration: Tensor, scores: Tensor) -> dict[str, float]:
    """The fraction of `scores` rejected at a requested false-alarm rate of 1 % and of 5 %."""
    p_values = two_sided_p_values(calibration, scores)
    return {f"{rate:.0%}": (p_values <= rate).double().mean().item() for rate in (0.01, 0.05)}


def auroc_of_low_scores(inliers: Tensor, outliers: Tensor) -> float:
    """P(an outlier scores below an inlier), ties counted half: 1 is perfect, 0.5 is chance, 0 is always wrong."""
    ordered = outliers.sort().values
    below = torch.searchsorted(ordered, inliers, right=False)
    up_to = torch.searchsorted(ordered, inliers, right=True)
    return ((below + up_to).double() / 2).mean().item() / len(ordered)


def detection_figures(
    test_scores: Tensor, golden_scores: Tensor, digit_scores: Tensor | None, dimensions: int
) -> Figures:
    """False alarms on the test images outside the calibration, p-values of oddities, and digits rejected."""
    calibration, held_out = split_for_calibration(len(test_scores))
    oddities = golden_scores[-len(ODDITIES) :]
    p_values = two_sided_p_values(test_scores[calibration], oddities)
    figures: Figures = {
        "test_images": len(test_scores),
        "test_score_bits_per_dim": bits_per_dim(test_scores, dimensions),
        "false_alarm_rate": rejection_rates(test_scores[calibration], test_scores[held_out]),
        "oddities": {
            name: {"bits_per_dim": bits_per_dim(score, dimensions), "p_value": p_value.item()}
            for name, score, p_value in zip(ODDITIES, oddities, p_values, strict=True)
        },
    }
    if digit_scores is not None:
        figures["mnist_score_bits_per_dim"] = bits_per_dim(digit_scores, dimensions)
        figures["mnist_rejection_rate"] = rejection_rates(test_scores[calibration], digit_scores)
        figures["mnist_auroc_of_low_scores"] = auroc_of_low_scores(test_scores[held_out], digit_scores)
    return figures


def classification_figures(log_probabilities: Tensor, labels: Tensor, names: tuple[str, ...]) -> Figures:
    """Accuracy, log loss and calibration of log p(y|x), [N, labels], on labelled images."""
    correct = log_probabilities.argmax(1) == labels
    return {
        "accuracy": correct.double().mean().item(),
        "accuracy_by_label": {
            name: correct[labels == label].double().mean().item() for label, name in enumerate(names)
        },
        "log_loss_nats": -log_probabilities.gather(1, labels.unsqueeze(1)).mean().item(),
        "expected_calibration_error": expected_calibration_error(log_probabilities, labels),
    }


def expected_calibration_error(log_probabilities: Tensor, labels: Tensor) -> float:
    """Σ over bins of confidence of (share of the images) · |accuracy − mean confidence|, 15 bins of equal width.

    Confidence is the probability of the most probable label. `log_probabilities` [N, labels], `labels` int64 [N].
    """
    confidence, predicted = log_probabilities.double().exp().max(1)
    correct = (predicted == labels).double()
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).double().index_add(0, index, correct - confidence)
    return (gaps.abs().sum() / len(labels)).item()
