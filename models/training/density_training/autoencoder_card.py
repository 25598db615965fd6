"""The model card of the autoencoder."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from pathlib import Path

from density_training.card import ONE_THREAD, Figures, evaluation_note, limits_section, training_section
from density_training.training import Progress, Recipe
from density_training.version import Version


def write_autoencoder_card(
    folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress
) -> None:
    """Write the card."""
    oddities = "\n".join(f"| {name} | {odd:.5f} |" for name, odd in figures["oddities"].items())
    error, digit_error = figures["test_mean_squared_error"], figures.get("mnist_mean_squared_error")
    as_digits = f" MNIST digits cost {digit_error / error:.1f} times as much as clothes." if digit_error else ""
    digits = f"| 10,000 MNIST test digits | {digit_error:.5f} |\n" if digit_error else ""
    text = f"""# {version.name}, version {folder.name}

An autoencoder of 28×28 grey images with 256 levels: a code of {version.latent_size} numbers for an image, an image for a code. It has
**no density** and no prior: it can neither say how probable an image is nor draw one.

![Test images and reconstructions](reconstructions.png)

*First and third row: eleven test images and five pictures that are not clothes. Second and fourth row: their reconstructions.*

## Model
- Encoder: two strided convolutions, a residual convolution and a linear layer. Decoder: a linear layer, residual and
  transposed convolutions, and a sigmoid. The code is deterministic and unbounded.
- {version.provenance["parameters"]:,} weights in both graphs together; float32; ONNX operator set 18; input `image` = level / 255, code `latent`
  [N, {version.latent_size}], output `image` in the same units.
- References: Hinton and Salakhutdinov, *Reducing the Dimensionality of Data with Neural Networks* (2006).

{training_section(version, recipe, progress, "mean squared error, bfloat16 convolutions, AdamW", ONE_THREAD)}
## Figures
| mean squared error a pixel, in units of level / 255 | figure |
|---|---|
| {figures["test_images"]:,} Fashion-MNIST test images | **{error:.5f}** |
| the same images, predicted by their mean | {figures["constant_mean_squared_error"]:.5f} |
{digits}{oddities}

{evaluation_note("autoencoder")}
## What is not good
- Reconstructions are smooth. Outline and brightness survive the code; letters, checks, the straps of sandals and the texture of
  cloth do not: a squared error prefers their mean.
- A small error does not mean that an image is clothes. Plain pictures of anything are easy to reconstruct, all black best of all.{as_digits}
  A squared error is not a likelihood either, until a noise is declared.
- Codes have no prior: a code drawn at random, or half-way between two, need not decode to clothes.

{limits_section()}"""
    (folder / "README.md").write_text(text)
