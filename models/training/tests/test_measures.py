"""How data are read and figures measured."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from density_training import classifier
from density_training.data import DataError, load_images, to_levels, to_pictures
from density_training.diversity import Row, frechet_distance, judge, markdown, read_draws
from density_training.figures import auroc_of_low_scores, expected_calibration_error, two_sided_p_values


def test_data_is_refused_when_missing_or_altered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        load_images(tmp_path, "test")
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"not the published file"))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: SHA-256 .* expected"):
        load_images(tmp_path, "test")


def test_pictures_have_channels_last_and_levels_channels_first() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    assert to_levels(colour).shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(to_pictures(to_levels(colour)), colour)
    np.testing.assert_array_equal(to_pictures(to_levels(colour[..., 0])), colour[..., 0])


def test_frechet_distance_of_gaussians_is_that_of_their_parameters() -> None:
    first = torch.randn(50_000, 3).double()
    second = 2 * torch.randn(50_000, 3).double() + 1
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(3 * (1 + 1), rel=0.03)


def test_images_are_judged_by_their_distance_and_counted_by_label() -> None:
    real = torch.randn(1_000, 3).double()
    same = judge("same", real, torch.tensor([0, 2, 2]), real, label_count=4)
    assert same.distance == pytest.approx(0, abs=1e-9)
    assert same.counts == (1, 0, 2, 0)
    far = judge("far", real + 2, torch.arange(4), real, label_count=4)
    assert far.distance == pytest.approx(12, rel=1e-6)
    itself = judge("itself", real, torch.arange(4), None, label_count=4)
    assert itself == Row("itself", None, (1, 1, 1, 1))
    assert markdown([far, itself], ("a", "b", "c", "d")).splitlines() == [
        "| images | distance | a | b | c | d |",
        "|---|---|---|---|---|---|",
        "| far | 12.000 | 1 | 1 | 1 | 1 |",
        "| itself |  | 1 | 1 | 1 | 1 |",
    ]


def test_draws_of_the_server_are_taken_in_the_order_of_files_and_must_be_complete(tmp_path: Path) -> None:
    folder = tmp_path / "some-model"
    folder.mkdir()
    with pytest.raises(DataError, match=r"0 images .* density-server sample some-model -n 10000"):
        read_draws(folder)
    for level in range(2):
        np.save(folder / f"{level}.npy", np.full((5_000, 2, 2), level, dtype=np.uint8))
    drawn = read_draws(folder)
    assert drawn.shape == (10_000, 1, 2, 2)
    assert not drawn[:5_000].any()
    assert drawn[5_000:].all()


def test_temperature_and_calibration_error_match_what_was_drawn() -> None:
    logits = 2 * torch.randn(20_000, 5)
    label = torch.distributions.Categorical(logits=logits).sample()
    assert classifier.fit_temperature(3 * logits, label) == pytest.approx(3, rel=0.05)
    assert expected_calibration_error(logits.log_softmax(1), label) < 0.02
    assert expected_calibration_error((3 * logits).log_softmax(1), label) > 0.1


def test_conformal_p_values_count_both_tails() -> None:
    calibration = torch.arange(1, 100).double()
    expected = torch.tensor([0.02, 1.0, 0.02, 0.04]).double()
    torch.testing.assert_close(
        two_sided_p_values(calibration, torch.tensor([-5.0, 50.0, 500.0, 1.0]).double()), expected
    )
    assert auroc_of_low_scores(inliers=torch.tensor([3.0, 4.0]), outliers=torch.tensor([1.0, 3.0])) == 0.875
