"""The model card of the PixelCNN given a label."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from pathlib import Path

from density_training.card import (
    Figures,
    accuracy_table,
    evaluation_note,
    false_alarm_rows,
    limits_section,
    mnist_section,
    oddities_table,
    training_section,
)
from density_training.fashion_mnist import published_bits_per_dim
from density_training.training import Progress, Recipe
from density_training.version import Version

RUN = "one thread, interrupted and resumed; other work took part of both cores"
TEST = """The test images were not trained on.
  Figures on 1,500 of them had been seen before the last 250 steps were decided on; that decision was made by 300 training images."""


def write_conditional_card(
    folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress
) -> None:
    """Write the card; figures are of log p(x|y), of the posterior, and of log p(x)."""
    pixelcnn = published_bits_per_dim("fashion-mnist-pixelcnn")
    how = (
        "after those of fashion-mnist-pixelcnn, whose weights it starts from, at half its learning rates; bfloat16\n"
        "  matrix products, Muon for hidden matrices and AdamW for the rest"
    )
    text = f"""# {version.name}, version {folder.name}

A gated PixelCNN **given a label**: the exact probability p(x|y) of a 28×28 grey image with 256 levels for each of ten
kinds of clothes, and by Bayes' rule a classifier that says as well how probable the image is at all.

![Eight samples of each label](samples.png)

*Eight samples of each label, one label a row, temperature 1, seed 0, not selected.*

## Model
- The network of fashion-mnist-pixelcnn. The label adds to both halves of the gate of each of the twelve blocks a bias for each
  channel, and to the first layer a bias for each row and each column.
- {version.provenance["parameters"]:,} weights; float32; ONNX operator set 18; inputs `image` = level / 255 and `label` int64 [N] from 0 to 9;
  output `logits` [N, 256, 28, 28].
- p(y|x) ∝ p(x|y) p(y), with p(y) counted from the training labels; p(x) = Σ p(x|y) p(y).
- References: van den Oord et al., *Conditional Image Generation with PixelCNN Decoders* (2016).

{training_section(version, recipe, progress, how, RUN, test=TEST)}- The steps, the decay and the weights below were changed when the training was resumed, so the command alone does not give the same network.
- The loss has a term beside the likelihood: it is −log p(x|y) plus the log loss of telling the label from one wrong label by their likelihoods, over half of each batch, ten
  times, four times after 2,000 steps and once after 2,720. That term spends a little likelihood on accuracy; p(x|y) stays normalised.

## Figures
All on the {figures["test_images"]:,} Fashion-MNIST test images.

| what | figure |
|---|---|
| bits per dimension given the right label, −log₂ p(x given y) / 784 | **{figures["test_bits_per_dim_given_the_label"]:.4f}** |
| bits per dimension of the evidence, −log₂ p(x) / 784 | {figures["test_score_bits_per_dim"]:.4f} |
| accuracy by Bayes' rule | **{figures["accuracy"]:.2%}** |
| log loss of the posterior | {figures["log_loss_nats"]:.4f} nats |
| expected calibration error of the posterior, 15 bins | {figures["expected_calibration_error"]:.4f} |
{false_alarm_rows(figures)}

{accuracy_table(figures)}
{evaluation_note("pixelcnn-conditional")}
## Detection, honestly
The test calibrated here asks whether log p(x) is unusually low **or unusually high** among 5,000 held-out clothes. A p-value
at or below the requested false-alarm rate means rejected.

{oddities_table(figures, "bits per dimension of p(x)")}
{mnist_section(figures, "bits per dimension of p(x)", "−log p(x)")}
As the only gate in front of a classifier log p(x) would be a poor choice.

## What is not good
- The label explains little of the probability of an image: a network that does not know it, fashion-mnist-pixelcnn, needs {pixelcnn:.4f} bits per
  dimension, and p(x) summed over the labels {figures["test_score_bits_per_dim"]:.4f}.
- As a classifier it is beaten by a network that is trained to be one, fashion-mnist-classifier, and it is overconfident: see the expected calibration
  error. A posterior costs ten passes.
- Shirts are the hardest label, and some samples of dresses and trousers are a cloud of texture.

{limits_section()}"""
    (folder / "README.md").write_text(text)
