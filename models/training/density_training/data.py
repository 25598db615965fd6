"""Fashion-MNIST and MNIST from idx files on disk, accepted only when their SHA-256 is the published one."""

import gzip
import hashlib
from pathlib import Path

import numpy as np

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the files."""

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


class DataError(Exception):
    """A data file is missing, or is not the file that the figures of this project refer to."""


def load_images(folder: Path, split: str, files: dict[str, tuple[str, str]] = FASHION_MNIST) -> np.ndarray:
    """Read one split as uint8 [N, H, W]; both `name` and `name.gz` are accepted."""
    return _parse_idx(_read_checked(Path(folder), *files[split]), dimensions=3)


def load_labels(folder: Path, split: str, files: dict[str, tuple[str, str]] = FASHION_MNIST_LABELS) -> np.ndarray:
    """Read the labels of one split as uint8 [N]."""
    return _parse_idx(_read_checked(Path(folder), *files[split]), dimensions=1)


def _read_checked(folder: Path, name: str, expected: str) -> bytes:
    content = _read(folder, name)
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise DataError(f"{folder}/{name}: SHA-256 of the decompressed file is {actual}, expected {expected}")
    return content


def _read(folder: Path, name: str) -> bytes:
    # Distributors disagree about the separator before "idx".
    for candidate in (name, name.replace("-idx", ".idx")):
        if (folder / candidate).exists():
            return (folder / candidate).read_bytes()
        if (folder / f"{candidate}.gz").exists():
            return gzip.decompress((folder / f"{candidate}.gz").read_bytes())
    raise DataError(
        f"neither {folder}/{name} nor {folder}/{name}.gz exists; on Debian: apt install dataset-fashion-mnist"
    )


def _parse_idx(content: bytes, dimensions: int) -> np.ndarray:
    magic, *shape = (int(n) for n in np.frombuffer(content, dtype=">u4", count=1 + dimensions))
    if magic != 0x00000800 + dimensions:
        raise DataError(f"not an idx file of uint8 with {dimensions} dimensions: magic number {magic:#010x}")
    return np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + dimensions)).reshape(shape).copy()
