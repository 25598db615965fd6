"""How good are probabilities of labels? Accuracy, log loss and calibration."""

import torch
from torch import Tensor

BINS = 15


def expected_calibration_error(log_probabilities: Tensor, labels: Tensor) -> float:
    """Σ over bins of confidence of (share of the images) · |accuracy − mean confidence|, 15 bins of equal width.

    Confidence is the probability of the most probable label (Guo et al., "On Calibration of Modern Neural Networks",
    2017). `log_probabilities` [N, labels], `labels` int64 [N].
    """
    confidence, predicted = log_probabilities.double().exp().max(1)
    correct = (predicted == labels).double()
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).double().index_add(0, index, correct - confidence)
    return (gaps.abs().sum() / len(labels)).item()


def classification_figures(log_probabilities: Tensor, labels: Tensor, names: tuple[str, ...]) -> dict[str, object]:
    """What a model card reports of log p(y|x), [N, labels], on labelled images."""
    correct = log_probabilities.argmax(1) == labels
    return {
        "accuracy": correct.double().mean().item(),
        "accuracy_by_label": {
            name: correct[labels == label].double().mean().item() for label, name in enumerate(names)
        },
        "log_loss_nats": -log_probabilities.gather(1, labels.unsqueeze(1)).mean().item(),
        "expected_calibration_error": expected_calibration_error(log_probabilities, labels),
    }
