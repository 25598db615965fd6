"""The linear probe: its fit is a minimum, and its choices see no test image."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from density_training.__main__ import main
from density_training.data import DataError, read_array
from density_training.probe import choose_penalty, fit, logits, probe, standardise


def clusters(count: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes around the corners of a triangle, and two features that say nothing."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    corners = np.array([[0, 0], [4, 0], [0, 4]], np.float32)
    told = corners[labels] + spread * random.standard_normal((count, 2))
    return np.concatenate([told, random.standard_normal((count, 2))], 1).astype(np.float32), labels


def test_the_fit_is_a_minimum_of_the_penalised_loss() -> None:
    features, labels = clusters(200, 2.0, 0)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    weights = fit(x, y, 3, 0.1)

    def loss(weights: Tensor) -> Tensor:
        return F.cross_entropy(logits(weights, x), y) + 0.05 * weights[:-1].square().sum()

    weights.requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(weights), weights)
    assert gradient.abs().max() < 1e-3
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = weights.detach() + 0.1 * torch.randn(weights.shape, generator=generator)
        assert loss(other) > loss(weights)


def test_noise_asks_for_a_stronger_penalty_than_signal() -> None:
    features, labels = clusters(300, 0.5, 1)
    noise = np.random.default_rng(2).standard_normal((300, 50)).astype(np.float32)
    y = torch.from_numpy(labels)
    clear = choose_penalty(torch.from_numpy(features), y, 3)
    assert choose_penalty(torch.from_numpy(noise), y, 3) > clear


def test_features_are_standardised_by_training_images_alone() -> None:
    train = np.random.default_rng(0).normal(5, 3, (500, 2, 2)).astype(np.float32)
    train[:, 1, 1] = 7
    x, other = standardise(train, train[:10] + 1)
    assert x.shape == (500, 4)
    assert x.mean(0).abs().max() < 1e-5
    assert (x.std(0)[:3] - 1).abs().max() < 1e-5
    assert (x[:, 3] == 0).all()
    assert (other[:, 3] == 0).all()
    assert (other - x[:10])[:, :3].min() > 0.1


def test_more_labels_do_not_hurt_and_draws_repeat() -> None:
    train, test = clusters(600, 1.5, 3), clusters(500, 1.5, 4)
    few, many = probe(train, test, (10, 0), draws=4, seed=5)
    assert (few["draws"], many["draws"]) == (4, 1)
    assert (few["labels"], many["labels"]) == (10, 600)
    assert few["accuracy"] < many["accuracy"]
    assert many["accuracy"] > 0.8
    assert few["accuracy"] == pytest.approx(np.mean(few["accuracies"]))
    assert probe(train, test, (10,), draws=4, seed=5)[0] == few
    assert probe(train, test, (10,), draws=4, seed=6)[0]["accuracies"] != few["accuracies"]


def test_test_labels_change_nothing_but_the_accuracy() -> None:
    train, (features, labels) = clusters(200, 1.5, 6), clusters(100, 1.5, 7)
    one = probe(train, (features, labels), (50,), draws=2, seed=0)[0]
    other = probe(train, (features, (labels + 1) % 3), (50,), draws=2, seed=0)[0]
    assert one["penalties"] == other["penalties"]
    assert one["accuracy"] > other["accuracy"]


def test_wrong_numbers_of_labels_are_errors() -> None:
    features, labels = clusters(20, 1.0, 8)
    with pytest.raises(DataError, match="20 training images have 19 labels"):
        probe((features, labels[:-1]), (features, labels), (10,), draws=1, seed=0)
    with pytest.raises(DataError, match="21 labels are wanted, but there are 20"):
        probe((features, labels), (features, labels), (21,), draws=1, seed=0)


def test_the_command_reads_npy_and_idx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features, labels = clusters(60, 0.5, 9)
    np.save(tmp_path / "features.npy", features)
    idx = bytes([0, 0, 8, 1]) + len(labels).to_bytes(4, "big") + labels.astype(np.uint8).tobytes()
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx))
    np.save(tmp_path / "labels.npy", labels)
    arguments = ["probe", "--labels", "20", "all", "--draws", "2", "--threads", "1"]
    for part, file in (("train", "labels.gz"), ("test", "labels.npy")):
        arguments += [f"--{part}", str(tmp_path / "features.npy"), f"--{part}-labels", str(tmp_path / file)]
    main(arguments)
    few, many = json.loads(capsys.readouterr().out)
    assert (few["labels"], many["labels"]) == (20, 60)
    assert many["accuracy"] > 0.95
    (tmp_path / "text").write_text("no array")
    with pytest.raises(DataError, match="neither an npy file nor an idx file"):
        read_array(tmp_path / "text")
