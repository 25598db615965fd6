"""CIFAR-10 on disk: 60,000 JPEG files in an archive, and the first 4,000 training images without loss.

The JPEG files are compressed hard: their pixels are about 7 levels from the originals, so they are a data set of their
own. Figures that stand beside published ones are of the last 1,000 images without loss, which are held out of every
training, and their JPEG twins with them.

References
- Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from density_training.data import DataError, to_levels

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HELD_OUT = 1_000
FILES = {
    "cifar10-jpeg.zip": "ce962c3636592f547756899545a76d9da96b647fe7452affc10474e033f56311",
    "cifar10-lossless-0.png": "0614720d69293a033786d5fe2924c4e9a9b48874f19ca4627c4662a864ee9f2d",
    "cifar10-lossless-1.png": "2927e26ea68602e34a7424826b76b7336ce36b8f6bcc2e9fce0c05568ff6b4c1",
    "cifar10-lossless-2.png": "0b2759e307bb405bb1a6531f8a0f557eaec46d7546050612fdb836f0fa60eae0",
    "cifar10-lossless-3.png": "a4530ff15c83886058a97c352f53f38be07d191de8f410e998e91786b5900a26",
    "cifar10-lossless-names.txt": "0e4d3189a18d37a11fe84314911a149ee5f2712512f631e577c95c730d349822",
}
"""File → SHA-256. A picture holds 1,000 images, one in each row of pixels; names are those of their JPEG twins."""


@dataclass(frozen=True)
class Cifar10:
    """Images uint8 [N, 3, 32, 32] and labels int64 [N] of the JPEG files, and images without loss."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    lossless: Tensor
    """3,000 training images without loss."""
    held_out: Tensor
    """1,000 images without loss that nothing is trained on, and neither on their twins: 49,000 JPEG files train."""

    @classmethod
    def read(cls, folder: Path) -> "Cifar10":
        """Read all; raises `DataError` for a file that is missing or altered."""
        contents = {name: _checked(folder / name, digest) for name, digest in FILES.items()}
        names = contents["cifar10-lossless-names.txt"].decode().split()
        pictures = [_decoded(contents[f"cifar10-lossless-{number}.png"]) for number in range(4)]
        lossless = to_levels(np.concatenate(pictures).reshape(-1, 32, 32, 3))
        twins = set(names[-HELD_OUT:])
        with zipfile.ZipFile(io.BytesIO(contents["cifar10-jpeg.zip"])) as archive:
            files = sorted(name for name in archive.namelist() if name.endswith(".jpg") and name not in twins)
            train, test = (_split(archive, [name for name in files if name.startswith(f"{part}/")]) for part in SPLITS)
        return cls(*train, *test, lossless[:-HELD_OUT], lossless[-HELD_OUT:])


SPLITS = ("train", "test")


def flipped(images: Tensor) -> Tensor:
    """The same images, each mirrored from side to side with probability ½."""
    chosen = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(chosen.to(images.device), images.flip(3), images)


def turned(images: Tensor, share: float) -> Tensor:
    """The same images, of which about so many are turned by a quarter or three quarters, or transposed."""
    kind = torch.where(torch.rand(len(images)) < share, torch.randint(3, (len(images),)), 3)
    kind = kind.view(-1, 1, 1, 1).to(images.device)
    others = (images.rot90(1, (2, 3)), images.rot90(3, (2, 3)), images.mT)
    for number, other in enumerate(others):
        images = torch.where(kind == number, other, images)
    return images


def _split(archive: zipfile.ZipFile, names: list[str]) -> tuple[Tensor, Tensor]:
    images = np.stack([_decoded(archive.read(name)) for name in names])
    return to_levels(images), torch.tensor([LABELS.index(name.split("/")[1]) for name in names])


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _checked(path: Path, expected: str) -> bytes:
    if not path.exists():
        raise DataError(f"{path} does not exist")
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise DataError(f"{path}: SHA-256 is {actual}, expected {expected}")
    return content
