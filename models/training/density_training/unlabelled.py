"""What the trainings on images of Fashion-MNIST without labels have in common, and the optimisers that tasks share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from density_training import training
from density_training.data import load_images
from density_training.fashion_mnist import MONITORED_IMAGES
from density_training.scoring import to_levels
from density_training.training import Progress, Recipe

Module = TypeVar("Module", bound=nn.Module)


def train_on_images(
    build: Callable[[], Module],
    loss: Callable[[Module, Tensor, int], Tensor],
    optimisers: Callable[[Module], list[torch.optim.Optimizer]],
    measure: Callable[[Module, Tensor], str],
    data: Path,
    checkpoint: Path,
    recipe: Recipe,
) -> Progress:
    """Minimise `loss(model, levels, step)` over the 60,000 training images, from the weights that `build` gives.

    After each epoch, what `measure` says of `MONITORED_IMAGES` test images is printed; nothing is selected by it.
    """
    torch.manual_seed(recipe.seed)
    images = to_levels(load_images(data, "train"))
    monitored = to_levels(load_images(data, "test"))[:MONITORED_IMAGES]
    model = build().to(memory_format=torch.channels_last)

    def report(epoch: int) -> None:
        print(f"\nepoch {epoch}: {measure(model, monitored)}, {MONITORED_IMAGES:,} test images", flush=True)

    return training.train(
        model, lambda levels, step: loss(model, levels, step), optimisers(model), images, recipe, checkpoint, report
    )


def adam(model: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all weights, for networks that encode and decode."""
    return [torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)]


def muon(model: nn.Module, matrices: list[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """Muon for the given hidden matrices, AdamW for the other weights, for autoregressive networks.

    Muon (Jordan et al., 2024) orthogonalises the updates of matrices, which takes far fewer steps than AdamW.
    """
    chosen = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]
