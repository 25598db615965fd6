"""The model card of the classifier."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from pathlib import Path

from density_training.card import (
    ONE_THREAD,
    Figures,
    accuracy_table,
    evaluation_note,
    limits_section,
    training_section,
)
from density_training.training import Progress, Recipe
from density_training.version import Version


def write_classifier_card(folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress) -> None:
    """Write the card; `before` are the figures at a temperature of one."""
    before = figures["before"]
    oddities = "\n".join(
        f"| {name} | {oddity['label']} | {oddity['probability']:.1%} |" for name, oddity in figures["oddities"].items()
    )
    hardest = min(figures["accuracy_by_label"], key=figures["accuracy_by_label"].get)
    how = "bfloat16 convolutions, AdamW"
    images = "mirrored and moved by up to two pixels at random"
    text = f"""# {version.name}, version {folder.name}

A classifier of 28×28 grey images: calibrated probabilities of ten labels, p(y|x), and {figures["features"]} features that serve other tasks.
It has **no density**: it cannot say that an image is none of its labels.

## Model
- A convolution, two strided convolutions each followed by a residual block, batch normalisation, a mean over the pixels, and a
  linear layer.
- {version.provenance["parameters"]:,} weights; float32; ONNX operator set 18; input `image` = level / 255, outputs `logits` [N, 10] and `features`
  [N, {figures["features"]}].
- The logits are already divided by a temperature of {figures["temperature"]:.4f}: their softmax is p(y|x).
- References: He et al., *Deep Residual Learning for Image Recognition* (2016); Guo et al., *On Calibration of Modern Neural
  Networks* (2017), for the temperature.

{training_section(version, recipe, progress, how, ONE_THREAD, images)}- 5,000 of the training images were not trained on; they fitted the temperature. The epochs are those of 60,000 images.

## Figures
| {figures["test_images"]:,} Fashion-MNIST test images | figure | at a temperature of 1 |
|---|---|---|
| accuracy | **{figures["accuracy"]:.2%}** | {before["accuracy"]:.2%} |
| log loss | {figures["log_loss_nats"]:.4f} nats | {before["log_loss_nats"]:.4f} nats |
| expected calibration error, 15 bins | **{figures["expected_calibration_error"]:.4f}** | {before["expected_calibration_error"]:.4f} |

{accuracy_table(figures)}
{evaluation_note("classifier", options="")}
## What it says of other pictures
| one picture each | label | probability |
|---|---|---|
{oddities}

Probabilities are calibrated on clothes and mean nothing elsewhere: put a density in front.

## What is not good
- The hardest label is "{hardest}", with an accuracy of {figures["accuracy_by_label"][hardest]:.1%}.
- It is small and was trained for minutes; networks that are better by one or two percent are common.
- The features were learnt to tell these ten labels apart; what does not help with that may be lost.

{limits_section()}"""
    (folder / "README.md").write_text(text)
