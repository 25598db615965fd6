"""Model cards: the README.md beside each exported version. Every figure in them was measured by the export."""

# ruff: noqa: E501 (the lines of a card are as long as Markdown needs them)
from dataclasses import dataclass
from pathlib import Path

from density_training.training import Progress, Recipe
from density_training.version import Version

Figures = dict[str, object]
INTERRUPTED = "interrupted and resumed; other work took part of both cores"
ONE_THREAD = "one thread; other work took part of both cores"
ONE_THREAD_INTERRUPTED = "one thread, interrupted and resumed; other work took part of both cores"
UNTOUCHED = "The test images were not trained on, and\n  nothing was selected by them."


@dataclass(frozen=True)
class PixelCNNText:
    """What only the card of one PixelCNN says, in Markdown."""

    introduction: str
    network: str
    verdict: str
    references: str = ""
    training: str = ""
    run: str = ONE_THREAD


def write_pixelcnn_card(
    folder: Path, version: Version, about: PixelCNNText, figures: Figures, recipe: Recipe, progress: Progress
) -> None:
    """Write the card of a PixelCNN."""
    how = "bfloat16 matrix products, Muon for hidden matrices and AdamW for the rest"
    command = version.name.removeprefix("fashion-mnist-")
    text = f"""# {version.name}, version {folder.name}

{about.introduction}

![32 samples](samples.png)

*32 samples drawn from the model, temperature 1, seed 0, not selected.*

## Model
- {about.network}
- {version.provenance["parameters"]:,} weights; float32; ONNX operator set 18; input `image` = level / 255, output `logits` [N, 256, 28, 28].
- References: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel Recurrent Neural Networks* (2016); van den Oord et al.,
  *Conditional Image Generation with PixelCNN Decoders* (2016); Dauphin et al., *Language Modeling with Gated
  Convolutional Networks* (2017).{about.references}

{training_section(version, recipe, progress, how, about.run)}{about.training}
## Figures
| what | figure |
|---|---|
| bits per dimension, {figures["test_images"]:,} Fashion-MNIST test images | **{figures["test_score_bits_per_dim"]:.4f}** |
{false_alarm_rows(figures)}

{evaluation_note(command)}
## Detection, honestly
The test calibrated here asks whether the log-likelihood of an image is unusually low **or unusually high** among 5,000
held-out clothes. A p-value at or below the requested false-alarm rate means rejected.

{oddities_table(figures, "bits per dimension")}
It is not a good detector of other pictures, because **a picture of something else may well be more likely than clothes
are**:

{mnist_section(figures, "bits per dimension", "−log p(x)")}
{about.verdict}

{limits_section()}"""
    (folder / "README.md").write_text(text)


def write_vae_card(folder: Path, version: Version, figures: Figures, recipe: Recipe, progress: Progress) -> None:
    """Write the card of the VAE."""
    text = f"""# {version.name}, version {folder.name}

A variational autoencoder of 28×28 grey images with 256 levels: a code of {version.latent_size} numbers for an image, an image for a
code, and a **lower bound** on the image's log-likelihood. It knows clothes: it was trained on Fashion-MNIST.

![Test images, reconstructions and samples](samples.png)

*First row: eight test images. Second row: their reconstructions, the mean decoded from the mean of the posterior.
Third and fourth row: means decoded from draws of the prior, seed 0, not selected.*

## Model
- Encoder: two strided convolutions, a residual convolution and a linear layer; a diagonal Gaussian posterior over {version.latent_size}
  numbers, a standard normal prior. Decoder: a linear layer, residual and transposed convolutions.
- Likelihood: a logistic distribution for each pixel, discretised to 256 levels with open tails at both ends; `mean`
  and `log_scale` in units of level / 255.
- {version.provenance["parameters"]:,} weights in both graphs together; float32; ONNX operator set 18.
- References: Kingma and Welling, *Auto-Encoding Variational Bayes* (2014); Salimans et al., *PixelCNN++* (2017), for the
  discretised logistic; Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders* (2016), for the tighter bound.

{training_section(version, recipe, progress, "bfloat16 convolutions, AdamW, the weight of the KL term raised from 0 to 1 over 1,500 steps", INTERRUPTED)}
## Figures
All on the {figures["test_images"]:,} Fashion-MNIST test images.

| what | figure |
|---|---|
| ELBO, 64 draws an image, seed 0, bits per dimension | **{figures["test_elbo_bits_per_dim"]:.4f}** |
| IWAE bound, K = 64, the same draws, bits per dimension | **{figures["test_iwae_64_bits_per_dim"]:.4f}** |
| mean effective sample size of the 64 importance weights | {figures["mean_effective_sample_size"]:.2f} |
| score at the mean of the posterior (`elbo_at_mean`), bits per dimension | {figures["test_score_bits_per_dim"]:.4f} |
| mean KL(q(z given x) ‖ p(z)) | {figures["mean_kl_nats"]:.2f} nats |
| active units, #{{j: variance of the j-th posterior mean > 0.01}} | {figures["active_units"]} of {figures["latent_size"]} |
{false_alarm_rows(figures)}

`elbo_at_mean` is log p(x given z = mean of the posterior) − KL. It is deterministic, which suits calibration and parity
checks, but it is **not a bound**: without the noise of the posterior the reconstruction term is larger. Quote the ELBO or the
IWAE bound as a likelihood. The small effective sample size says that a few of the 64 draws carry the IWAE estimate, so a
larger K would tighten it further.

{evaluation_note("vae")}
## Detection, honestly
The test calibrated here asks whether `elbo_at_mean` is unusually low **or unusually high** among 5,000 held-out clothes. A
p-value at or below the requested false-alarm rate means rejected.

{oddities_table(figures, "`elbo_at_mean`, bits per dimension")}
{mnist_section(figures, "`elbo_at_mean`, bits per dimension", "−`elbo_at_mean`")}
Pictures of something else can score as high as clothes do, or higher. As the only gate in front of a classifier this
score would be a poor choice.

{limits_section()}"""
    (folder / "README.md").write_text(text)


def training_section(
    version: Version,
    recipe: Recipe,
    progress: Progress,
    how: str,
    run: str,
    images: str = "no augmentation",
    test: str = UNTOUCHED,
) -> str:
    """Data, command, steps and minutes.

    `how` names precision and optimisers, `run` the circumstances, `images` what became of them, `test` what was done
    with the test images.
    """
    provenance = version.provenance
    epochs = progress.step * recipe.batch_size / 60_000
    return f"""## Data and training
- Data: {provenance["data"]} (Zalando Research, MIT licence), {images}. {test}
- Command: `{provenance["command"]}`
- {progress.step:,} steps, {epochs:.1f} epochs, {how}. {progress.seconds / 60:.0f} minutes of wall time on a shared
  two-core CPU (AVX-512 with bfloat16), {run}.
"""


def false_alarm_rows(figures: Figures) -> str:
    """Rows of the table of figures."""
    rates = figures["false_alarm_rate"]
    return "\n".join(
        f"| false alarms at a requested rate of {label[:-1]} %, the 5,000 test images outside the calibration | {rate:.2%} |"
        for label, rate in rates.items()
    )


def accuracy_table(figures: Figures) -> str:
    """Accuracy on the test images of each label."""
    rows = "\n".join(f"| {name} | {accuracy:.1%} |" for name, accuracy in figures["accuracy_by_label"].items())
    return f"""| label | accuracy |
|---|---|
{rows}
"""


def evaluation_note(model: str, options: str = " --mnist <folder of MNIST>") -> str:
    """Where the figures come from; `model` is the command."""
    return f"""All figures, those of the next section included, are of the exported graphs in ONNX Runtime on a CPU; measure them again with

    python -m density_training {model} evaluate{options}
"""


def oddities_table(figures: Figures, score: str) -> str:
    """Scores of the golden pictures that are not clothes."""
    rows = "\n".join(
        f"| {name} | {oddity['bits_per_dim']:.4f} | {oddity['p_value']:.4f} |"
        for name, oddity in figures["oddities"].items()
    )
    return f"""| one picture each | {score} | p-value |
|---|---|---|
{rows}
"""


def mnist_section(figures: Figures, score: str, statistic: str) -> str:
    """How digits score, if that was measured."""
    if "mnist_rejection_rate" not in figures:
        return "How it treats MNIST digits was not measured for this export.\n"
    rates = figures["mnist_rejection_rate"]
    return f"""| 10,000 MNIST test digits | figure |
|---|---|
| {score} | {figures["mnist_score_bits_per_dim"]:.4f} |
| rejected at a false-alarm rate of 1 % | {rates["1%"]:.1%} |
| rejected at a false-alarm rate of 5 % | {rates["5%"]:.1%} |
| AUROC of {statistic} against held-out clothes; 0.5 is chance, below it digits score higher than clothes | {figures["mnist_auroc_of_low_scores"]:.3f} |
"""


def limits_section() -> str:
    """What no model of Fashion-MNIST can do."""
    return """## Limits
- Only 28×28 grey images in the manner of Fashion-MNIST: centred, white on black, 256 levels. Colour, resizing, JPEG artefacts
  or an inverted background change every score.
- Fashion-MNIST is a benchmark, not a sample of the world's clothes. The model is an example of what the server serves,
  not a product.
"""
