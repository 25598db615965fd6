"""Damage that a program does to good windows, and the network that learns to tell it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from density_training import cutpaste, damage
from density_training.backbone import drawings, summaries
from density_training.version import Interpretation


def windows(count: int, side: int = 96) -> list[np.ndarray]:
    """Grain that grows brighter from left to right."""
    chance = np.random.default_rng(3)
    slope = np.linspace(60, 160, side)
    return [(slope + chance.normal(0, 4, (side, side))).round().astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("kind", damage.KINDS)
def test_every_kind_changes_a_part_of_a_window_and_leaves_the_rest(kind: damage.Damage) -> None:
    window, other = (image.astype(np.float32) for image in windows(2))
    before = window.copy()
    shares = []
    for seed in range(20):
        changed = kind(window, other, np.random.default_rng(seed))
        assert changed.shape == window.shape
        assert np.array_equal(window, before), "the window itself is left as it was"
        shares.append((np.abs(changed - window) >= damage.VISIBLE).mean())
    assert max(shares) > 0
    assert max(shares) < 0.6


def test_pixels_are_labelled_where_they_were_changed() -> None:
    window, other = (image.astype(np.float32) for image in windows(2))
    for seed in range(20):
        changed, kinds = damage.damage(window, [other], np.random.default_rng(seed))
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert kinds.max() <= len(damage.KINDS)
        # Two kinds may undo each other, but where nothing was done nothing has changed much.
        assert (np.abs(changed - window)[kinds == 0] < 3 * damage.VISIBLE).all()


def test_a_place_has_the_kind_of_most_of_its_damage_if_that_is_enough() -> None:
    kinds = np.zeros((16, 24), np.int64)
    kinds[:8, :8] = 2
    kinds[:8, 8:11] = 3
    kinds[:8, 11:16] = 5
    kinds[0, 16] = 4
    assert cutpaste.of_places(kinds).tolist() == [[2, 5, cutpaste.UNKNOWN], [0, 0, 0]]


def test_the_network_learns_to_tell_damage() -> None:
    torch.manual_seed(0)
    network = cutpaste.Inspector(cutpaste.Config(channels=(8, 12, 16, 20), features=12, blocks=(1, 1, 1)))
    chance = np.random.default_rng(0)
    batches = [cutpaste.batch(windows(6), 16, 64, chance) for _ in range(4)]
    before = cutpaste.loss(network, *batches[0]).item()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(60):
        cutpaste.loss(network, *batches[step % 4]).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert cutpaste.loss(network, *batches[0]).item() < 0.7 * before


def test_what_is_served_gives_the_features_of_the_network(tmp_path: Path) -> None:
    network = cutpaste.Inspector(cutpaste.Config(channels=(4, 6, 8, 10), features=5, blocks=(1, 1, 1))).eval()
    graph = cutpaste.FAMILY.graphs["features"]
    images = drawings()
    graph.export(network, (torch.rand(2, 1, 224, 224),), tmp_path)
    served = cutpaste.FAMILY.load(tmp_path)
    ours = summaries({"features": network}, images, Interpretation(256))
    assert torch.allclose(summaries(served, images, Interpretation(256)), ours, rtol=1e-4, atol=1e-5)
