"""The models that read or name labels, and those without a density: trained for a moment, exported, compared."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from small import RECIPE, gradients, version
from torch import Tensor

from density_training import autoencoder, classifier, conditional, gan, gan_task, pixelcnn
from density_training.classification import expected_calibration_error
from density_training.convolutional import CodeConfig
from density_training.data import DataError
from density_training.diversity import features_and_labels, frechet_distance, judge, markdown
from density_training.diversity_task import read_draws
from density_training.export import export_graph
from density_training.pixelcnn_background_task import replace_pixels
from density_training.pixelcnn_conditional_task import evidence
from density_training.scoring import (
    label_log_likelihoods,
    label_log_probabilities,
    load_graph,
    reconstruction_errors,
)
from density_training.training import train
from density_training.unlabelled import muon
from density_training.version import Labels, check_parity, served_scores, write_generator_version, write_version

LABELS = Labels(names=("dark", "bright"), prior=(0.25, 0.75))


@pytest.fixture(autouse=True)
def deterministic() -> None:
    torch.manual_seed(0)


def test_conditional_pixelcnn_learns_and_survives_its_export(tmp_path: Path) -> None:
    config = conditional.ConditionalPixelCNNConfig(
        height=8, width=6, levels=16, channels=8, blocks=3, head_channels=16, labels=2
    )
    images, labels = labelled(config.height, config.width, config.levels)
    model = conditional.ConditionalPixelCNN(config)
    rivals = conditional.Rivals(2)
    loss = lambda chosen, step: conditional.training_loss(model, images[chosen], labels[chosen], rivals, 1.0)
    optimisers = muon(model, pixelcnn.muon_parameters(model))
    train(model, loss, optimisers, torch.arange(len(images)), RECIPE, tmp_path / "checkpoint.pt")
    scores = label_log_likelihoods(model, images, config.levels, 2)
    assert (scores.argmax(1) == labels).double().mean() > 0.9

    folder = tmp_path / "small-pixelcnn" / "1"
    example = {"image": torch.rand(2, 1, config.height, config.width), "label": torch.tensor([0, 1])}
    export_graph(model, example, ["logits"], folder / "model.onnx")
    calibration = evidence(scores, LABELS)
    write_version(folder, version("pixelcnn", "categorical", config, LABELS), images[:9], scores[:9], calibration)
    torch.testing.assert_close(served_scores(folder, images), scores, atol=1e-3, rtol=1e-6)


def test_conditional_pixelcnn_starts_as_the_network_it_continues_and_sums_to_one_for_each_label() -> None:
    config = conditional.ConditionalPixelCNNConfig(
        height=2, width=2, levels=2, channels=4, blocks=2, head_channels=4, labels=2
    )
    model = conditional.ConditionalPixelCNN(config)
    for name, parameter in model.named_parameters():
        if not name.startswith("label_"):
            torch.nn.init.normal_(parameter, std=0.3)
    images = torch.tensor(list(product([0, 1], repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)
    same = label_log_likelihoods(model, images, 2, 2)
    torch.testing.assert_close(same[:, 0], same[:, 1])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    scores = label_log_likelihoods(model, images, 2, 2)
    assert (scores[:, 0] != scores[:, 1]).any()
    torch.testing.assert_close(scores.exp().sum(0), torch.ones(2).double(), atol=1e-6, rtol=0)
    assert evidence(scores, LABELS).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_the_biases_of_a_label_are_added_to_those_of_all_labels() -> None:
    config = conditional.ConditionalPixelCNNConfig(
        height=6, width=5, levels=4, channels=4, blocks=2, head_channels=4, labels=3
    )
    model, plain = conditional.ConditionalPixelCNN(config), pixelcnn.PixelCNN(config)
    for name, parameter in model.named_parameters():
        if not name.startswith("label_gates"):
            torch.nn.init.normal_(parameter, std=0.3)
    image = torch.rand(4, 1, 6, 5)
    for label in range(3):
        plain.load_state_dict({name: weight for name, weight in model.state_dict().items() if "label_" not in name})
        with torch.no_grad():
            plain.row += model.label_row[label]
            plain.column += model.label_column[label]
        torch.testing.assert_close(model(image, torch.full((4,), label)), plain(image))


def test_rivals_are_wrong_labels_and_mostly_the_confused_ones() -> None:
    rivals = conditional.Rivals(4)
    label = torch.arange(4).repeat(100)
    assert (rivals.draw(label) != label).all()
    for _ in range(20):
        wrong = (label + 1) % 4
        rivals.record(label, wrong, torch.full((400,), 5.0))
    assert (rivals.draw(label) == (label + 1) % 4).double().mean() > 0.6


def test_autoencoder_learns_and_survives_its_export(tmp_path: Path) -> None:
    config = CodeConfig(height=8, width=12, levels=16, latent_size=3, channels=4)
    images = gradients(config.height, config.width, config.levels)
    model = autoencoder.Autoencoder(config)
    before = reconstruction_errors(model.encoder, model.decoder, images, config.levels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = lambda levels, step: autoencoder.training_loss(model, levels)
    train(model, loss, [optimiser], images, RECIPE, tmp_path / "checkpoint.pt")
    errors = reconstruction_errors(model.encoder, model.decoder, images, config.levels)
    assert errors.mean() < 0.5 * before.mean()

    folder = tmp_path / "small-autoencoder" / "1"
    export_graph(model.encoder, {"image": torch.rand(2, 1, 8, 12)}, ["latent"], folder / "encoder.onnx")
    export_graph(model.decoder, {"latent": torch.rand(2, 3)}, ["image"], folder / "decoder.onnx")
    write_version(folder, version("autoencoder", None, config), images[:9], errors[:9])
    torch.testing.assert_close(served_scores(folder, images), errors, atol=1e-3, rtol=1e-6)


def test_classifier_learns_and_survives_its_export(tmp_path: Path) -> None:
    config = classifier.ClassifierConfig(levels=16, labels=2, channels=(4, 6, 8))
    images, labels = labelled(8, 8, config.levels)
    model = classifier.Classifier(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = lambda chosen, step: classifier.training_loss(model, images[chosen], labels[chosen])
    train(model, loss, [optimiser], torch.arange(len(images)), RECIPE, tmp_path / "checkpoint.pt")
    model.eval().temperature.fill_(2.0)
    scores = label_log_probabilities(model, images, config.levels)
    assert (scores.argmax(1) == labels).double().mean() > 0.9

    folder = tmp_path / "small-classifier" / "1"
    export_graph(model, {"image": torch.rand(2, 1, 8, 8)}, ["logits", "features"], folder / "model.onnx")
    write_version(folder, version("classifier", None, config, LABELS), images[:9], scores[:9])
    torch.testing.assert_close(served_scores(folder, images), scores, atol=1e-3, rtol=1e-6)
    features, _ = features_and_labels(load_graph(folder / "model.onnx"), images, config.levels)
    assert features.shape == (64, 8)


def test_gan_learns_to_be_bright_or_dark_and_survives_its_export(tmp_path: Path) -> None:
    config = gan.GANConfig(height=8, width=8, levels=16, labels=2, latent_size=3, channels=4)
    images, labels = labelled(8, 8, config.levels)
    model = gan.GAN(config)
    loss = lambda chosen, step: gan.training_loss(model, images[chosen], labels[chosen], step)
    steps = gan_task.optimisers(model)
    frozen = model.discriminator.real.weight.detach().clone()
    train(model, loss, steps, torch.arange(len(images)), RECIPE, tmp_path / "checkpoint.pt")
    assert not torch.equal(frozen, model.discriminator.real.weight)
    # The average has moved from where it started, and not as far as the generator.
    assert not torch.equal(model.average.expand.weight, model.generator.expand.weight)

    generator, folder = model.average.eval(), tmp_path / "small-gan" / "1"
    latent, label = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    export_graph(generator, {"latent": latent, "label": label}, ["image"], folder / "generator.onnx")
    with torch.no_grad():
        write_generator_version(folder, version("gan", None, config, LABELS), latent, label, generator(latent, label))
    assert check_parity(folder) < 1e-5
    drawn = gan.draw(load_graph(folder / "generator.onnx"), labels, 3, 16, seed=0)
    assert drawn.shape == images.shape and drawn.dtype == torch.uint8


def test_temperature_and_calibration_error_match_what_was_drawn() -> None:
    logits = 2 * torch.randn(20_000, 5)
    label = torch.distributions.Categorical(logits=logits).sample()
    assert classifier.fit_temperature(3 * logits, label) == pytest.approx(3, rel=0.05)
    assert expected_calibration_error(logits.log_softmax(1), label) < 0.02
    assert expected_calibration_error((3 * logits).log_softmax(1), label) > 0.1


def test_frechet_distance_of_gaussians_is_that_of_their_parameters() -> None:
    first = torch.randn(50_000, 3).double()
    second = 2 * torch.randn(50_000, 3).double() + 1
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(3 * (1 + 1), rel=0.03)


def test_images_are_judged_by_their_distance_and_counted_by_label() -> None:
    real = torch.randn(1_000, 3).double()
    same = judge("same", real, torch.tensor([0, 2, 2]), real, label_count=4)
    assert same.distance == pytest.approx(0, abs=1e-9) and same.counts == (1, 0, 2, 0)
    far = judge("far", real + 2, torch.arange(4), real, label_count=4)
    assert far.distance == pytest.approx(12, rel=1e-6)
    itself = judge("itself", real, torch.arange(4), None, label_count=4)
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
    assert drawn.shape == (10_000, 1, 2, 2) and not drawn[:5_000].any() and drawn[5_000:].all()


def test_images_are_varied_and_spoilt_as_said() -> None:
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) + 100
    varied = classifier.vary(image.repeat(500, 1, 1, 1))
    assert (varied == image).flatten(1).all(1).any() and (varied == image.flip(3)).flatten(1).all(1).any()
    assert set(varied.unique().tolist()) <= {0, *range(100, 164)}
    spoilt = replace_pixels(image.repeat(500, 1, 1, 1))
    # One in 256 replacements leaves the level as it was.
    assert (spoilt != image).double().mean().item() == pytest.approx(0.2 * 255 / 256, abs=0.01)


def labelled(height: int, width: int, levels: int) -> tuple[Tensor, Tensor]:
    """Pictures that are easy to learn, and whether each starts in the brighter half."""
    images = gradients(height, width, levels)
    return images, (images[:, 0, 0, 0] >= levels // 4).long()
