"""What the models of Fashion-MNIST have in common: the size of the images and what their manifests say."""

from torch import nn

from density_training.training import Progress, Recipe
from density_training.version import Version

HEIGHT = WIDTH = 28
LEVELS, DIMENSIONS = 256, HEIGHT * WIDTH
MONITORED_IMAGES = 1_000
"""How many test images are scored after each epoch, for the log only; nothing is selected by them."""


def fashion_mnist_version(
    family: str,
    head: str,
    description: str,
    model: nn.Module,
    recipe: Recipe,
    progress: Progress,
    test_bits_per_dim: float,
    notes: str,
    latent_size: int | None = None,
) -> Version:
    """The manifest of a model of Fashion-MNIST; `family` is also its command and the end of its name."""
    return Version(
        name=f"fashion-mnist-{family}",
        family=family,
        description=description,
        channels=1,
        height=HEIGHT,
        width=WIDTH,
        levels=LEVELS,
        head=head,
        calibration_description="5,000 Fashion-MNIST test images, permutation seed 0, indices 0..5000",
        provenance={
            "data": "Fashion-MNIST, 60,000 training images",
            "licence": "MIT",
            "command": f"python -m density_training {family} train {recipe.as_arguments()}",
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "training_seconds": round(progress.seconds),
            "test_bits_per_dim": round(test_bits_per_dim, 4),
            "notes": notes,
        },
        latent_size=latent_size,
    )
