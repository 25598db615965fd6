"""Train, export and evaluate the PixelRNN of Fashion-MNIST."""

from pathlib import Path

import torch

from density_training import pixelrnn, wavefront
from density_training.data import load_images
from density_training.detection import detection_figures, mnist_scores, split_for_calibration
from density_training.export import export_graph
from density_training.fashion_mnist import DIMENSIONS, HEIGHT, LEVELS, WIDTH, fashion_mnist_version
from density_training.golden import golden_levels
from density_training.grid import save_grid
from density_training.likelihood import bits_per_dim
from density_training.pixelcnn_task import bits_of
from density_training.pixelrnn_card import write_pixelrnn_card
from density_training.scoring import load_graph, log_likelihood, to_levels
from density_training.training import Progress, Recipe
from density_training.unlabelled import muon, train_on_images
from density_training.version import check_parity, served_scores, write_version

NAME = "fashion-mnist-pixelrnn"
DEFAULT_RECIPE = Recipe(steps=4_000, decay_steps=2_500, batch_size=32)
SAMPLES = 32


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images; Muon for the hidden matrices, AdamW for the rest."""
    return train_on_images(
        pixelrnn.PixelRNN,
        lambda model, levels, step: pixelrnn.training_loss(model, levels),
        lambda model: muon(model, pixelrnn.muon_parameters(model)),
        bits_of,
        data,
        checkpoint,
        recipe,
    )


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: step graph, manifest, golden and calibration scores, samples, card."""
    state = torch.load(checkpoint, weights_only=True)
    config = pixelrnn.PixelRNNConfig(**state["config"])
    model = pixelrnn.PixelRNN(config)
    model.load_state_dict(state["model"])
    export_graph(model.step, pixelrnn.example(config), ["state", "logits"], folder / "step.onnx")

    test = to_levels(load_images(data, "test"))
    graph = load_graph(folder / "step.onnx")
    test_scores = wavefront.log_likelihood(graph, test, LEVELS, config.state_size)
    calibration, _ = split_for_calibration(len(test))
    golden = golden_levels(test)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="pixelrnn",
        family="pixelrnn",
        head="categorical",
        description="PixelRNN of Fashion-MNIST: exact log-likelihoods along diagonals, 28×28 grey, 256 levels",
        model=model,
        recipe=recipe,
        progress=progress,
        test_bits_per_dim=bits_per_dim(test_scores, DIMENSIONS),
        notes=f"exported after {progress.step:,} of {recipe.steps:,} steps",
        recurrence=pixelrnn.recurrence(config),
    )
    # The network over whole images, in PyTorch, against the step along diagonals, in ONNX Runtime.
    golden_scores = log_likelihood(model, golden, LEVELS)
    write_version(folder, version, golden, golden_scores, test_scores[calibration])
    drawn = wavefront.sample(graph, (SAMPLES, 1, HEIGHT, WIDTH), LEVELS, config.state_size, seed=0)
    save_grid(drawn, 8, folder / "samples.png")
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    write_pixelrnn_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    test = to_levels(load_images(data, "test"))
    test_scores, golden_scores = served_scores(folder, test), served_scores(folder, golden_levels(test))
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    return {"largest_golden_deviation_nats": check_parity(folder), **figures}
