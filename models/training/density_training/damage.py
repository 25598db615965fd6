"""Damage made of good photographs alone: pastes, scars, lines, spots, blends, and blurred or coarse patches.

Each damages a window of grey levels in place, with parts of good photographs and with curves and noise that a program
draws. They teach a network what is not right, and measure a detector before any real defect is looked at.

References
- Li, Sohn, Yoon and Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization" (2021): pastes
  and scars.
- Zavrtanik, Kristan and Skočaj, "DRAEM: a Discriminatively Trained Reconstruction Embedding for Surface Anomaly
  Detection" (2021): blends under a mask of thresholded smooth noise.
- Schlüter, Tan, Hou and Kainz, "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization"
  (2022): parts of other photographs of the same kind, and an answer for every pixel.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

VISIBLE = 4.0
"""A pixel counts as damaged if it was changed by so many levels."""

Window = np.ndarray
"""Grey levels, float32 [H, W]."""


def paste(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """A rectangle or an ellipse of another place, turned, in another light."""
    height, width = window.shape
    area = height * width * chance.uniform(0.003, 0.08)
    aspect = np.exp(chance.uniform(-1.2, 1.2))
    rows = int(np.clip((area * aspect) ** 0.5, 4, height // 2))
    columns = int(np.clip((area / aspect) ** 0.5, 4, width // 2))
    patch = _jittered(_part(other, rows, columns, chance), chance)
    mask = np.ones((rows, columns), np.float32)
    if chance.random() < 0.5:
        y, x = np.ogrid[:rows, :columns]
        inside = ((2 * y + 1) / rows - 1) ** 2 + ((2 * x + 1) / columns - 1) ** 2 <= 1
        mask = inside.astype(np.float32)
    row, column = chance.integers(0, height - rows + 1), chance.integers(0, width - columns + 1)
    changed = window.copy()
    place = changed[row : row + rows, column : column + columns]
    place += mask * (patch - place)
    return changed


def scar(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """A long thin piece of another place at any angle, in another light."""
    mask = _drawn(window.shape, chance, wiggle=0.0, breadth=(2, 9), length=(10, 60))
    return window + mask * (_jittered(_part(other, *window.shape, chance), chance) - window)


def line(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """A thin crooked line, darker or brighter than what is below it."""
    del other
    mask = _drawn(window.shape, chance, wiggle=chance.uniform(0.1, 0.6), breadth=(1, 3), length=(15, 120))
    return window + mask * _step(chance)


def spot(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """One to three small dark or bright spots."""
    del other
    height, width = window.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    changed = window.copy()
    for _ in range(chance.integers(1, 4)):
        radius, stretch = np.exp(chance.uniform(np.log(1.2), np.log(9.0))), np.exp(chance.uniform(-0.6, 0.6))
        away = ((y - chance.uniform(0, height)) * stretch) ** 2 + ((x - chance.uniform(0, width)) / stretch) ** 2
        changed += _step(chance) / (1 + np.exp(np.clip((np.sqrt(away) - radius) * 2, -30, 30)))
    return changed


def blend(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """Another place shining through under a mask of smooth noise."""
    mask = _cloud(window.shape, chance) * chance.uniform(0.35, 1.0)
    return window + mask * (_jittered(_part(other, *window.shape, chance), chance) - window)


def coarsen(window: Window, other: Window, chance: np.random.Generator) -> Window:
    """Blurred, grainy, or of another contrast, under a mask of smooth noise."""
    del other
    kind = chance.integers(3)
    if kind == 0:
        blurred = _image(window).filter(ImageFilter.GaussianBlur(chance.uniform(1.0, 4.0)))
        target = np.asarray(blurred, np.float32)
    elif kind == 1:
        grain = chance.normal(0, chance.uniform(8, 30), window.shape).astype(np.float32)
        soft = np.asarray(_image(grain + 128).filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.0))), np.float32)
        target = window + soft - 128
    else:
        target = window.mean() + (window - window.mean()) * chance.uniform(1.6, 3.0) + chance.uniform(-20, 20)
    return window + _cloud(window.shape, chance) * (target - window)


Damage = Callable[[Window, Window, np.random.Generator], Window]
KINDS: tuple[Damage, ...] = (paste, scar, line, spot, blend, coarsen)


def damage(window: Window, others: list[Window], chance: np.random.Generator) -> tuple[Window, np.ndarray]:
    """One to three kinds of damage, and for every pixel the number of its kind from 1, or 0 where nothing was done."""
    kinds = np.zeros(window.shape, np.int64)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
        kind = int(chance.integers(len(KINDS)))
        changed = np.clip(KINDS[kind](window, others[chance.integers(len(others))], chance), 0, 255)
        kinds[np.abs(changed - window) >= VISIBLE] = kind + 1
        window = changed
    return window, kinds


def _part(image: Window, rows: int, columns: int, chance: np.random.Generator) -> Window:
    """A part of an image so large, turned by a multiple of 90° or mirrored; of a small image the whole, stretched."""
    turn = int(chance.integers(4))
    tall, wide = (rows, columns) if turn % 2 == 0 else (columns, rows)
    height, width = image.shape
    if height < tall or width < wide:
        image = np.asarray(_image(image).resize((max(wide, width), max(tall, height))), np.float32)
        height, width = image.shape
    row, column = chance.integers(0, height - tall + 1), chance.integers(0, width - wide + 1)
    part = np.rot90(image[row : row + tall, column : column + wide], turn)
    return part[:, ::-1] if chance.random() < 0.5 else part


def _jittered(part: Window, chance: np.random.Generator) -> Window:
    """In another light: contrast and brightness."""
    mean = part.mean()
    return mean + (part - mean) * chance.uniform(0.7, 1.4) + chance.uniform(-35, 35)


def _step(chance: np.random.Generator) -> float:
    """Levels darker, or more rarely brighter."""
    return float(chance.uniform(12, 90) * (1 if chance.random() < 0.25 else -1))


def _drawn(
    shape: tuple[int, ...],
    chance: np.random.Generator,
    wiggle: float,
    breadth: tuple[int, int],
    length: tuple[float, float],
) -> np.ndarray:
    """A curve with soft edges, 1 on it and 0 beside it."""
    height, width = shape
    angle, (x, y) = chance.uniform(0, 2 * np.pi), chance.uniform((0, 0), (width, height))
    points, left = [(x, y)], chance.uniform(*length)
    while left > 0:
        step = min(left, 6.0)
        angle += chance.normal(0, wiggle)
        x, y, left = x + step * np.cos(angle), y + step * np.sin(angle), left - step
        points.append((x, y))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).line(points, fill=255, width=int(chance.integers(breadth[0], breadth[1] + 1)), joint="curve")
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(chance.uniform(0, 0.8))), np.float32) / 255


def _cloud(shape: tuple[int, ...], chance: np.random.Generator) -> np.ndarray:
    """Smooth noise above a threshold, with soft edges: 1 inside and 0 outside. It covers 1 to 20 % of the window."""
    height, width = shape
    cells = chance.integers(3, 9)
    noise = chance.normal(size=(cells, cells)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    threshold = np.quantile(smooth, 1 - chance.uniform(0.01, 0.2))
    return np.clip((smooth - threshold) * 8 + 0.5, 0, 1)


def _image(window: Window) -> Image.Image:
    return Image.fromarray(np.clip(window, 0, 255).astype(np.uint8))
