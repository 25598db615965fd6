"""The networks that give features: what they compute, and that what is served computes the same."""

import torch
from torch import nn

from density_training.backbone import encoder, summaries
from density_training.cifar10_classifier import Classifier, drawings, split, vary
from density_training.compare_features import auroc
from density_training.version import Interpretation


def test_the_first_layer_whitens() -> None:
    image = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1)) ** 2
    network = Classifier()
    network.fit_whitening(image)
    whitened = network.whiten(image).detach()
    assert (whitened.mean((0, 2, 3)).abs() < 0.02).all()
    assert ((whitened.var((0, 2, 3)) - 1).abs() < 0.05).all()


def test_a_classifier_gives_logits_and_features_of_drawings() -> None:
    logits, features = Classifier().eval()(drawings() / 255)
    assert logits.shape == (12, 10)
    assert features.shape == (12, 192)


def test_a_varied_image_is_the_image_mirrored_or_moved() -> None:
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    for _ in range(8):
        middle = vary(image)[0, :, 8:24, 8:24]
        candidates = [
            own[:, row : row + 16, column : column + 16]
            for own in (image[0], image[0].flip(2))
            for row in range(5, 12)
            for column in range(5, 12)
        ]
        assert any(torch.equal(middle, candidate) for candidate in candidates)


def test_what_is_held_out_is_not_trained_on() -> None:
    trained_on, held_out = split(49_000)
    assert len(held_out) == 1_500
    assert len(torch.cat([trained_on, held_out]).unique()) == 49_000


def test_a_graph_with_several_layers_gives_what_pytorch_gives(tmp_path) -> None:  # noqa: ANN001
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 3, stride=2), nn.Conv2d(3, 5, 3, stride=2)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            fine = self.first(image)
            return fine, self.second(fine)

    network, family = Layers().eval(), encoder("fine", "coarse")
    family.graphs["features"].export(network, (torch.rand(2, 1, 16, 16),), tmp_path)
    levels = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    expected = summaries({"features": network}, levels, Interpretation(256))
    served = summaries(family.load(tmp_path), levels, Interpretation(256))
    torch.testing.assert_close(served, expected, atol=1e-5, rtol=1e-5)


def test_equal_scores_count_half() -> None:
    assert auroc(torch.tensor([0.0, 1.0]), torch.tensor([2.0])) == 1.0
    assert auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0])) == 0.75
    assert auroc(torch.ones(3), torch.ones(2)) == 0.5
