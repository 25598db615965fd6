"""The model card of the generative adversarial network."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from pathlib import Path

from density_training.card import ONE_THREAD, Figures, evaluation_note, limits_section, training_section
from density_training.training import Progress, Recipe
from density_training.version import Version


def write_gan_card(folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress) -> None:
    """Write the card."""
    distances = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures["distance_of"].items())
    recognised = "\n".join(f"| {name} | {value:.1%} |" for name, value in figures["recognised_by_label"].items())
    how = "of a generator and a discriminator at once: relativistic loss, penalties of\n  the gradient at real and at drawn images; the generator in bfloat16; Adam"
    text = f"""# {version.name}, version {folder.name}

A generator of 28×28 grey images with 256 levels given one of ten labels, trained against a discriminator. It draws. Its density
is **implicit**: there is one, but it cannot be evaluated, so it cannot say how probable an image is.

![Eight samples of each label](samples.png)

*Eight samples of each label, one label a row, seed 0, not selected.*

## Model
- A linear layer from {version.latent_size} standard normal numbers and an embedding of the label, two transposed convolutions, a residual
  one, a convolution and a sigmoid. The weights are a moving average over the training, decay 0.999.
- The discriminator, which is not served: three strided convolutions, a linear layer and a projection on the label. It compares a real
  and a drawn image of the same label.
- {version.provenance["parameters"]:,} weights; float32; ONNX operator set 18; inputs `latent` [N, {version.latent_size}] and `label` int64 [N] from 0 to 9; output `image`
  = level / 255 [N, 1, 28, 28].
- References: Goodfellow et al., *Generative Adversarial Nets* (2014); Huang et al., *The GAN is dead; long live the GAN! A Modern
  GAN Baseline* (2024), for the loss and its penalties; Miyato and Koyama, *cGANs with Projection Discriminator* (2018).

{training_section(version, recipe, progress, how, ONE_THREAD)}
## Figures
{figures["judged"]:,} drawn images, equally many of each label, judged by fashion-mnist-classifier. The distance is that of Fréchet between
Gaussians fitted to its features, from the 10,000 test images; it compares with the other rows of this table only.

| images | distance |
|---|---|
| draws of this generator | **{figures["distance"]:.3f}** |
{distances}

| label asked for | drawn images that the classifier gives this label |
|---|---|
{recognised}
| all | **{figures["recognised"]:.1%}** |

{evaluation_note("gan", options="")}
{limits_section()}"""
    (folder / "README.md").write_text(text)
