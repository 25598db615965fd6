"""Windows of photographs of magnetic tiles: the one split that all use, and a small VAE of windows without defects.

The data set is not part of this repository: `magnetic-tile.zip` holds grey photographs by kind, `MT_Free` without
defects and five kinds with, each `.jpg` with a mask `.png` beside it.

References
- Huang, Qiu and Guo, "Saliency of magnetic tile surface defects" (2020): the photographs.
- Kingma and Welling, "Auto-Encoding Variational Bayes" (2014).
"""

import argparse
import io
import random
import time
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from density_training import vae
from density_training.data import LEVELS, to_input
from density_training.model import REPOSITORY
from density_training.version import Version, write_version

GOOD = "MT_Free"
DEFECTS = ("MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Uneven")
SPLIT_SEED, KNOWN_SHARE = 0, 0.8
TRAIN, FIT = 262, 200
"""Of the known images, in the order of the split: so many train, so many fit a detector, and the rest calibrate it."""
SIDE, LATENT, CHANNELS = 64, 24, (12, 24, 32, 48)
CHECKPOINT = Path(".cache/magnetic-tile-vae.pt")
NAME = "magnetic-tile-vae"


def split(names: list[str], seed: int = SPLIT_SEED) -> tuple[list[str], list[str]]:
    """The good images that may be used, 80 %, and those that are held out for reports, each in the order of the split.

    Sorted by name and shuffled by a seed of Python's `random`: whoever has the same names has the same split.
    """
    shuffled = sorted(names)
    random.Random(seed).shuffle(shuffled)
    known = round(KNOWN_SHARE * len(shuffled))
    return shuffled[:known], shuffled[known:]


def parts(names: list[str]) -> dict[str, list[str]]:
    """The good images by what this model and its detector do with them."""
    known, held_out = split(names)
    return {
        "train": known[:TRAIN],
        "fit": known[TRAIN : TRAIN + FIT],
        "calibrate": known[TRAIN + FIT :],
        "held-out": held_out,
    }


@dataclass(frozen=True)
class Photographs:
    """The archive of the data set."""

    archive: Path

    def names(self, kind: str, ending: str = ".jpg") -> list[str]:
        """Files of one kind, in order of name."""
        with zipfile.ZipFile(self.archive) as archive:
            inside = [name for name in archive.namelist() if name.startswith(f"{kind}/")]
        return sorted(name for name in inside if name.endswith(ending))

    def read(self, names: list[str]) -> list[np.ndarray]:
        """Grey levels uint8 [H, W] of each."""
        with zipfile.ZipFile(self.archive) as archive:
            return [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L")) for name in names]

    def unpack(self, folder: Path) -> None:
        """Write `train`, `fit`, `calibrate`, `held-out`, `defects/<kind>` and `masks/<kind>` below `folder`."""
        groups = parts(self.names(GOOD))
        for kind in DEFECTS:
            groups[f"defects/{kind}"] = self.names(kind)
            groups[f"masks/{kind}"] = self.names(kind, ".png")
        with zipfile.ZipFile(self.archive) as archive:
            for group, names in groups.items():
                (folder / group).mkdir(parents=True, exist_ok=True)
                for name in names:
                    (folder / group / Path(name).name).write_bytes(archive.read(name))


class Encoder(nn.Module):
    """`image` [N, 1, 64, 64] → `mean`, `log_variance` [N, latent] of a diagonal Gaussian posterior."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *CHANNELS), CHANNELS, strict=False):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.posterior = nn.Linear(CHANNELS[-1] * 16, 2 * LATENT)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.convolutions(image).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 4.0)


class Decoder(nn.Module):
    """`latent` [N, latent] → `mean`, `log_scale` [N, 1, 64, 64] of a logistic for each pixel, in level/(levels − 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Linear(LATENT, CHANNELS[-1] * 16)
        layers: list[nn.Module] = [nn.SiLU()]
        backwards = (*reversed(CHANNELS), 8)
        for before, after in pairwise(backwards):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(8, 2, 3, padding=1))

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        bottom = self.expand(latent).reshape(-1, CHANNELS[-1], 4, 4)
        mean, log_scale = self.convolutions(bottom).chunk(2, dim=1)
        return mean + 0.45, (log_scale - 3.0).clamp(-7.0, 1.0)


def windows(images: list[np.ndarray], count: int, generator: np.random.Generator) -> Tensor:
    """Windows at random places of random images, uint8 [count, 1, 64, 64]; an image counts as its pixels do."""
    sizes = np.array([image.size for image in images], dtype=float)
    chosen = generator.choice(len(images), count, p=sizes / sizes.sum())
    cut = np.empty((count, 1, SIDE, SIDE), np.uint8)
    for place, number in enumerate(chosen):
        image = images[number]
        y, x = (generator.integers(0, side - SIDE + 1) for side in image.shape)
        cut[place, 0] = image[y : y + SIDE, x : x + SIDE]
    return torch.from_numpy(cut)


def train(images: list[np.ndarray], minutes: float, batch: int = 96, warm_up: int = 500) -> dict[str, object]:
    """Minimise −ELBO for so many minutes on one thread, the convolutions in bfloat16."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    encoder, decoder = Encoder(), Decoder()
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=2e-3, weight_decay=1e-4)
    started, step, average = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - started) / (60 * minutes)) < 1:
        # The rate falls to zero as the time runs out.
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - done)) * min(1.0, (step + 1) / 100)
        levels = windows(images, batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = encoder(to_input(levels, LEVELS))
            mean, log_variance = mean.float(), log_variance.float()
            latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            location, log_scale = decoder(latent)
        likelihood = vae.discretized_logistic_log_probability(location.float(), log_scale.float(), levels, LEVELS)
        divergence = vae.gaussian_kl(mean, log_variance).sum()
        loss = (min(1.0, step / warm_up) * divergence - likelihood.sum()) / levels.numel()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        step += 1
        average += (loss.item() / np.log(2) - average) / min(step, 200)
        if step % 100 == 0:
            print(f"{step} steps, {done:.0%}, {average:.4f} bits/dim, KL {divergence.item() / batch:.1f}", flush=True)
    return {
        "encoder": encoder.state_dict(),
        "decoder": decoder.state_dict(),
        "seconds": time.monotonic() - started,
        "steps": step,
        "windows": step * batch,
    }


@torch.inference_mode()
def export(images: list[np.ndarray], report: list[np.ndarray], archive: str, minutes: float) -> None:
    """Write the version from the checkpoint, measured on windows of images that it was not trained on."""
    checkpoint = torch.load(CHECKPOINT, weights_only=True)
    encoder, decoder = Encoder().eval(), Decoder().eval()
    encoder.load_state_dict(checkpoint["encoder"])
    decoder.load_state_dict(checkpoint["decoder"])
    generator = torch.Generator().manual_seed(0)
    golden = vae.draw(decoder, 16, LATENT, LEVELS, generator, noise=True)
    scores = vae.elbo_at_mean(encoder, decoder, golden, LEVELS)
    test = vae.elbo_at_mean(encoder, decoder, windows(report, 2_000, np.random.default_rng(1)), LEVELS)
    folder = REPOSITORY / NAME / "1"
    vae.FAMILY.graphs["encoder"].export(encoder, (torch.rand(2, 1, SIDE, SIDE),), folder)
    vae.FAMILY.graphs["decoder"].export(decoder, (torch.rand(2, LATENT),), folder)
    version = Version(
        name=NAME,
        family=vae.FAMILY,
        description="Variational autoencoder of 64×64 windows of magnetic tiles without defects",
        channels=1,
        height=SIDE,
        width=SIDE,
        levels=LEVELS,
        latent_size=LATENT,
        head="discretized-logistic",
        provenance={
            "data": f"{len(images)} photographs of {GOOD} in {archive} (Huang, Qiu, Guo 2020), split seed {SPLIT_SEED}",
            "licence": "weights: that of this project; the photographs are not part of it",
            "command": f"python -m density_training.surface train --minutes {minutes:g}",
            "parameters": sum(p.numel() for p in [*encoder.parameters(), *decoder.parameters()]),
            "training_seconds": round(checkpoint["seconds"]),
            "test_bits_per_dim": float(-test.mean() / (SIDE * SIDE * np.log(2))),
        },
        # Whole images: windows at random places cannot be listed.
        trained_on=[torch.tensor(image)[None] for image in images],
        notes=f"{checkpoint['windows']} windows at random places, one thread, bfloat16",
    )
    write_version(folder, version, golden, scores)


def main() -> None:
    """Unpack the split, train, or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("unpack", "train", "export"))
    parser.add_argument("--data", type=Path, required=True, help="magnetic-tile.zip")
    parser.add_argument("--output", type=Path, default=Path(".cache/magnetic-tile"), help="where to unpack")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to train")
    arguments = parser.parse_args()
    photographs = Photographs(arguments.data)
    groups = parts(photographs.names(GOOD))
    if arguments.command == "unpack":
        photographs.unpack(arguments.output)
    elif arguments.command == "train":
        CHECKPOINT.parent.mkdir(exist_ok=True)
        torch.save(train(photographs.read(groups["train"]), arguments.minutes), CHECKPOINT)
    else:
        images, report = photographs.read(groups["train"]), photographs.read(groups["held-out"])
        export(images, report, arguments.data.name, arguments.minutes)


if __name__ == "__main__":
    main()
