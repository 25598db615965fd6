"""The model card of the generative adversarial network."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from pathlib import Path

from density_training.card import ONE_THREAD, Figures, evaluation_note, limits_section, training_section
from density_training.diversity import Row, markdown
from density_training.fashion_mnist import LABELS
from density_training.training import Progress, Recipe
from density_training.version import Version


def write_gan_card(folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress) -> None:
    """Write the card."""
    rows = [Row(**row) for row in figures["compared"]]
    recognised = "\n".join(f"| {name} | {value:.1%} |" for name, value in figures["recognised_by_label"].items())
    hardest = min(figures["recognised_by_label"], key=figures["recognised_by_label"].get)
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
{figures["judged"]:,} images of every kind, judged by fashion-mnist-classifier: Fréchet's distance between Gaussians fitted to its features of these
and of the 10,000 test images, less is better, and how many images it gives each label. Labels were asked for, equally many of each, from
this generator and from fashion-mnist-pixelcnn-conditional; the others draw what they like.

{markdown(rows, LABELS)}

The distance compares with the other rows of this table only. All ten labels occur in what each model draws; a label's count says
nothing of how varied its images are. The noise of single pixels weighs heavily with this judge, as the two rows of the VAE show. The table is
made again by

    density-server sample fashion-mnist-pixelcnn -n 10000 --seed 1 --output .cache/draws/fashion-mnist-pixelcnn/all.npy
    for label in 0 1 2 3 4 5 6 7 8 9; do density-server sample fashion-mnist-pixelcnn-conditional -n 1000 --seed $label --label $label \\
        --output .cache/draws/fashion-mnist-pixelcnn-conditional/$label.npy; done
    python -m density_training diversity

| label asked for | drawn images that the classifier gives this label |
|---|---|
{recognised}
| all | **{figures["recognised"]:.1%}** |

{evaluation_note("gan", options="")}
## What is not good
- Sandals are blobs, though the classifier takes them for sandals: it is an easy judge. Dresses and bags are torn or have holes, and transposed convolutions leave a grid of dots and stripes on cloth. Shapes are right
  more often than textures.
- {1 - figures["recognised"]:.1%} of the images are not recognised as the label that was asked for; of "{hardest}" {1 - figures["recognised_by_label"][hardest]:.1%}.
- An exact density given the label, fashion-mnist-pixelcnn-conditional, draws images that are much closer to real ones. This generator
  is faster: one pass an image.
- It was trained for few epochs. Its loss was taken after another one had drawn nearly the same image for each label.

{limits_section()}"""
    (folder / "README.md").write_text(text)
