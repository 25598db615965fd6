"""Pictures of pictures."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor


def save_grid(levels: Tensor, columns: int, path: Path, magnify: int = 3) -> None:
    """Write grey uint8 images [N, 1, H, W] as one PNG, row by row, two pixels apart."""
    _, _, height, width = levels.shape
    rows = -(-len(levels) // columns)
    canvas = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2), 128, dtype=np.uint8)
    for index, picture in enumerate(levels[:, 0].numpy()):
        top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
        canvas[top : top + height, left : left + width] = picture
    image = Image.fromarray(canvas)
    image.resize((image.width * magnify, image.height * magnify), Image.Resampling.NEAREST).save(path, optimize=True)
