"""A convolutional autoencoder: a deterministic code with a bottleneck, and no density.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks" (2006). Without noise in the code
there is nothing to integrate over and no probability of an image; how well it is reconstructed is all there is.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from density_training.card import (
    ONE_THREAD,
    Report,
    evaluation_note,
    limits_section,
    table,
    training_section,
)
from density_training.convolutional import CodeConfig, decoder_layers, encoder_layers
from density_training.data import LEVELS, ODDITIES, Dataset, golden_levels, to_input
from density_training.figures import Figures
from density_training.model import MONITORED_IMAGES, Exported, Loss, Model, Trained
from density_training.sampling import save_grid
from density_training.scoring import Network
from density_training.training import Recipe, adamw
from density_training.version import Family, Graph, Version, check_parity, served_scores, write_version


class Autoencoder(nn.Module):
    """An encoder and a decoder, which are exported and served as two graphs."""

    def __init__(self, config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        # `image` [N, 1, H, W] in level/(levels−1) → `latent` [N, latent].
        self.encoder = nn.Sequential(
            *encoder_layers(config.channels),
            nn.Flatten(),
            nn.Linear(config.bottom_size, config.latent_size),
        )
        # `latent` [N, latent] → `image` [N, 1, H, W], between 0 and 1.
        self.decoder = nn.Sequential(
            nn.Linear(config.latent_size, config.bottom_size),
            nn.Unflatten(1, config.bottom),
            *decoder_layers(config.channels, outputs=1),
            nn.Sigmoid(),
        )


def reconstruction_loss(network: Autoencoder, levels: Tensor) -> Tensor:
    """Mean squared error of the reconstruction in units of level/(levels − 1); the network runs in bfloat16."""
    image = to_input(levels, network.config.levels)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction = network.decoder(network.encoder(image))
    return F.mse_loss(reconstruction.float(), image)


@torch.no_grad()
def reconstruction_errors(encoder: Network, decoder: Network, levels: Tensor, count: int, batch: int = 250) -> Tensor:
    """Σ (x̂ − x)² over the dimensions of each image in units of level/(count − 1), float64 [N]; no likelihood."""
    errors = []
    for part in levels.split(batch):
        image = to_input(part, count)
        errors.append((decoder(encoder(image)) - image).double().square().flatten(1).sum(1))
    return torch.cat(errors)


FAMILY = Family(
    name="autoencoder",
    graphs={
        "encoder": Graph("encoder.onnx", {"input": "image", "output": "latent"}, outputs=("latent",)),
        "decoder": Graph("decoder.onnx", {"input": "latent", "output": "image"}, outputs=("image",)),
    },
    score=lambda graphs, levels, manifest: reconstruction_errors(
        graphs["encoder"], graphs["decoder"], levels, manifest.levels
    ),
)


@dataclass(frozen=True, kw_only=True)
class AutoencoderModel(Model[Autoencoder, CodeConfig]):
    """The autoencoder: its scores are squared errors of reconstructions."""

    family = FAMILY

    def build(self, config: CodeConfig) -> Autoencoder:
        return Autoencoder(config)

    def loss(self, network: Autoencoder, data: Dataset) -> Loss:
        return lambda chosen, step: reconstruction_loss(network, data.train_images[chosen])

    def optimisers(self, network: Autoencoder) -> list[torch.optim.Optimizer]:
        return adamw(network)

    def monitor(self, network: Autoencoder, data: Dataset, checkpoint: Path) -> str:
        monitored = data.test_images[:MONITORED_IMAGES]
        errors = reconstruction_errors(network.encoder, network.decoder, monitored, LEVELS)
        return f"mean squared error {errors.mean() / data.dimensions:.5f} on {len(monitored):,} test images"

    def exported(self, network: Autoencoder, shape: tuple[int, int, int]) -> dict[str, Exported]:
        return {
            "encoder": (network.encoder, (torch.rand(2, *shape),)),
            "decoder": (network.decoder, (torch.randn(2, network.config.latent_size),)),
        }

    def version(self, trained: Trained[Autoencoder], data: Dataset) -> Version:
        return replace(
            super().version(trained, data),
            latent_size=trained.network.config.latent_size,
            notes="golden scores are Σ (reconstruction − image)² in units of level / 255",
        )

    def complete(self, folder: Path, version: Version, network: Autoencoder, data: Dataset) -> Figures:
        golden = golden_levels(data.test_images)
        errors = reconstruction_errors(network.encoder, network.decoder, golden, LEVELS)
        write_version(folder, version, golden, errors)
        graphs = self.family.load(folder)
        decoded = graphs["decoder"](graphs["encoder"](to_input(golden, LEVELS)))
        reconstructed = (decoded * (LEVELS - 1)).round().to(torch.uint8)
        shown = torch.cat([golden[:8], reconstructed[:8], golden[8:], reconstructed[8:]])
        save_grid(shown, 8, folder / "reconstructions.png")
        return self._figures(data, folder)

    def evaluate(self, data: Dataset, folder: Path) -> Figures:
        return {"largest_golden_deviation": check_parity(folder, self.family), **self._figures(data, folder)}

    def _figures(self, data: Dataset, folder: Path) -> Figures:
        """Mean squared errors a pixel, in units of level / 255."""

        def errors(levels: Tensor) -> Tensor:
            return served_scores(folder, self.family, levels) / data.dimensions

        image = to_input(data.test_images, LEVELS)
        oddities = errors(golden_levels(data.test_images))[-len(ODDITIES) :]
        figures: Figures = {
            "test_images": len(data.test_images),
            "test_mean_squared_error": errors(data.test_images).mean().item(),
            "constant_mean_squared_error": (image - image.mean(0)).square().mean().item(),
            "oddities": dict(zip(ODDITIES, oddities.tolist(), strict=True)),
        }
        if data.digits is not None:
            figures["mnist_mean_squared_error"] = errors(data.digits).mean().item()
        return figures

    def card(self, report: Report) -> str:
        figures, latent_size = report.figures, report.version.latent_size
        error, digit_error = figures["test_mean_squared_error"], figures.get("mnist_mean_squared_error")
        as_digits = f" MNIST digits cost {digit_error / error:.1f} times as much as clothes." if digit_error else ""
        measured = [
            (f"{figures['test_images']:,} Fashion-MNIST test images", f"**{error:.5f}**"),
            ("the same images, predicted by their mean", f"{figures['constant_mean_squared_error']:.5f}"),
            *([("10,000 MNIST test digits", f"{digit_error:.5f}")] if digit_error else []),
            *((name, f"{odd:.5f}") for name, odd in figures["oddities"].items()),
        ]
        return f"""{report.title}

An autoencoder of 28×28 grey images with 256 levels: a code of {latent_size} numbers for an image, an image for a code.
It has **no density** and no prior: it can neither say how probable an image is nor draw one.

![Test images and reconstructions](reconstructions.png)

*First and third row: eleven test images and five pictures that are not clothes. Second and fourth row: their
reconstructions.*

## Model
- Encoder: two strided convolutions, a residual convolution and a linear layer. Decoder: a linear layer, residual and
  transposed convolutions, and a sigmoid. The code is deterministic and unbounded.
- {report.weights} in both graphs together; float32; ONNX operator set 18; input `image` = level / 255, code `latent`
  [N, {latent_size}], output `image` in the same units.
- References: Hinton and Salakhutdinov, *Reducing the Dimensionality of Data with Neural Networks* (2006).

{training_section(report, "mean squared error, bfloat16 convolutions, AdamW", ONE_THREAD)}
## Figures
{table(("mean squared error a pixel, in units of level / 255", "figure"), measured)}

{evaluation_note(self.command)}
## What is not good
- Reconstructions are smooth. Outline and brightness survive the code; letters, checks, the straps of sandals and the
  texture of cloth do not: a squared error prefers their mean.
- A small error does not mean that an image is clothes. Plain pictures of anything are easy to reconstruct, all black
  best of all.{as_digits} A squared error is not a likelihood either, until a noise is declared.
- Codes have no prior: a code drawn at random, or half-way between two, need not decode to clothes.

{limits_section()}"""


MODEL = AutoencoderModel(
    command="autoencoder",
    description="Convolutional autoencoder of Fashion-MNIST: a code of 64 numbers, 28×28 grey; no density",
    recipe=Recipe(steps=3_000, decay_steps=2_000, batch_size=128),
    config=CodeConfig(),
)
