"""Images, and Fashion-MNIST and MNIST on disk: idx files, accepted only when their SHA-256 is the published one.

References
- Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms" (2017).
- LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998): MNIST, and the idx format.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the files."""
LEVELS = 256
LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

FASHION_MNIST = {
    "train": ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "test": ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
}
FASHION_MNIST_LABELS = {
    "train": ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "test": ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
MNIST = {
    "train": ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "test": ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
}
"""Split → (file name, SHA-256 of the decompressed file)."""

CLOTHES = 11
"""Garments among the golden images, where an image has one score."""
ODDITIES = (
    "all black",
    "all white",
    "uniform noise",
    "the first test image, inverted",
    "a checkerboard of single pixels",
)
"""The golden images that are not clothes, in their order after the clothes."""


class DataError(Exception):
    """A data file is missing, or is not the file that the figures of this project refer to."""


@dataclass(frozen=True)
class Dataset:
    """Fashion-MNIST: images uint8 [N, 1, H, W] and labels int64 [N]; and the test digits of MNIST if they are there."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    digits: Tensor | None = None

    @classmethod
    def read(cls, folder: Path, mnist: Path | None = None) -> "Dataset":
        """Read all splits; raises `DataError` for a file that is missing or altered."""
        images = {split: to_levels(load_images(folder, split)) for split in FASHION_MNIST}
        labels = {split: torch.from_numpy(load_labels(folder, split)).long() for split in FASHION_MNIST_LABELS}
        digits = to_levels(load_images(mnist, "test", MNIST)) if mnist else None
        return cls(images["train"], labels["train"], images["test"], labels["test"], digits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.test_images.shape
        return channels, height, width

    @property
    def dimensions(self) -> int:
        """How many numbers an image has."""
        channels, height, width = self.shape
        return channels * height * width


def golden_levels(test: Tensor, clothes: int = CLOTHES) -> Tensor:
    """The images whose scores are stored with a version, uint8 [`clothes` + 5, 1, H, W].

    The first test images, then the oddities, which a server will meet by mistake.
    """
    _, channels, height, width = test.shape
    black = torch.zeros((1, channels, height, width), dtype=torch.uint8)
    noise = torch.randint(0, 256, black.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    checkerboard = black + (((row + column) % 2) * 255).to(torch.uint8)
    return torch.cat([test[:clothes], black, 255 - black, noise, 255 - test[:1], checkerboard])


def to_levels(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W] or [N, H, W, C], as on disk → [N, C, H, W], as everywhere in this package."""
    levels = torch.from_numpy(np.ascontiguousarray(pictures))
    return levels.unsqueeze(1) if levels.dim() == 3 else levels.permute(0, 3, 1, 2).contiguous()


def to_pictures(levels: Tensor) -> np.ndarray:
    """The inverse of `to_levels`."""
    return (levels.squeeze(1) if levels.shape[1] == 1 else levels.permute(0, 2, 3, 1)).contiguous().numpy()


def to_input(levels: Tensor, count: int) -> Tensor:
    """What a graph reads: level · 1/(count − 1), with the multiplication that a server does."""
    return levels.float() * (1 / (count - 1))


def load_images(folder: Path, split: str, files: dict[str, tuple[str, str]] | None = None) -> np.ndarray:
    """Read one split, of Fashion-MNIST unless `files` says otherwise, as uint8 [N, H, W]; gzipped or not."""
    return _read_checked(folder, *(files or FASHION_MNIST)[split], axes=3)


def load_labels(folder: Path, split: str) -> np.ndarray:
    """Read the labels of one split as uint8 [N]."""
    return _read_checked(folder, *FASHION_MNIST_LABELS[split], axes=1)


def read_array(path: Path) -> np.ndarray:
    """Read an npy file, or an idx file of unsigned bytes, gzipped or not."""
    content = _decompressed(path)
    if content.startswith(b"\x93NUMPY"):
        array: np.ndarray = np.load(path)
        return array
    if not content.startswith(b"\x00\x00\x08"):
        raise DataError(f"{path}: neither an npy file nor an idx file of unsigned bytes")
    return _parse_idx(content)


def _read_checked(folder: Path, name: str, expected: str, axes: int) -> np.ndarray:
    content = _decompressed(_find(folder, name))
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise DataError(f"{folder}/{name}: SHA-256 of the decompressed file is {actual}, expected {expected}")
    array = _parse_idx(content)
    if array.ndim != axes:
        raise DataError(f"{folder}/{name}: {array.ndim} axes, expected {axes}")
    return array


def _find(folder: Path, name: str) -> Path:
    # Distributors disagree about the separator before "idx".
    for candidate in (name, name.replace("-idx", ".idx")):
        for path in (folder / candidate, folder / f"{candidate}.gz"):
            if path.exists():
                return path
    raise DataError(
        f"neither {folder}/{name} nor {folder}/{name}.gz exists; on Debian: apt install dataset-fashion-mnist"
    )


def _decompressed(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _parse_idx(content: bytes) -> np.ndarray:
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
