"""Every model learns within a moment, and a run that is interrupted is continued as if it had not been."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from density_training import autoencoder, classifier, pixelcnn, pixelcnn_conditional, pixelrnn
from density_training.__main__ import MODELS
from density_training.model import Density, Model
from density_training.pixelcnn import PixelCNN
from density_training.scoring import log_likelihood
from density_training.training import Recipe, train
from density_training.version import Interpretation
from small import HEIGHT, WIDTH, configs, dataset, modules

LEVELS, LABELS = 16, 2
CONFIGS = configs(LEVELS, LABELS)
RECIPE = Recipe(steps=40, decay_steps=10, batch_size=16, warmup_steps=5)
MANY_STEPS = {"vae": 150, "autoencoder": 150}
"""Those whose learning rate is low for so small a network."""


@pytest.mark.parametrize("model", [model for model in MODELS if model.family.score], ids=lambda model: model.command)
def test_a_model_learns_what_its_score_means(model: Model[Any, Any], tmp_path: Path) -> None:
    data, network = dataset(LEVELS, LABELS), model.build(CONFIGS[model.command])
    interpretation = Interpretation(LEVELS, getattr(model, "head", None), LABELS, state_size=12)

    def scores() -> Tensor:
        assert model.family.score is not None
        return model.family.score(modules(model, network.eval()), data.train_images, interpretation)

    before = scores()
    optimisers, loss = model.optimisers(network.train()), model.loss(network, data)
    recipe = replace(RECIPE, steps=MANY_STEPS.get(model.command, RECIPE.steps))
    train(network, loss, optimisers, torch.arange(len(data.train_images)), recipe, tmp_path / "checkpoint.pt")
    after = scores()
    if model in (classifier.MODEL, pixelcnn_conditional.MODEL):
        assert (after.argmax(1) == data.train_labels).double().mean() > 0.9
    elif model is autoencoder.MODEL:
        assert after.mean() < 0.5 * before.mean()
    else:
        assert isinstance(model, Density)
        # Both are negative: a tenth fewer nats.
        assert after.mean() > 0.9 * before.mean()


def test_both_players_of_the_gan_learn_and_the_average_follows(tmp_path: Path) -> None:
    model = next(model for model in MODELS if model.command == "gan")
    data, network = dataset(LEVELS, LABELS), model.build(CONFIGS["gan"])
    start = {name: weight.clone() for name, weight in network.state_dict().items()}
    examples = torch.arange(len(data.train_images))
    train(network, model.loss(network, data), model.optimisers(network), examples, RECIPE, tmp_path / "gan.pt")
    end = network.state_dict()
    for name in ("generator.expand.weight", "discriminator.real.weight", "average.expand.weight"):
        assert not torch.equal(start[name], end[name])
    # Both started at the same weights; the average lags behind.
    assert not torch.equal(end["average.expand.weight"], end["generator.expand.weight"])


def test_an_interrupted_run_is_continued_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    data = dataset(LEVELS, LABELS)

    def run(name: str, interrupted_at: int | None = None) -> PixelCNN:
        torch.manual_seed(0)
        network = pixelcnn.MODEL.build(CONFIGS["pixelcnn"])
        loss = pixelcnn.MODEL.loss(network, data)

        def interrupted(chosen: Tensor, step: int) -> Tensor:
            if step == interrupted_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return loss(chosen, step)

        optimisers, examples = pixelcnn.MODEL.optimisers(network), torch.arange(len(data.train_images))
        progress = train(network, interrupted, optimisers, examples, replace(RECIPE, steps=12), tmp_path / name)
        assert progress.step == (12 if interrupted_at is None else interrupted_at + 1)
        return network

    whole = run("whole.pt")
    run("parts.pt", interrupted_at=5)
    continued = run("parts.pt")
    for expected, weight in zip(whole.parameters(), continued.parameters(), strict=True):
        torch.testing.assert_close(weight, expected)


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    recipe = Recipe(steps=100, decay_steps=20, batch_size=1, warmup_steps=10)
    factors = [recipe.learning_rate_factor(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:81] == [1.0] * 72
    assert factors[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 101)])


def test_pixelrnn_scores_and_draws_along_diagonals_as_over_whole_images() -> None:
    config = CONFIGS["pixelrnn"]
    network = pixelrnn.PixelRNN(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = dataset(LEVELS, LABELS).test_images[:8]
    along = pixelrnn.log_likelihood_along_diagonals(network.step, images, LEVELS, config.state_size)
    torch.testing.assert_close(along, log_likelihood(network, images, LEVELS), atol=1e-3, rtol=1e-6)

    shape = (3, 1, HEIGHT, WIDTH)
    drawn = pixelrnn.sample_along_diagonals(network.step, shape, LEVELS, config.state_size, seed=0)
    assert drawn.shape == shape
    assert drawn.max() < LEVELS
    assert log_likelihood(network, drawn, LEVELS).mean() > log_likelihood(network, LEVELS - 1 - drawn, LEVELS).mean()
