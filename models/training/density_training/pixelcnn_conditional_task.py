"""Train, export and evaluate the PixelCNN of Fashion-MNIST given a label."""

from pathlib import Path

import torch
from torch import Tensor

from density_training import conditional, training
from density_training.card import Figures
from density_training.classification import classification_figures
from density_training.conditional_card import write_conditional_card
from density_training.data import load_images
from density_training.detection import detection_figures, mnist_scores, split_for_calibration
from density_training.export import export_graph
from density_training.fashion_mnist import (
    DIMENSIONS,
    HEIGHT,
    LABELS,
    LEVELS,
    MONITORED_IMAGES,
    WIDTH,
    counted_labels,
    fashion_mnist_version,
    labels_of,
)
from density_training.golden import golden_levels
from density_training.grid import save_grid
from density_training.likelihood import bits_per_dim
from density_training.pixelcnn import muon_parameters
from density_training.sampling import sample
from density_training.scoring import label_log_likelihoods, load_graph, to_levels
from density_training.training import Progress, Recipe
from density_training.unlabelled import muon
from density_training.version import Labels, check_parity, served_scores, write_version

NAME = "fashion-mnist-pixelcnn-conditional"
DEFAULT_RECIPE = Recipe(steps=2_970, decay_steps=2_500, batch_size=32)
START = "pixelcnn.pt"
"""The checkpoint of the unconditional network, beside that of this one."""
LEARNING_RATE_FACTOR = 0.5
"""Of the rates of the unconditional training, whose end it resumes."""
DISCRIMINATION = ((0, 10.0), (2_000, 4.0), (2_720, 1.0))
"""From which step on telling labels apart has which weight: less once they are told apart."""
SAMPLES_A_LABEL = 8


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on the 60,000 training images and labels, starting from the weights of the trained `pixelcnn`."""
    torch.manual_seed(recipe.seed)
    images, labels = to_levels(load_images(data, "train")), labels_of(data, "train")
    monitored = to_levels(load_images(data, "test"))[:MONITORED_IMAGES]
    monitored_labels = labels_of(data, "test")[:MONITORED_IMAGES]
    model = conditional.ConditionalPixelCNN().to(memory_format=torch.channels_last)
    if not checkpoint.exists():
        start = torch.load(checkpoint.with_name(START), weights_only=True)
        model.load_state_dict(start["model"] | _label_weights(model))
    rivals = conditional.Rivals(len(LABELS))
    steppers = muon(model, muon_parameters(model))
    for group in (group for stepper in steppers for group in stepper.param_groups):
        group["lr"] *= LEARNING_RATE_FACTOR

    def loss(chosen: Tensor, step: int) -> Tensor:
        weight = max((start, weight) for start, weight in DISCRIMINATION if start <= step)[1]
        return conditional.training_loss(model, images[chosen], labels[chosen], rivals, weight)

    def report(epoch: int) -> None:
        with torch.no_grad():
            batches = zip(monitored.split(50), monitored_labels.split(50), strict=True)
            scores = torch.cat([conditional.log_likelihoods(model, *batch) for batch in batches])
        bits = bits_per_dim(scores, DIMENSIONS)
        print(f"\nepoch {epoch}: {bits:.4f} bits/dim on {MONITORED_IMAGES:,} test images", flush=True)

    return training.train(model, loss, steppers, torch.arange(len(images)), recipe, checkpoint, report)


def _label_weights(model: conditional.ConditionalPixelCNN) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.state_dict().items() if name.startswith("label_")}


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden and calibration scores, samples, model card."""
    state = torch.load(checkpoint, weights_only=True)
    model = conditional.ConditionalPixelCNN(conditional.ConditionalPixelCNNConfig(**state["config"]))
    model.load_state_dict(state["model"])
    example = {"image": torch.rand(2, 1, HEIGHT, WIDTH), "label": torch.tensor([0, 1])}
    export_graph(model, example, ["logits"], folder / "model.onnx")
    graph = load_graph(folder / "model.onnx")

    test = to_levels(load_images(data, "test"))
    scores = label_log_likelihoods(graph, test, LEVELS, len(LABELS))
    labels = counted_labels(labels_of(data, "train"))
    calibration, _ = split_for_calibration(len(test))
    golden = golden_levels(test)
    golden_scores = label_log_likelihoods(model, golden, LEVELS, len(LABELS))
    classification = _classification(scores, labels_of(data, "test"), labels)
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="pixelcnn-conditional",
        family="pixelcnn",
        head="categorical",
        description="Gated PixelCNN of Fashion-MNIST given a label: exact p(x|y), 28×28 grey, 256 levels, ten labels",
        model=model,
        recipe=recipe,
        progress=progress,
        test_bits_per_dim=classification["test_bits_per_dim_given_the_label"],
        notes=f"starts from the weights of fashion-mnist-pixelcnn; test_bits_per_dim is given the label; "
        f"calibrated is log p(x) = log Σ p(x|y) p(y); exported after {progress.step:,} of {recipe.steps:,} steps",
        labels=labels,
    )
    write_version(folder, version, golden, golden_scores, evidence(scores, labels)[calibration])
    drawn = [
        sample(lambda x, y=label: graph(x, torch.full((len(x),), y)), SAMPLES_A_LABEL, HEIGHT, WIDTH, LEVELS, seed=0)
        for label in range(len(LABELS))
    ]
    save_grid(torch.cat(drawn), SAMPLES_A_LABEL, folder / "samples.png")
    figures = classification | _detection(scores, golden_scores, mnist_scores(folder, mnist), labels)
    write_conditional_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime: ten passes an image."""
    test = to_levels(load_images(data, "test"))
    scores, golden_scores = served_scores(folder, test), served_scores(folder, golden_levels(test))
    labels = counted_labels(labels_of(data, "train"))
    return {
        "largest_golden_deviation_nats": check_parity(folder),
        **_classification(scores, labels_of(data, "test"), labels),
        **_detection(scores, golden_scores, mnist_scores(folder, mnist), labels),
    }


def evidence(scores: Tensor, labels: Labels) -> Tensor:
    """log p(x) = log Σ p(x|y) p(y) in nats, from log p(x|y) [N, labels]."""
    return (scores + torch.tensor(labels.prior).double().log()).logsumexp(1)


def _classification(scores: Tensor, test_labels: Tensor, labels: Labels) -> Figures:
    """Density given the label and decisions by Bayes' rule, from log p(x|y) of the test images, [N, labels]."""
    log_posterior = (scores + torch.tensor(labels.prior).double().log()).log_softmax(1)
    given_label = scores.gather(1, test_labels.unsqueeze(1))
    return {
        "test_bits_per_dim_given_the_label": bits_per_dim(given_label, DIMENSIONS),
        **classification_figures(log_posterior, test_labels, labels.names),
    }


def _detection(scores: Tensor, golden_scores: Tensor, digit_scores: Tensor | None, labels: Labels) -> Figures:
    digits = None if digit_scores is None else evidence(digit_scores, labels)
    return detection_figures(evidence(scores, labels), evidence(golden_scores, labels), digits, DIMENSIONS)
