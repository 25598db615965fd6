"""What the mixture of logistics and the network in front of it promise: probabilities, whole pixels, exact samples."""

from itertools import product

import pytest
import torch
from torch import Tensor

from density_training import mixture, pixelcnn_colour, vae_colour
from density_training.data import to_input
from density_training.pixelcnn_colour import ColourPixelCNN, ColourPixelCNNConfig

SMALL = ColourPixelCNNConfig(height=8, width=8, levels=8, channels=4, blocks=2, head_channels=6, mixtures=2)


def small_network() -> ColourPixelCNN:
    network = ColourPixelCNN(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("channels", [1, 3])
def test_the_probabilities_of_all_pixels_sum_to_one(channels: int) -> None:
    pixels = torch.tensor(list(product(range(4), repeat=channels)), dtype=torch.uint8).view(-1, channels, 1, 1)
    parameters = 2 * torch.randn(1, mixture.parameter_count(3, channels), 1, 1, dtype=torch.float64)
    logs = mixture.log_probability(parameters.expand(len(pixels), -1, -1, -1), pixels, 4)
    assert logs.exp().sum().item() == pytest.approx(1)


def test_draws_follow_the_probabilities() -> None:
    parameters, count = torch.randn(1, mixture.parameter_count(2, 3), 1, 1), 40_000
    size = (1, 200, count // 200)
    drawn = mixture.draw(parameters.expand(-1, -1, *size[1:]), mixture.noise(size, 2, torch.default_generator), 3)
    for pixel in product(range(3), repeat=3):
        levels = torch.tensor(pixel, dtype=torch.uint8).view(1, 3, 1, 1)
        expected = mixture.log_probability(parameters.double(), levels, 3).exp().item()
        share = (drawn == levels).all(1).double().mean().item()
        assert abs(share - expected) < 5 * (expected / count) ** 0.5 + 1e-3


def test_a_network_sees_whole_pixels_before_its_own_only() -> None:
    network, image = small_network(), torch.rand(1, 3, SMALL.height, SMALL.width)

    def parameters(image: Tensor) -> Tensor:
        with torch.no_grad():
            return network(image).flatten(2)[0]

    before, width = parameters(image), SMALL.width
    for pixel, channel in product(range(SMALL.height * width), range(3)):
        perturbed = image.clone()
        perturbed[0, channel, pixel // width, pixel % width] += 0.37
        changed = (parameters(perturbed) != before).any(0)
        assert not changed[: pixel + 1].any()
        assert pixel % width == width - 1 or changed[pixel + 1]


def test_a_sample_is_what_drawing_pixel_after_pixel_gives() -> None:
    network = small_network()
    drawn = pixelcnn_colour.sample(network, 2, SMALL, seed=5)
    noise = mixture.noise((2, SMALL.height, SMALL.width), SMALL.mixtures, torch.Generator().manual_seed(5))
    images = torch.zeros_like(drawn)
    for row, column in product(range(SMALL.height), range(SMALL.width)):
        with torch.no_grad():
            pixels = mixture.draw(network(to_input(images, SMALL.levels)), noise, SMALL.levels)
        images[:, :, row, column] = pixels[:, :, row, column]
    assert torch.equal(drawn, images)


def test_an_image_whose_code_says_nothing_is_bounded_by_its_own_likelihood() -> None:
    levels, latent = 8, 6
    parameters = torch.randn(1, mixture.parameter_count(2, 3), 4, 4)
    images = torch.randint(0, levels, (3, 3, 4, 4), dtype=torch.uint8)
    graphs = {
        "encoder": lambda image: (torch.zeros(len(image), latent), torch.zeros(len(image), latent)),
        "decoder": lambda codes: parameters.expand(len(codes), -1, -1, -1),
    }
    expected = mixture.log_probability(parameters.double().expand(3, -1, -1, -1), images, levels).flatten(1).sum(1)
    weights = vae_colour.log_importance_weights(graphs, images, levels)
    assert torch.allclose(weights, expected.unsqueeze(1).expand_as(weights), atol=1e-3)
    at_mean = vae_colour.elbo_at_mean(graphs["encoder"], graphs["decoder"], images, levels)
    assert torch.allclose(at_mean, expected, atol=1e-3)


def test_a_code_is_a_map_of_a_quarter_of_the_side() -> None:
    config = vae_colour.ColourVAEConfig(height=16, width=24, channels=(8, 8, 16), code_channels=2, mixtures=2)
    network = vae_colour.ColourVAE(config).eval()
    with torch.no_grad():
        mean, log_variance = network.encoder(torch.rand(2, 3, 16, 24))
        parameters = network.decoder(mean)
    assert mean.shape == log_variance.shape == (2, config.latent_size) == (2, 2 * 4 * 6)
    assert parameters.shape == (2, mixture.parameter_count(2, 3), 16, 24)
