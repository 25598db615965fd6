"""Detectors of one network's features, side by side: those of `pytorch-ood` (PyPI), and one that the server made.

    density-server calibrate cifar10-classifier --fit fit.npy --data calibrate.npy
    python -m density_training.compare_features --images FOLDER --server density-server

All see the same images, fit to the same 4,000, and are measured on the same report and sets of outliers, in one run.
The others are given the true labels of the images that fit, which the server's detector is not.
"""

import argparse
import csv
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from density_training.data import LEVELS, to_input, to_levels
from density_training.model import REPOSITORY
from density_training.scoring import load_graph

NOT_SETS = ("fit", "calibrate", "report", "lossless")


def others(folder: Path, features: Tensor, labels: Tensor) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The detectors of the package with the settings that it proposes: (logits, features) → scores, high = outlier."""
    from pytorch_ood.detector import KNN, EnergyBased, Mahalanobis, MaxSoftmax, ViM  # noqa: PLC0415

    weights, bias = last_layer(folder)
    count = features.shape[1]
    mahalanobis = Mahalanobis(None).fit_features(features, labels)
    nearest = KNN(None).fit_features(features, labels)
    vim = ViM(None, d=count // 2, w=weights, b=bias).fit_features(features, labels)
    return {
        "MDS": lambda logits, own: mahalanobis.predict_features(own),
        "KNN": lambda logits, own: nearest.predict_features(own),
        "ViM": lambda logits, own: vim.predict_features(own),
        "energy": lambda logits, own: EnergyBased(None).predict_logits(logits),
        "MSP": lambda logits, own: MaxSoftmax(None).predict_logits(logits),
    }


def last_layer(folder: Path) -> tuple[Tensor, Tensor]:
    """Weights [labels, F] and bias of the linear layer, divided by the temperature as the graph divides the logits."""
    graph = onnx.load(folder / "model.onnx").graph
    arrays = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    weights = next(array for name, array in arrays.items() if name.endswith("head.weight"))
    bias = next(array for name, array in arrays.items() if name.endswith("head.bias"))
    temperature = next((array for name, array in arrays.items() if name.endswith("temperature")), torch.tensor(1.0))
    return weights / temperature, bias / temperature


def seen(folder: Path, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits and features of pictures, by the graph that is served."""
    graph = load_graph(folder / "model.onnx")
    parts = [graph(to_input(part, LEVELS)) for part in to_levels(pictures).split(500)]
    logits, features = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(features)


def judged(server: Path, repository: Path, detector: str, file: Path) -> Tensor:
    """Strangeness of the images of a file, by the command line of the server."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "judged.csv"
        command = [server, "detect", detector, file, "--repository", repository, "--output", output]
        subprocess.run(command, check=True)
        with output.open() as rows:
            return torch.tensor([float(row["strangeness"]) for row in csv.DictReader(rows)])


def auroc(inliers: Tensor, outliers: Tensor) -> float:
    """The probability that an outlier has the larger score; equal ones count half."""
    values = torch.cat([inliers, outliers]).double()
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks = (last - (counts - 1) / 2)[inverse]
    number = len(outliers)
    return ((ranks[len(inliers) :].sum() - number * (number + 1) / 2) / (len(inliers) * number)).item()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m density_training.compare_features", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder that density_training.outliers_colour wrote")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--classifier", default="cifar10-classifier")
    parser.add_argument("--detector", default="cifar10-classifier-gate")
    parser.add_argument("--server", type=Path, required=True, help="the binary density-server")
    arguments = parser.parse_args()
    classifier = arguments.repository / arguments.classifier / "1"
    files = {path.stem: path for path in sorted(arguments.images.glob("*.npy")) if not path.stem.endswith("_labels")}
    _, features = seen(classifier, np.load(files["fit"]))
    labels = torch.from_numpy(np.load(arguments.images / "fit_labels.npy")).long()
    detectors = others(classifier, features, labels)
    scores: dict[str, dict[str, Tensor]] = {}
    for name, file in files.items():
        if name in NOT_SETS and name != "report":
            continue
        logits, features = seen(classifier, np.load(file))
        scores[name] = {own: detector(logits, features) for own, detector in detectors.items()}
        scores[name]["server"] = judged(arguments.server, arguments.repository, arguments.detector, file)
    inliers = scores.pop("report")
    columns = list(inliers)
    print(f"| AUROC | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, own in scores.items():
        print(f"| {name} | {' | '.join(f'{auroc(inliers[column], own[column]):.4f}' for column in columns)} |")


if __name__ == "__main__":
    main()
