"""What networks and formulas promise: causality, normalised probabilities, exact samples."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from density_training import classifier, pixelcnn, pixelrnn, vae
from density_training.convolutional import CodeConfig
from density_training.data import to_input
from density_training.fixtures import TinyPixelCNN
from density_training.pixelcnn_conditional import (
    ConditionalPixelCNN,
    ConditionalPixelCNNConfig,
    Rivals,
    joint,
    label_log_likelihoods,
)
from density_training.sampling import sample
from density_training.scoring import Network, log_likelihood
from density_training.version import Labels
from small import configs

SMALL = replace(configs(16, 2)["pixelcnn"], width=6)
BINARY_IMAGES = torch.tensor(list(product([0, 1], repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)


def random_weights(network: torch.nn.Module, prefix: str = "") -> None:
    """All weights whose names begin so, drawn anew."""
    for name, parameter in network.named_parameters():
        if name.startswith(prefix):
            torch.nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def first_changed_dimensions(network: Network, shape: tuple[int, int, int]) -> list[int]:
    """For each dimension but the last: the earliest dimension whose logits change when it is perturbed.

    Dimensions are in raster order, and channel by channel within a pixel.
    """
    channels, height, width = shape
    image = torch.rand(1, *shape)

    def logits_by_dimension(x: Tensor) -> Tensor:
        logits = network(x)
        return logits.reshape(logits.shape[1], channels, height * width).permute(2, 1, 0).flatten(0, 1)

    reference, earliest = logits_by_dimension(image), []
    for pixel, channel in list(product(range(height * width), range(channels)))[:-1]:
        perturbed = image.clone()
        perturbed[0, channel, pixel // width, pixel % width] += 0.37
        changed = (logits_by_dimension(perturbed) != reference).any(1)
        earliest.append(int(changed.int().argmax()) if changed.any() else channels * height * width)
    return earliest


@pytest.mark.parametrize(
    "network",
    [pixelcnn.PixelCNN(SMALL), pixelrnn.PixelRNN(pixelrnn.PixelRNNConfig(8, 6, 16, 4, 4, 4))],
    ids=["pixelcnn", "pixelrnn"],
)
def test_no_logit_depends_on_its_own_pixel_or_a_later_one(network: torch.nn.Module) -> None:
    random_weights(network)
    causal = first_changed_dimensions(network, (1, 8, 6))
    # Every pixel matters to its right neighbour; the last of a row is out of reach of the first of the next.
    assert all(later == i + 1 if i % 6 < 5 else later > i for i, later in enumerate(causal))


def test_colours_of_a_pixel_are_ordered_and_a_leak_shows() -> None:
    colour = first_changed_dimensions(TinyPixelCNN(3, 4, 4, levels=8), (3, 4, 4))
    assert all(later > i for i, later in enumerate(colour))
    leaking = first_changed_dimensions(TinyPixelCNN(1, 6, 5, levels=4, leaks=True), (1, 6, 5))
    assert any(later == i for i, later in enumerate(leaking))


def test_local_pixelcnn_sees_the_neighbours_of_its_first_layer_and_no_more() -> None:
    network = pixelcnn.PixelCNN(replace(SMALL, block_size=1, position=False))
    random_weights(network)
    image = torch.rand(1, 1, 8, 6, requires_grad=True)
    seen = torch.autograd.grad(network(image)[0, :, 6, 3].square().sum(), image)[0][0, 0] != 0
    expected = torch.zeros(8, 6, dtype=torch.bool)
    expected[3:6], expected[6, :3] = True, True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("head", ["categorical", "bernoulli"])
def test_probabilities_of_all_binary_images_sum_to_one(head: str) -> None:
    scores = log_likelihood(TinyPixelCNN(1, 2, 2, levels=2, head=head), BINARY_IMAGES, 2, head)
    assert scores.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_conditional_pixelcnn_starts_as_the_network_it_continues_and_sums_to_one_for_each_label() -> None:
    network = ConditionalPixelCNN(ConditionalPixelCNNConfig(2, 2, 2, channels=4, blocks=2, head_channels=4, labels=2))
    labels = Labels(names=("dark", "bright"), prior=(0.25, 0.75))
    same = label_log_likelihoods(network, BINARY_IMAGES, 2, 2)
    torch.testing.assert_close(same[:, 0], same[:, 1])
    random_weights(network)
    scores = label_log_likelihoods(network, BINARY_IMAGES, 2, 2)
    assert (scores[:, 0] != scores[:, 1]).any()
    torch.testing.assert_close(scores.exp().sum(0), torch.ones(2).double(), atol=1e-6, rtol=0)
    assert joint(scores, labels).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_the_biases_of_a_label_are_added_to_those_of_all_labels() -> None:
    config = ConditionalPixelCNNConfig(6, 5, 4, channels=4, blocks=2, head_channels=4, labels=3)
    network, plain = ConditionalPixelCNN(config), pixelcnn.PixelCNN(config)
    for prefix in ("label_row", "label_column", "row", "column", "first", "blocks", "head"):
        random_weights(network, prefix)
    image = torch.rand(4, 1, 6, 5)
    for label in range(3):
        plain.load_state_dict({name: weight for name, weight in network.state_dict().items() if "label_" not in name})
        with torch.no_grad():
            plain.row += network.label_row[label]
            plain.column += network.label_column[label]
        torch.testing.assert_close(network(image, torch.full((4,), label)), plain(image))


def test_rivals_are_wrong_labels_and_mostly_the_confused_ones() -> None:
    rivals = Rivals(4)
    label = torch.arange(4).repeat(100)
    assert (rivals.draw(label) != label).all()
    for _ in range(20):
        rivals.record(label, (label + 1) % 4, torch.full((400,), 5.0))
    assert (rivals.draw(label) == (label + 1) % 4).double().mean() > 0.6


def test_discretized_logistic_sums_to_one_and_matches_its_definition() -> None:
    mean, log_scale = torch.tensor([-0.4, 0.0, 0.3, 0.99, 1.7]), torch.tensor([-7.0, -3.0, -5.0, -1.0, 1.0])
    levels = torch.arange(256).view(256, 1).expand(256, 5)
    exact = vae.discretized_logistic_log_probability(mean.double(), log_scale.double(), levels, 256)
    torch.testing.assert_close(exact.exp().sum(0), torch.ones(5).double())
    single = vae.discretized_logistic_log_probability(mean, log_scale, levels, 256)
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)
    scale, edge = log_scale[1].double().exp(), 0.5 / 255
    naive = torch.log(torch.sigmoid((0.1 + edge) / scale) - torch.sigmoid((0.1 - edge) / scale))
    level = torch.full((1, 1, 1, 1), 51, dtype=torch.uint8)
    mean_51 = (level / 255 - 0.1).double()
    torch.testing.assert_close(
        vae.discretized_logistic_log_likelihood(mean_51, log_scale[1].expand(1, 1, 1, 1), level, 256), naive.view(1)
    )


def test_the_importance_weighted_bound_is_never_below_the_evidence_lower_bound() -> None:
    network = vae.VAE(CodeConfig(height=8, width=12, levels=16, latent_size=3, channels=4))
    levels = torch.randint(0, 16, (8, 1, 8, 12), dtype=torch.uint8)
    weights = vae.log_importance_weights(network.encoder, network.decoder, levels, 16, draws=16, seed=0)
    assert (weights.logsumexp(1) - torch.tensor(16).log() >= weights.mean(1)).all()


def test_fixed_point_sampling_draws_what_raster_order_draws() -> None:
    network = TinyPixelCNN(1, 6, 5, levels=4)
    drawn = sample(network, 3, 6, 5, 4, seed=7)
    uniform = torch.rand((3, 4, 6, 5), generator=torch.Generator().manual_seed(7))
    gumbel = -torch.log(-torch.log(uniform))
    raster = torch.zeros_like(drawn)
    for i, j in product(range(6), range(5)):
        with torch.no_grad():
            raster[:, 0, i, j] = (network(to_input(raster, 4)) + gumbel)[:, :, i, j].argmax(1).byte()
    assert torch.equal(drawn, raster)


def test_images_are_varied_and_spoilt_as_said() -> None:
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) + 100
    varied = classifier.vary(image.repeat(500, 1, 1, 1))
    assert (varied == image).flatten(1).all(1).any()
    assert (varied == image.flip(3)).flatten(1).all(1).any()
    assert set(varied.unique().tolist()) <= {0, *range(100, 164)}
    spoilt = pixelcnn.replace_pixels(image.repeat(500, 1, 1, 1), 256)
    # One in 256 replacements leaves the level as it was.
    assert (spoilt != image).double().mean().item() == pytest.approx(0.2 * 255 / 256, abs=0.01)
