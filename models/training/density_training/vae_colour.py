"""A variational autoencoder of colour images: its code is a small map, its head a mixture of logistics for each pixel.

References
- Kingma and Welling, "Auto-Encoding Variational Bayes" (2014): the evidence lower bound and its estimator.
- Bowman et al., "Generating Sentences from a Continuous Space" (2016): the weight of the KL term rises from 0 to 1.
- Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood" (2017): the head,
  which links the channels of a pixel.
- Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016): the importance-weighted bound.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from density_training import mixture, timed, vae
from density_training.card import layout, table
from density_training.cifar10 import Cifar10, flipped
from density_training.convolutional import Residual
from density_training.data import LEVELS, to_input
from density_training.figures import split_for_calibration
from density_training.model import parameter_count
from density_training.pixelcnn_colour import oddities
from density_training.sampling import save_grid
from density_training.scoring import Network, TwoHeaded, bits_per_dim, mixture_log_likelihood
from density_training.timed import Measured, TimedProgress, TimedRecipe
from density_training.training import adamw
from density_training.vae import ACTIVE_VARIANCE, gaussian_kl
from density_training.version import Family, Graph, Graphs, Version, check_parity, write_version

NAME = "cifar10-vae"
HEAD = "discretized-logistic-mixture"
RECIPE = TimedRecipe(minutes=50, batch_size=64)
WARM_UP_SHARE, LEAST_KL_WEIGHT = 0.1, 0.2
"""The share of the time in which the weight of the KL term rises to 1, and where it begins: codes stay bounded."""
PERIOD = 8
"""Rows and columns after which a JPEG's blocks repeat."""
DRAWS, DRAW_SEED = 16, 0
"""Draws from the posterior of an image for the bounds that the card quotes."""
GOLDEN_SAMPLES = 5
CALIBRATION = "5,000 CIFAR-10 test images as JPEG files, permutation seed 0, indices 0..5000"


@dataclass(frozen=True)
class ColourVAEConfig:
    """Sizes; sides are multiples of eight. The code has `code_channels` numbers for each 4×4 pixels."""

    height: int = 32
    width: int = 32
    levels: int = LEVELS
    channels: tuple[int, int, int] = (32, 64, 96)
    """At full, half and quarter resolution."""
    code_channels: int = 8
    mixtures: int = 4

    @property
    def bottom(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a code."""
        return (self.code_channels, self.height // 4, self.width // 4)

    @property
    def latent_size(self) -> int:
        """Numbers in a code."""
        return math.prod(self.bottom)


class Encoder(nn.Module):
    """`image` [N, 3, H, W] → `mean`, `log_variance` [N, latent] of a diagonal Gaussian posterior."""

    def __init__(self, config: ColourVAEConfig) -> None:
        super().__init__()
        _, half, quarter = config.channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, half, 4, stride=2, padding=1),
            Residual(half),
            nn.SiLU(),
            nn.Conv2d(half, quarter, 4, stride=2, padding=1),
            Residual(quarter),
            Residual(quarter),
            nn.SiLU(),
            nn.Conv2d(quarter, 2 * config.code_channels, 1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.convolutions(2 * image - 1).chunk(2, dim=1)
        return mean.flatten(1), log_variance.flatten(1).clamp(-12.0, 4.0)


class Decoder(nn.Module):
    """`latent` [N, latent] → `parameters` [N, 10K, H, W] of each pixel, see `density_training.mixture`."""

    def __init__(self, config: ColourVAEConfig) -> None:
        super().__init__()
        full, half, quarter = config.channels
        self.config = config
        self.low = nn.Sequential(
            nn.Conv2d(config.code_channels, quarter, 3, padding=1),
            Residual(quarter),
            Residual(quarter),
            Residual(quarter),
            nn.SiLU(),
            nn.ConvTranspose2d(quarter, half, 4, stride=2, padding=1),
            Residual(half),
            Residual(half),
            nn.SiLU(),
            nn.ConvTranspose2d(half, full, 4, stride=2, padding=1),
        )
        # Where a pixel lies in its block of a JPEG says much about it.
        self.phase = nn.Parameter(torch.zeros(1, full, PERIOD, PERIOD))
        self.high = nn.Sequential(
            Residual(full), nn.SiLU(), nn.Conv2d(full, mixture.parameter_count(config.mixtures, 3), 3, padding=1)
        )
        self._start_apart()

    @torch.no_grad()
    def _start_apart(self) -> None:
        """Components begin with scales and means apart from each other."""
        count, last = self.config.mixtures, self.high[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias.zero_()
        rest = last.bias[count:].view(3, 3, count)
        rest[:, 0] = torch.linspace(-0.3, 0.3, count)
        rest[:, 1] = torch.linspace(-3.5, -1.0, count)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.low(latent.reshape(-1, *self.config.bottom))
        x = x + self.phase.repeat(1, 1, self.config.height // PERIOD, self.config.width // PERIOD).to(x.dtype)
        return self.high(x).float()


class ColourVAE(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: ColourVAEConfig = ColourVAEConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


FAMILY = Family(
    name="vae",
    graphs={
        "encoder": Graph(
            "encoder.onnx",
            {"input": "image", "mean": "mean", "log_variance": "log_variance"},
            outputs=("mean", "log_variance"),
        ),
        "decoder": Graph("decoder.onnx", {"input": "latent", "parameters": "parameters"}, outputs=("parameters",)),
    },
    score=lambda graphs, levels, manifest: elbo_at_mean(graphs["encoder"], graphs["decoder"], levels, manifest.levels),
    statistic="elbo_at_mean",
)


def elbo_loss(network: ColourVAE, levels: Tensor, kl_weight: Tensor) -> Tensor:
    """Mean of −log p(x|z) + kl_weight · KL(q(z|x) ‖ p(z)) in nats a dimension; the convolutions run in bfloat16."""
    image = to_input(levels, network.config.levels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = network.encoder(image)
        mean, log_variance = mean.float(), log_variance.float()
        parameters = network.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
    likelihood = mixture.log_probability(parameters.float(), levels, network.config.levels)
    return (kl_weight * gaussian_kl(mean, log_variance).sum() - likelihood.sum()) / levels.numel()


def elbo_at_mean(encoder: TwoHeaded, decoder: Network, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """See `vae.elbo_at_mean`."""
    return vae.elbo_at_mean(encoder, decoder, levels, count, batch, log_likelihood=mixture_log_likelihood)


def log_importance_weights(graphs: Graphs, levels: Tensor, count: int) -> Tensor:
    """See `vae.log_importance_weights`, float64 [N, DRAWS]."""
    pair = graphs["encoder"], graphs["decoder"]
    return vae.log_importance_weights(*pair, levels, count, DRAWS, DRAW_SEED, log_probability=mixture.log_probability)


def train(data: Cifar10, checkpoint: Path, recipe: TimedRecipe = RECIPE) -> TimedProgress:
    """Train on JPEG files, flipped or not, from where the checkpoint ends if there is one."""
    torch.manual_seed(recipe.seed)
    network = ColourVAE().to(memory_format=torch.channels_last)
    compiled = torch.compile(elbo_loss)
    images, kl_weight = timed.shuffled(len(data.train_images)), torch.zeros(())

    def batch(share: float) -> Tensor:
        kl_weight.fill_(min(1.0, max(LEAST_KL_WEIGHT, share / WARM_UP_SHARE)))
        chosen = data.train_images[[next(images) for _ in range(recipe.batch_size)]]
        return flipped(chosen)

    def monitor(network: nn.Module) -> Measured:
        assert isinstance(network, ColourVAE)
        scores = elbo_at_mean(network.encoder, network.decoder, data.test_images[::20], LEVELS)
        bits = bits_per_dim(scores, data.test_images[0].numel())
        return Measured(f"{bits:.4f} bits/dim at the mean, 500 test images")

    return timed.train(
        network,
        lambda levels: compiled(network, levels, kl_weight),
        batch,
        adamw(network, rate=1e-3),
        recipe,
        checkpoint,
        monitor,
        largest_gradient=1.0,
    )


def export(data: Cifar10, checkpoint: Path, folder: Path) -> None:
    """Write a complete version. Its golden images and its picture are drawn by the model."""
    state = torch.load(checkpoint, weights_only=True)
    network = ColourVAE(ColourVAEConfig(**state["config"])).eval()
    network.load_state_dict(state["model"])
    progress, config = TimedProgress(**state["progress"]), network.config
    image = torch.rand(2, 3, config.height, config.width)
    FAMILY.graphs["encoder"].export(network.encoder, (image,), folder)
    FAMILY.graphs["decoder"].export(network.decoder, (torch.randn(2, config.latent_size),), folder)
    graphs = FAMILY.load(folder)
    save_samples(graphs, config, folder / "samples.png")
    drawn = sample(graphs["decoder"], GOLDEN_SAMPLES, config, seed=1)
    golden = torch.cat([drawn, oddities(drawn)])
    test = elbo_at_mean(graphs["encoder"], graphs["decoder"], data.test_images, LEVELS)
    figures = _figures(graphs, data, test)
    version = Version(
        name=NAME,
        family=FAMILY,
        description="VAE of CIFAR-10: a bound of the likelihood and a code of 32×32 colour images with 256 levels",
        channels=3,
        height=config.height,
        width=config.width,
        levels=LEVELS,
        provenance={
            "data": "CIFAR-10: 49,000 training images as JPEG files",
            "licence": "weights MIT OR Apache-2.0; no licence of CIFAR-10 is stated",
            "command": f"python -m density_training {NAME} train --minutes {state['recipe']['minutes']:g}",
            "parameters": parameter_count(network),
            "training_seconds": round(progress.seconds),
            "test_bits_per_dim": round(figures["test_elbo_bits_per_dim"], 4),
        },
        head=HEAD,
        latent_size=config.latent_size,
        calibration_description=CALIBRATION,
        notes=f"test_bits_per_dim is the ELBO of JPEG files with {DRAWS} draws an image; ended after "
        f"{progress.seconds / 60:.0f} of {state['recipe']['minutes']:g} minutes",
        trained_on=data.train_images,
    )
    calibration, _ = split_for_calibration(len(test))
    scores = elbo_at_mean(network.encoder, network.decoder, golden, LEVELS)
    write_version(folder, version, golden, scores, test[calibration])
    (folder / "README.md").write_text(layout(card(version, folder.name, progress, figures)))


def evaluate(data: Cifar10, folder: Path) -> dict[str, float]:
    """Measure an exported version in ONNX Runtime."""
    graphs = FAMILY.load(folder)
    test = elbo_at_mean(graphs["encoder"], graphs["decoder"], data.test_images, LEVELS)
    return {"largest_golden_deviation_nats": check_parity(folder, FAMILY), **_figures(graphs, data, test)}


@torch.no_grad()
def sample(decoder: Network, count: int, config: ColourVAEConfig, seed: int) -> Tensor:
    """Draw uint8 images [count, 3, H, W]: a code from the prior, then a level of each dimension."""
    generator = torch.Generator().manual_seed(seed)
    parameters = decoder(torch.randn((count, config.latent_size), generator=generator))
    noise = mixture.noise((count, config.height, config.width), config.mixtures, generator)
    return mixture.draw(parameters, noise, config.levels)


@torch.no_grad()
def save_samples(graphs: Graphs, config: ColourVAEConfig, path: Path) -> None:
    """A row of images drawn from the prior, a row of what the model makes of them, two rows between pairs of them."""
    drawn = sample(graphs["decoder"], 8, config, seed=0)
    codes, _ = graphs["encoder"](to_input(drawn, LEVELS))
    share = torch.linspace(0, 1, 8).unsqueeze(1)
    between = [(1 - share) * codes[first] + share * codes[last] for first, last in ((0, 1), (2, 3))]
    # Without noise: the likeliest component, and its mean.
    component, channel = mixture.noise((24, config.height, config.width), config.mixtures, torch.Generator())
    still = torch.zeros_like(component), torch.zeros_like(channel)
    decoded = mixture.draw(graphs["decoder"](torch.cat([codes, *between])), still, LEVELS)
    save_grid(torch.cat([drawn, decoded]), 8, path)


def _figures(graphs: Graphs, data: Cifar10, test: Tensor) -> dict[str, float]:
    """Bounds are of every twentieth test image: a draw costs a pass of the decoder."""
    some, dimensions = data.test_images[::20], data.test_images[0].numel()
    weights = log_importance_weights(graphs, some, LEVELS)
    importance = weights.logsumexp(1) - math.log(DRAWS)
    means, log_variances, kl = [], [], []
    for part in some.split(250):
        with torch.no_grad():
            mean, log_variance = graphs["encoder"](to_input(part, LEVELS))
        means.append(mean)
        log_variances.append(log_variance)
        kl.append(gaussian_kl(mean.double(), log_variance.double()).sum(1))
    held_out = elbo_at_mean(graphs["encoder"], graphs["decoder"], data.held_out, LEVELS)
    return {
        "test_images": len(test),
        "bounded_images": len(some),
        "test_score_bits_per_dim": bits_per_dim(test, dimensions),
        "test_elbo_bits_per_dim": bits_per_dim(weights.mean(1), dimensions),
        "test_iwae_bits_per_dim": bits_per_dim(importance, dimensions),
        "held_out_score_bits_per_dim": bits_per_dim(held_out, dimensions),
        "mean_kl_nats": torch.cat(kl).mean().item(),
        "active_units": int((torch.cat(means).var(0) > ACTIVE_VARIANCE).sum()),
        "latent_size": means[0].shape[1],
    }


def card(version: Version, number: str, progress: TimedProgress, figures: dict[str, float]) -> str:
    """The model card, in Markdown."""
    measured = [
        (
            f"ELBO, {DRAWS} draws an image, seed 0, bits per dimension",
            f"**{figures['test_elbo_bits_per_dim']:.4f}**",
        ),
        (
            f"IWAE bound, K = {DRAWS}, the same draws, bits per dimension",
            f"**{figures['test_iwae_bits_per_dim']:.4f}**",
        ),
        (
            f"score at the mean of the posterior (`elbo_at_mean`), all {figures['test_images']:,}, bits per dimension",
            f"{figures['test_score_bits_per_dim']:.4f}",
        ),
        ("the same of the 1,000 held-out images without loss", f"{figures['held_out_score_bits_per_dim']:.4f}"),
        ("mean KL(q(z given x) ‖ p(z))", f"{figures['mean_kl_nats']:.1f} nats"),
        (
            "active units, #{j: variance of the j-th posterior mean > 0.01}",
            f"{figures['active_units']} of {figures['latent_size']}",
        ),
    ]
    return f"""# {version.name}, version {number}

A variational autoencoder of 32×32 colour images with 256 levels in each channel: a code of {version.latent_size}
numbers for an image, an image for a code, and a **lower bound** on the image's log-likelihood. It knows the photographs
of CIFAR-10 as JPEG files, compressed hard.

![Samples, reconstructions and ways between codes](samples.png)

*First row: eight draws of the model, seed 0, not selected. Second row: their reconstructions. Third and fourth row: the
way from the code of one to that of another.*

## Model
- Encoder: strided and residual convolutions; a diagonal Gaussian posterior, a standard normal prior. The code is laid
  out as a map of 8 numbers for each 4×4 pixels. Decoder: residual and transposed convolutions, and a bias for each
  place in a block of 8×8, where a JPEG's blocks repeat.
- Likelihood: a mixture of four discretised logistics over the three channels of each pixel, which it links.
- {version.provenance["parameters"]:,} weights in both graphs together; float32; ONNX operator set 18; input `image` =
  level / 255, output `parameters` [N, 40, 32, 32].
- References: Kingma and Welling, *Auto-Encoding Variational Bayes* (2014); Salimans et al., *PixelCNN++* (2017), for
  the head; Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders* (2016), for the tighter bound.

## Data and training
- Data: {version.provenance["data"]} (Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009),
  flipped from side to side at random. No test image was trained on, and nothing was selected by them.
- Command: `{version.provenance["command"]}`
- {progress.step:,} steps of {RECIPE.batch_size} images, AdamW, averaged weights, gradients of length 1 at most, the
  weight of the KL term raised from 0.2 to 1 in the first tenth of the time. {progress.where()}.
  That is little: more time makes a better model.

## Figures
Of {figures["bounded_images"]:,} test images as JPEG files, every twentieth, unless it is said otherwise.

{table(("what", "figure"), measured)}

`elbo_at_mean` is log p(x given z = mean of the posterior) − KL. It is deterministic, which suits calibration and parity
checks, but it is **not a bound**: without the noise of the posterior the reconstruction term is larger. Quote the ELBO
or the IWAE bound as a likelihood. `cifar10-pixelcnn`, which gives exact likelihoods, is far better at them; what this
model has besides is a code.

All figures are of the exported graphs in ONNX Runtime on a CPU; measure them again with

    python -m density_training {NAME} evaluate --data <folder of CIFAR-10>

## Limits
- Only 32×32 colour images in the manner of CIFAR-10. Another compression, resizing or camera changes every score.
- The score of a picture of something else may be higher than that of photographs. Use it as one statistic of a
  detector, not as the detector.
- Draws from the prior are textures more than things: a code that is a map says little of what belongs together.
"""
