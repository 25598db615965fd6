"""Every model trains for a moment, keeps its promises, and survives its export to ONNX Runtime."""

import gzip
import hashlib
import math
import tomllib
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from small import RECIPE, gradients, version
from torch import Tensor

from density_training import data, pixelcnn, pixelrnn, vae, wavefront
from density_training.__main__ import main
from density_training.convolutional import CodeConfig
from density_training.detection import auroc_of_low_scores, two_sided_p_values
from density_training.export import export_graph
from density_training.fixtures import TinyPixelCNN
from density_training.likelihood import discretized_logistic_log_likelihood, discretized_logistic_log_probability
from density_training.sampling import sample
from density_training.scoring import (
    Network,
    elbo_at_mean,
    load_graph,
    log_importance_weights,
    log_likelihood,
    to_input,
    to_levels,
)
from density_training.training import Recipe, train
from density_training.unlabelled import muon
from density_training.version import ParityError, check_parity, served_scores, write_version

SMALL_PIXELCNN = pixelcnn.PixelCNNConfig(height=8, width=6, levels=16, channels=8, blocks=3, head_channels=16)
SMALL_LOCAL = replace(SMALL_PIXELCNN, block_size=1, position=False)
SMALL_VAE = CodeConfig(height=8, width=12, levels=16, latent_size=3, channels=4)
COMMITTED_FIXTURES = Path(__file__).parents[3] / "tests" / "fixtures"


@pytest.fixture(autouse=True)
def deterministic() -> None:
    torch.manual_seed(0)


def test_pixelcnn_learns_resumes_and_survives_its_export(tmp_path: Path) -> None:
    config = SMALL_PIXELCNN
    images, checkpoint = gradients(config.height, config.width, config.levels), tmp_path / "checkpoint.pt"

    def run(recipe: Recipe) -> pixelcnn.PixelCNN:
        model = pixelcnn.PixelCNN(config)
        loss = lambda levels, step: pixelcnn.training_loss(model, levels)
        optimisers = muon(model, pixelcnn.muon_parameters(model))
        assert train(model, loss, optimisers, images, recipe, checkpoint).step == recipe.steps
        return model

    run(replace(RECIPE, steps=20))
    model = run(RECIPE)
    uniform = -config.height * config.width * math.log(config.levels)
    assert log_likelihood(model, images, config.levels).mean() > 0.8 * uniform

    folder = tmp_path / "small-pixelcnn" / "1"
    export_graph(model, {"image": torch.rand(2, 1, config.height, config.width)}, ["logits"], folder / "model.onnx")
    scores = log_likelihood(model, images, config.levels)
    write_version(folder, version("pixelcnn", "categorical", config), images[:9], scores[:9], scores)
    torch.testing.assert_close(served_scores(folder, images), scores, atol=1e-3, rtol=1e-6)


def test_a_version_names_the_images_that_it_learnt_from(tmp_path: Path) -> None:
    model, images = TinyPixelCNN(1, 2, 2, levels=2), torch.tensor([[[[0, 1], [1, 0]]], [[[1, 1], [0, 0]]]]).byte()
    scores = log_likelihood(model, images, 2)
    config = pixelcnn.PixelCNNConfig(height=2, width=2, levels=2)
    export_graph(model, {"image": torch.rand(2, 1, 2, 2)}, ["logits"], tmp_path / "model.onnx")
    write_version(tmp_path, version("pixelcnn", "categorical", config, trained_on=images), images, scores, scores)
    hashes = sorted(hashlib.sha256(levels).digest()[:8] for levels in (b"\0\1\1\0", b"\1\1\0\0"))
    assert (tmp_path / "trained_on.bin").read_bytes() == b"".join(hashes)
    manifest = tomllib.loads((tmp_path / "model.toml").read_text())
    assert manifest["provenance"]["trained_on"] == "trained_on.bin" and "trained_on.bin" in manifest["sha256"]


def test_vae_learns_and_survives_its_export(tmp_path: Path) -> None:
    config = SMALL_VAE
    images = gradients(config.height, config.width, config.levels)
    model = vae.VAE(config)
    before = elbo_at_mean(model.encoder, model.decoder, images, config.levels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = lambda levels, step: vae.training_loss(model, levels, kl_weight=1.0)
    train(model, loss, [optimiser], images, RECIPE, tmp_path / "checkpoint.pt")
    scores = elbo_at_mean(model.encoder, model.decoder, images, config.levels)
    assert scores.mean() > before.mean()

    folder = tmp_path / "small-vae" / "1"
    example = torch.rand(2, 1, config.height, config.width)
    export_graph(model.encoder, {"image": example}, ["mean", "log_variance"], folder / "encoder.onnx")
    export_graph(model.decoder, {"latent": torch.rand(2, 3)}, ["mean", "log_scale"], folder / "decoder.onnx")
    write_version(folder, version("vae", "discretized-logistic", config), images[:9], scores[:9], scores)
    torch.testing.assert_close(served_scores(folder, images), scores, atol=1e-3, rtol=1e-6)

    weights = log_importance_weights(model.encoder, model.decoder, images[:8], config.levels, draws=16, seed=0)
    assert (weights.logsumexp(1) - math.log(16) >= weights.mean(1)).all()


def test_pixelrnn_learns_and_its_step_graph_scores_and_draws_along_diagonals(tmp_path: Path) -> None:
    config = pixelrnn.PixelRNNConfig(height=8, width=6, levels=16, state_size=12, window_channels=8, head_channels=16)
    images = gradients(config.height, config.width, config.levels)
    model = pixelrnn.PixelRNN(config)
    loss = lambda levels, step: pixelrnn.training_loss(model, levels)
    train(model, loss, muon(model, pixelrnn.muon_parameters(model)), images, RECIPE, tmp_path / "checkpoint.pt")
    scores = log_likelihood(model, images, config.levels)
    assert scores.mean() > 0.8 * -config.height * config.width * math.log(config.levels)

    folder = tmp_path / "small-pixelrnn" / "1"
    export_graph(model.step, pixelrnn.example(config), ["state", "logits"], folder / "step.onnx")
    manifest = version("pixelrnn", "categorical", config, recurrence=pixelrnn.recurrence(config))
    write_version(folder, manifest, images[:9], scores[:9], scores)
    torch.testing.assert_close(served_scores(folder, images), scores, atol=1e-3, rtol=1e-6)
    drawn = wavefront.sample(load_graph(folder / "step.onnx"), (3, 1, 8, 6), config.levels, 12, seed=0)
    assert drawn.shape == (3, 1, 8, 6) and drawn.max() < config.levels
    assert log_likelihood(model, drawn, config.levels).mean() > log_likelihood(model, 15 - drawn, config.levels).mean()


def test_no_logit_depends_on_its_own_pixel_or_a_later_one() -> None:
    model = pixelcnn.PixelCNN(SMALL_PIXELCNN)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    causal = first_changed_dimensions(model, (1, 8, 6))
    # Every pixel matters to its right neighbour; the last of a row is out of reach of the first of the next.
    assert all(later == i + 1 if i % 6 < 5 else later > i for i, later in enumerate(causal))
    recurrent = pixelrnn.PixelRNN(pixelrnn.PixelRNNConfig(8, 6, 16, 4, 4, 4))
    for parameter in recurrent.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    causal = first_changed_dimensions(recurrent, (1, 8, 6))
    assert all(later == i + 1 if i % 6 < 5 else later > i for i, later in enumerate(causal))
    colour = first_changed_dimensions(TinyPixelCNN(3, 4, 4, levels=8), (3, 4, 4))
    assert all(later > i for i, later in enumerate(colour))
    leaking = first_changed_dimensions(TinyPixelCNN(1, 6, 5, levels=4, leaks=True), (1, 6, 5))
    assert any(later == i for i, later in enumerate(leaking))


def test_local_pixelcnn_sees_the_neighbours_of_its_first_layer_and_no_more() -> None:
    model = pixelcnn.PixelCNN(SMALL_LOCAL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image = torch.rand(1, 1, 8, 6, requires_grad=True)
    seen = torch.autograd.grad(model(image)[0, :, 6, 3].square().sum(), image)[0][0, 0] != 0
    assert not seen[:3].any() and seen[3:6].all() and seen[6, :3].all() and not seen[6, 3:].any() and not seen[7].any()


@pytest.mark.parametrize("head", ["categorical", "bernoulli"])
def test_probabilities_of_all_binary_images_sum_to_one(head: str) -> None:
    images = torch.tensor(list(product([0, 1], repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)
    scores = log_likelihood(TinyPixelCNN(1, 2, 2, levels=2, head=head), images, 2, head)
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_discretized_logistic_sums_to_one_and_matches_its_definition() -> None:
    mean, log_scale = torch.tensor([-0.4, 0.0, 0.3, 0.99, 1.7]), torch.tensor([-7.0, -3.0, -5.0, -1.0, 1.0])
    levels = torch.arange(256).view(256, 1).expand(256, 5)
    exact = discretized_logistic_log_probability(mean.double(), log_scale.double(), levels, 256)
    torch.testing.assert_close(exact.exp().sum(0), torch.ones(5).double())
    single = discretized_logistic_log_probability(mean, log_scale, levels, 256)
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)
    scale, edge = log_scale[1].double().exp(), 0.5 / 255
    naive = torch.log(torch.sigmoid((0.1 + edge) / scale) - torch.sigmoid((0.1 - edge) / scale))
    level = torch.full((1, 1, 1, 1), 51, dtype=torch.uint8)
    mean_51 = (level / 255 - 0.1).double()
    torch.testing.assert_close(
        discretized_logistic_log_likelihood(mean_51, log_scale[1].expand(1, 1, 1, 1), level, 256), naive.view(1)
    )


def test_fixed_point_sampling_draws_what_raster_order_draws() -> None:
    model = TinyPixelCNN(1, 6, 5, levels=4)
    drawn = sample(model, 3, 6, 5, 4, seed=7)
    uniform = torch.rand((3, 4, 6, 5), generator=torch.Generator().manual_seed(7))
    gumbel = -torch.log(-torch.log(uniform))
    raster = torch.zeros_like(drawn)
    for i, j in product(range(6), range(5)):
        with torch.no_grad():
            raster[:, 0, i, j] = (model(to_input(raster, 4)) + gumbel)[:, :, i, j].argmax(1).byte()
    assert torch.equal(drawn, raster)


def test_fixtures_are_valid_reproducible_and_any_batch_size_runs(tmp_path: Path) -> None:
    main(["fixtures", "--output", str(tmp_path)])
    folders = sorted(tmp_path.glob("*/*/1"))
    assert len(folders) == 12
    for folder in folders:
        assert check_parity(folder) < 1e-3
        committed = COMMITTED_FIXTURES / folder.relative_to(tmp_path)
        arrays = sorted(file.name for file in committed.glob("*.npy"))
        assert arrays == sorted(file.name for file in folder.glob("*.npy"))
        for file in arrays:
            np.testing.assert_allclose(np.load(folder / file), np.load(committed / file), rtol=1e-6)

    logits = load_graph(tmp_path / "repository" / "tiny-rgb-pixelcnn" / "1" / "model.onnx")
    assert logits(torch.zeros(1, 3, 4, 4)).shape == (1, 8, 3, 4, 4)
    assert logits(torch.zeros(5, 3, 4, 4)).shape == (5, 8, 3, 4, 4)

    altered = tmp_path / "repository" / "tiny-vae" / "1"
    np.save(altered / "golden_scores.npy", np.load(altered / "golden_scores.npy") + 0.01)
    with pytest.raises(ParityError, match="tiny-vae"):
        check_parity(altered)


def test_conformal_p_values_count_both_tails() -> None:
    calibration = torch.arange(1, 100).double()
    expected = torch.tensor([0.02, 1.0, 0.02, 0.04]).double()
    torch.testing.assert_close(
        two_sided_p_values(calibration, torch.tensor([-5.0, 50.0, 500.0, 1.0]).double()), expected
    )
    assert auroc_of_low_scores(inliers=torch.tensor([3.0, 4.0]), outliers=torch.tensor([1.0, 3.0])) == 0.875


def test_data_is_refused_by_name_when_missing_or_altered(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="dataset-fashion-mnist"):
        data.load_images(tmp_path, "test")
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"not the published file"))
    with pytest.raises(data.DataError, match="expected 5b4141f0"):
        data.load_images(tmp_path, "test")
    colour = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    assert to_levels(colour).shape == (2, 3, 4, 5)


@torch.no_grad()
def first_changed_dimensions(model: Network, shape: tuple[int, int, int]) -> list[int]:
    """For each dimension but the last, in raster order and channel by channel within a pixel: the earliest dimension
    whose logits change when it is perturbed."""
    channels, height, width = shape
    image = torch.rand(1, *shape)

    def logits_by_dimension(x: Tensor) -> Tensor:
        logits = model(x)
        return logits.reshape(logits.shape[1], channels, height * width).permute(2, 1, 0).flatten(0, 1)

    reference, earliest = logits_by_dimension(image), []
    for pixel, channel in list(product(range(height * width), range(channels)))[:-1]:
        perturbed = image.clone()
        perturbed[0, channel, pixel // width, pixel % width] += 0.37
        changed = (logits_by_dimension(perturbed) != reference).any(1)
        earliest.append(int(changed.int().argmax()) if changed.any() else channels * height * width)
    return earliest
