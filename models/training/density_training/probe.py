"""Measure how well labels can be read off features, with few labels and with all of them: a linear probe.

The probe is multinomial logistic regression with an L2 penalty. Features are standardised with all training images, for
which no label is needed. The penalty is chosen on training labels that are held out for it; test images are only
measured on.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from density_training.data import DEFAULT_FOLDER, FASHION_MNIST_LABELS, DataError, read_array
from density_training.figures import Figures

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00003, 0.00001)
"""λ in mean cross-entropy + λ/2 · |W|², from strong to weak, so that each fit begins where a simpler one ended."""
FOLDS = 5
MANY = 10_000
"""From this number of labels on, one fold of five is enough to choose a penalty."""
PATIENCE = 2
ITERATIONS = 200


def standardise(train: np.ndarray, test: np.ndarray) -> tuple[Tensor, Tensor]:
    """Features [N, …] as [N, F], with mean 0 and standard deviation 1 in training; a constant feature becomes 0."""
    known, new = (torch.from_numpy(np.array(x.reshape(len(x), -1), np.float32)) for x in (train, test))
    mean, deviation = known.mean(0), known.std(0)
    scale = torch.where(deviation > 1e-6, 1 / deviation, torch.zeros_like(deviation))
    return (known - mean) * scale, (new - mean) * scale


def fit(features: Tensor, labels: Tensor, classes: int, penalty: float, start: Tensor | None = None) -> Tensor:
    """The weights [F + 1, classes] that minimise mean cross-entropy + penalty/2 · |W|².

    The last row is the bias, which is free of the penalty. `start` are weights to begin with.
    """
    weights = torch.zeros(features.shape[1] + 1, classes) if start is None else start.clone()
    weights.requires_grad_(True)
    optimiser = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-6)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits(weights, features), labels) + penalty / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights.detach()


def logits(weights: Tensor, features: Tensor) -> Tensor:
    """Unnormalised log p(label | features), [N, classes]."""
    return features @ weights[:-1] + weights[-1]


def accuracy(weights: Tensor, features: Tensor, labels: Tensor) -> float:
    """Share of the images whose most probable label is theirs."""
    return (logits(weights, features).argmax(1) == labels).double().mean().item()


def choose_penalty(features: Tensor, labels: Tensor, classes: int) -> float:
    """The penalty with the least cross-entropy on held-out fifths of these labels; of equals the strongest.

    Weaker and weaker penalties are tried until two in a row are no better than the best.
    """
    held_out = _folds(len(labels))
    weights: list[Tensor | None] = [None] * len(held_out)
    losses: list[float] = []
    for penalty in PENALTIES:
        loss = 0.0
        for place, fold in enumerate(held_out):
            fitted = fit(features[~fold], labels[~fold], classes, penalty, weights[place])
            loss += F.cross_entropy(logits(fitted, features[fold]), labels[fold]).item()
            weights[place] = fitted
        losses.append(loss)
        if len(losses) - 1 - int(np.argmin(losses)) == PATIENCE:
            break
    return PENALTIES[int(np.argmin(losses))]


def _folds(count: int) -> list[Tensor]:
    # The images come in random order already, so that every fifth one is a random fifth.
    return [torch.arange(count) % FOLDS == fold for fold in range(1 if count >= MANY else FOLDS)]


def probe(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    counts: tuple[int, ...],
    draws: int,
    seed: int,
) -> list[Figures]:
    """Accuracies on `test` (features, labels) of probes fitted with `counts` labels out of `train`; 0 stands for all.

    The same seed draws the same images whatever the features are. All labels can be drawn in one way only.
    """
    features, test_features = standardise(train[0], test[0])
    labels, test_labels = (torch.from_numpy(part[1].astype(np.int64)) for part in (train, test))
    if len(features) != len(labels) or len(test_features) != len(test_labels):
        raise DataError(
            f"{len(features)} training images have {len(labels)} labels, "
            f"{len(test_features)} test images {len(test_labels)}"
        )
    classes = int(labels.max()) + 1
    results = []
    for count in counts:
        if count > len(labels):
            raise DataError(f"{count} labels are wanted, but there are {len(labels)}")
        random = np.random.default_rng(seed)
        accuracies, penalties = [], []
        for _ in range(draws if 0 < count < len(labels) else 1):
            drawn = torch.from_numpy(random.permutation(len(labels))[: count or None])
            x, y = features[drawn], labels[drawn]
            penalty = choose_penalty(x, y, classes)
            accuracies.append(accuracy(fit(x, y, classes, penalty), test_features, test_labels))
            penalties.append(penalty)
        deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
        results.append(
            {
                "labels": count or len(labels),
                "draws": len(accuracies),
                "accuracy": float(np.mean(accuracies)),
                "standard_deviation": deviation,
                "accuracies": accuracies,
                "penalties": penalties,
            }
        )
    return results


def labels_count(text: str) -> int:
    """A number of labels on the command line: a number, or `all`."""
    return 0 if text == "all" else int(text)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `probe` on the command line."""
    command.add_argument("--train", type=Path, required=True, help="features or images of training, npy or idx [N, …]")
    command.add_argument("--test", type=Path, required=True, help="those of the test")
    for part, (name, _) in FASHION_MNIST_LABELS.items():
        default = DEFAULT_FOLDER / f"{name}.gz"
        command.add_argument(f"--{part}-labels", type=Path, default=default, help="npy or idx [N]")
    command.add_argument("--labels", type=labels_count, nargs="+", default=(100, 1_000, 0), help="numbers, or all")
    command.add_argument("--draws", type=int, default=10, help="draws of the labels, if not all are taken")
    command.add_argument("--seed", type=int, default=0, help="of the draws")


def run(options: argparse.Namespace) -> list[Figures]:
    """The command line's `probe`."""
    train, test = (
        (read_array(o), read_array(y))
        for o, y in ((options.train, options.train_labels), (options.test, options.test_labels))
    )
    return probe(train, test, tuple(options.labels), options.draws, options.seed)
