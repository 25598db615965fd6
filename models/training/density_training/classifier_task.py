"""Train, export and evaluate the classifier of Fashion-MNIST."""

from pathlib import Path

import torch
from torch import Tensor

from density_training import classifier, training
from density_training.card import Figures
from density_training.classification import classification_figures
from density_training.classifier_card import write_classifier_card
from density_training.data import load_images
from density_training.export import export_graph
from density_training.fashion_mnist import (
    HEIGHT,
    LABELS,
    LEVELS,
    MONITORED_IMAGES,
    WIDTH,
    counted_labels,
    fashion_mnist_version,
    labels_of,
)
from density_training.golden import CLOTHES, ODDITIES, golden_levels
from density_training.scoring import label_log_probabilities, load_graph, to_levels
from density_training.training import Progress, Recipe
from density_training.version import check_parity, served_scores, write_version

NAME = "fashion-mnist-classifier"
DEFAULT_RECIPE = Recipe(steps=6_000, decay_steps=4_500, batch_size=128)
HELD_OUT, HELD_OUT_SEED = 5_000, 0
"""Training images that are not trained on; they fit the temperature."""


def train(data: Path, checkpoint: Path, recipe: Recipe) -> Progress:
    """Train on 55,000 of the training images and their labels with AdamW; images are mirrored and moved at random."""
    torch.manual_seed(recipe.seed)
    images, labels = to_levels(load_images(data, "train")), labels_of(data, "train")
    trained_on, held_out = split(len(images))
    monitored, monitored_labels = images[held_out[:MONITORED_IMAGES]], labels[held_out[:MONITORED_IMAGES]]
    model = classifier.Classifier().to(memory_format=torch.channels_last)

    def report(epoch: int) -> None:
        scores = label_log_probabilities(model.eval(), monitored, LEVELS)
        model.train()
        accuracy = (scores.argmax(1) == monitored_labels).double().mean()
        print(f"\nepoch {epoch}: accuracy {accuracy:.2%} on {MONITORED_IMAGES:,} held-out images", flush=True)

    return training.train(
        model,
        lambda chosen, step: classifier.training_loss(model, images[chosen], labels[chosen]),
        [torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.99), weight_decay=0.05)],
        trained_on,
        recipe,
        checkpoint,
        report,
    )


def split(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the training images that are trained on, and of those that are held out."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(HELD_OUT_SEED))
    return order[HELD_OUT:], order[:HELD_OUT]


def load(checkpoint: Path) -> classifier.Classifier:
    """The trained network, ready to be used, at a temperature of one."""
    state = torch.load(checkpoint, weights_only=True)
    model = classifier.Classifier(classifier.ClassifierConfig(**state["config"]))
    model.load_state_dict(state["model"])
    return model.eval()


def export(data: Path, checkpoint: Path, folder: Path, mnist: Path | None) -> None:
    """Write a complete version to `folder`: graph, manifest, golden log-probabilities, model card."""
    state, model = torch.load(checkpoint, weights_only=True), load(checkpoint)
    images, labels = to_levels(load_images(data, "train")), labels_of(data, "train")
    _, held_out = split(len(images))
    # The logarithm of a softmax is a logit as good as any.
    logits = label_log_probabilities(model, images[held_out], LEVELS)
    temperature = classifier.fit_temperature(logits, labels[held_out])
    before = label_log_probabilities(model, to_levels(load_images(data, "test")), LEVELS)
    model.temperature.fill_(temperature)
    example = {"image": torch.rand(2, 1, HEIGHT, WIDTH)}
    export_graph(model, example, ["logits", "features"], folder / "model.onnx")

    golden = golden_levels(to_levels(load_images(data, "test")))
    recipe, progress = Recipe(**state["recipe"]), Progress(**state["progress"])
    version = fashion_mnist_version(
        data,
        command="classifier",
        family="classifier",
        description="Convolutional classifier of Fashion-MNIST: calibrated p(y|x) of ten labels and 96 features",
        model=model,
        recipe=recipe,
        progress=progress,
        notes=f"55,000 images trained on, {HELD_OUT:,} for the temperature of {temperature:.4f}, by which the logits "
        "are already divided; golden scores are log p(y|x) of each label",
        labels=counted_labels(labels),
    )
    write_version(folder, version, golden, label_log_probabilities(model, golden, LEVELS))
    figures = _figures(data, folder) | {
        "temperature": temperature,
        "before": classification_figures(before, labels_of(data, "test"), LABELS),
    }
    write_classifier_card(folder, version, figures, recipe, progress)


def evaluate(data: Path, folder: Path, mnist: Path | None) -> dict[str, object]:
    """Measure an exported version in ONNX Runtime."""
    return {"largest_golden_deviation": check_parity(folder), **_figures(data, folder)}


def _figures(data: Path, folder: Path) -> Figures:
    test = to_levels(load_images(data, "test"))
    oddities = served_scores(folder, golden_levels(test))[CLOTHES:]
    confidence, label = oddities.exp().max(1)
    return {
        "test_images": len(test),
        "features": load_graph(folder / "model.onnx")(torch.zeros(1, 1, HEIGHT, WIDTH))[1].shape[1],
        **classification_figures(served_scores(folder, test), labels_of(data, "test"), LABELS),
        "oddities": {
            name: {"label": LABELS[index], "probability": probability}
            for name, index, probability in zip(ODDITIES, label.tolist(), confidence.tolist(), strict=True)
        },
    }
