"""What the tests of several models share: a short recipe, pictures that are easy to learn, a manifest."""

import torch
from torch import Tensor

from density_training.training import Recipe
from density_training.version import Labels, Version

RECIPE = Recipe(steps=40, decay_steps=10, batch_size=16, warmup_steps=5)


def gradients(height: int, width: int, levels: int) -> Tensor:
    """Sixty-four pictures that are easy to learn: a brightness that grows from a random value along the diagonal."""
    start = torch.randint(0, levels // 2, (64, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    ramp = (torch.arange(height)[:, None] + torch.arange(width)) // 3
    return (start + ramp).clamp(max=levels - 1).to(torch.uint8)


def version(family: str, head: str | None, config: object, labels: Labels | None = None, **more: object) -> Version:
    """The manifest of a model with the sizes in `config`; what has a head has calibration scores."""
    return Version(
        name=f"small-{family}",
        family=family,
        description="A model of a test",
        channels=1,
        height=getattr(config, "height", 8),
        width=getattr(config, "width", 8),
        levels=config.levels,
        head=head,
        calibration_description="the training images" if head else None,
        provenance={},
        latent_size=getattr(config, "latent_size", None),
        labels=labels,
        **more,
    )
