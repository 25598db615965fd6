"""Images to calibrate and report on detectors of CIFAR-10: three parts of the test images, and sets of other images.

    python -m density_training.outliers_colour --data FOLDER --output FOLDER [--fashion FOLDER] [--fonts FOLDER]

writes `fit.npy`, `calibrate.npy` and `report.npy`, which no image is in two of, their labels in `…_labels.npy`, and
one array for each set of outliers, uint8 [N, 32, 32, 3]. None of the sets took part in any choice.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from density_training.cifar10 import Cifar10
from density_training.data import DEFAULT_FOLDER, load_images, to_pictures
from density_training.outliers import COUNT, FONTS, LETTERS, OUTLIER_SEED, parts

SIDE = 32
DIGITS = "0123456789"


def house_numbers(fonts: list[Path], random: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Digits on a wall, in the manner of SVHN: two soft colours, neighbours cut off at the sides, tilt, shade, blur."""
    pictures = []
    for _ in range(count):
        wall, paint = random.integers(20, 236, (2, 3))
        if np.abs(wall - paint).sum() < 90:
            paint = 255 - wall
        font = ImageFont.truetype(fonts[random.integers(len(fonts))], int(random.integers(22, 32)))
        picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), tuple(wall.tolist()))
        draw = ImageDraw.Draw(picture)
        for place in range(-1, 2):
            middle = (SIDE + place * random.integers(16, 22), SIDE + random.integers(-2, 3))
            digit = DIGITS[random.integers(len(DIGITS))]
            draw.text(middle, digit, fill=tuple(paint.tolist()), font=font, anchor="mm")
        picture = picture.rotate(
            float(random.uniform(-8, 8)), Image.Resampling.BILINEAR, fillcolor=tuple(wall.tolist())
        )
        picture = picture.crop((SIDE // 2, SIDE // 2, SIDE + SIDE // 2, SIDE + SIDE // 2))
        picture = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0.4, 1.2))))
        shade = np.linspace(-1, 1, SIDE) * random.uniform(-25, 25)
        shaded = np.asarray(picture, np.float64) + shade[:, None, None] + random.normal(0, 2.5, (SIDE, SIDE, 1))
        pictures.append(shaded)
    return _levels(np.stack(pictures))


def letters(fonts: list[Path], random: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Coloured letters on plain colours."""
    pictures = []
    for _ in range(count):
        ground, ink = random.integers(0, 256, (2, 3)).tolist()
        font = ImageFont.truetype(fonts[random.integers(len(fonts))], int(random.integers(18, 30)))
        picture = Image.new("RGB", (SIDE, SIDE), tuple(ground))
        letter = LETTERS[random.integers(len(LETTERS))]
        ImageDraw.Draw(picture).text((SIDE / 2, SIDE / 2), letter, fill=tuple(ink), font=font, anchor="mm")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def textures(random: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """Sums of a few waves, and noise of a power-law spectrum, through two colours: stripes, weaves, clouds, grain."""
    row, column = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1 / SIDE
    pictures = []
    for number in range(count):
        if number % 2:
            field = np.zeros((SIDE, SIDE))
            for _ in range(random.integers(1, 4)):
                angle, period, phase = random.uniform(0, np.pi), random.uniform(2.5, 12), random.uniform(0, 2 * np.pi)
                field += np.sin(2 * np.pi * (row * np.sin(angle) + column * np.cos(angle)) / period + phase)
        else:
            spectrum = np.fft.fft2(random.normal(size=(SIDE, SIDE))) / frequency ** random.uniform(0.3, 1.6)
            field = np.fft.ifft2(spectrum).real
        field = (field - field.min()) / (field.max() - field.min())
        one, other = random.uniform(0, 255, (2, 3))
        pictures.append(one + field[:, :, None] * (other - one))
    return _levels(np.stack(pictures))


def resized_clothes(clothes: np.ndarray) -> np.ndarray:
    """Grey images [N, 28, 28] brought to 32×32 in three equal channels."""
    pictures = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in clothes]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def _levels(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def main() -> None:
    """Write the arrays."""
    parser = argparse.ArgumentParser(
        prog="python -m density_training.outliers_colour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10")
    parser.add_argument("--fashion", type=Path, default=DEFAULT_FOLDER, help="folder of Fashion-MNIST")
    parser.add_argument("--fonts", type=Path, default=FONTS, help="folder of DejaVu and Liberation fonts")
    arguments = parser.parse_args()
    random = np.random.default_rng(OUTLIER_SEED)
    data = Cifar10.read(arguments.data)
    arrays = parts(to_pictures(data.test_images))
    arrays |= {f"{name}_labels": part for name, part in parts(data.test_labels.numpy()).items()}
    arrays["noise"] = random.integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    arrays["textures"] = textures(random)
    arrays["vflip"] = arrays["report"][:COUNT, ::-1]
    arrays["lossless"] = to_pictures(data.held_out)
    fonts = sorted(arguments.fonts.glob("liberation/*.ttf")) + sorted(arguments.fonts.glob("dejavu/DejaVuS*.ttf"))
    if fonts:
        arrays["digits"] = house_numbers(fonts, random)
        arrays["letters"] = letters(fonts, random)
    if arguments.fashion.exists():
        arrays["fashion"] = resized_clothes(load_images(arguments.fashion, "test")[:COUNT])
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(arguments.output / f"{name}.npy", np.ascontiguousarray(array))


if __name__ == "__main__":
    main()
