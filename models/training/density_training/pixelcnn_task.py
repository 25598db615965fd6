"""Train, export and evaluate the PixelCNN of Fashion-MNIST."""

from pathlib import Path

import torch

from density_training import pixelcnn, training
from density_training.card import write_pixelcnn_card
from density_training.data import load_images
from density_training.detection import detection_figures, mnist_scores, split_for_calibration
from density_training.export import export_graph
from density_training.fashion_mnist import DIMENSIONS, HEIGHT, LEVELS, MONITORED_IMAGES, WIDTH, fashion_mnist_version
from density_training.golden import golden_levels
from density_training.grid import save_grid
from density_training.likelihood import bits_per_dim
from density_training.sampling import sample
from density_training.scoring import load_graph, log_likelihood, to_levels
from density_training.training import Progress, Recipe
from density_training.version import check_parity, served_scores, write_version

NAME = "fashion-mnist-pixelcnn"
DEFAULT_RECIPE = Recipe(steps=12_500, decay_steps=8_000, batch_size=32)
SAMPLES = 32


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images; Muon for the hidden matrices, AdamW for the rest."""
    torch.manual_seed(recipe.seed)
    images = to_levels(load_images(data, "train"))
    monitored = to_levels(load_images(data, "test"))[:MONITORED_IMAGES]
    model = pixelcnn.PixelCNN().to(memory_format=torch.channels_last)

    def report(epoch: int) -> None:
        bits = bits_per_dim(log_likelihood(model, monitored, LEVELS), DIMENSIONS)
        print(f"\nepoch {epoch}: {bits:.4f} bits/dim on {MONITORED_IMAGES:,} test images", flush=True)

    return training.train(
        model,
        lambda levels, step: pixelcnn.training_loss(model, levels),
        optimisers(model),
        images,
        recipe,
        checkpoint,
        report,
    )


def optimisers(model: pixelcnn.PixelCNN) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) orthogonalises the updates of matrices, which takes far fewer steps than AdamW."""
    matrices = pixelcnn.muon_parameters(model)
    chosen = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden and calibration scores, samples, model card."""
    state = torch.load(checkpoint, weights_only=True)
    model = pixelcnn.PixelCNN(pixelcnn.PixelCNNConfig(**state["config"]))
    model.load_state_dict(state["model"])
    export_graph(model, {"image": torch.rand(2, 1, HEIGHT, WIDTH)}, ["logits"], folder / "model.onnx")
    graph = load_graph(folder / "model.onnx")

    test = to_levels(load_images(data, "test"))
    test_scores = log_likelihood(graph, test, LEVELS)
    calibration, _ = split_for_calibration(len(test))
    golden = golden_levels(test)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        family="pixelcnn",
        head="categorical",
        description="Gated PixelCNN of Fashion-MNIST: exact log-likelihoods of 28×28 grey images with 256 levels",
        model=model,
        recipe=recipe,
        progress=progress,
        test_bits_per_dim=bits_per_dim(test_scores, DIMENSIONS),
        notes=f"exported after {progress.step:,} of {recipe.steps:,} steps",
    )
    golden_scores = log_likelihood(model, golden, LEVELS)
    write_version(folder, version, golden, golden_scores, test_scores[calibration])
    save_grid(sample(graph, SAMPLES, HEIGHT, WIDTH, LEVELS, seed=0), 8, folder / "samples.png")
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    write_pixelcnn_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    test = to_levels(load_images(data, "test"))
    test_scores, golden_scores = served_scores(folder, test), served_scores(folder, golden_levels(test))
    figures = detection_figures(test_scores, golden_scores, mnist_scores(folder, mnist), DIMENSIONS)
    return {"largest_golden_deviation_nats": check_parity(folder), **figures}
