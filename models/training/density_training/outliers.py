"""Images to calibrate and report on `fashion-mnist-gate`: three parts of the test images, and sets of other images.

    python -m density_training.outliers --output FOLDER [--mnist FOLDER] [--fonts FOLDER]

writes `fit.npy`, `calibrate.npy` and `report.npy`, which no image is in two of, their labels in `…_labels.npy`, and
one array for each set of outliers. Those made from clothes are made from the report's; none of the sets took part in
any choice.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from density_training.data import DEFAULT_FOLDER, MNIST, load_images, load_labels

PERMUTATION_SEED = 20240
FIT, CALIBRATE = 4_000, 7_000
"""Places of the permutation up to which images fit, and calibrate; the others are reported on."""
OUTLIER_SEED = 11
COUNT = 1_000
PATCH = 7
SIDE = 28
FONTS = Path("/usr/share/fonts/truetype")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SYMBOLS = "☀☁☂☃★☎☕☘☠☢☮☯☹☺♀♂♔♕♖♗♘♙♠♣♥♦♪♫⚀⚁⚂⚃⚄⚅⚑⚓⚔⚖⚛⚠✂✈✉✎✔✖✚✪✶❀❄❤➔➤∀∂∃∅∇∈∏∑∞∫≈≠⊕⊗⌘⌛⏏"
"""Glyphs that DejaVu Sans has."""


def parts(images: np.ndarray) -> dict[str, np.ndarray]:
    """The test images by what they are used for."""
    order = np.random.default_rng(PERMUTATION_SEED).permutation(len(images))
    fit, calibrate, report = np.split(order, [FIT, CALIBRATE])
    return {"fit": images[fit], "calibrate": images[calibrate], "report": images[report]}


def from_clothes(clothes: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Sets without clothes in them, or with clothes as nobody wears them."""
    count = len(clothes)
    noise = random.integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)
    constant = np.arange(256, dtype=np.uint8)[:, None, None] * np.ones((1, SIDE, SIDE), np.uint8)
    grid = SIDE // PATCH
    tiles = clothes.reshape(count, grid, PATCH, grid, PATCH).transpose(0, 1, 3, 2, 4).reshape(count, -1, PATCH, PATCH)
    tiles = np.stack([image[random.permutation(len(image))] for image in tiles])
    patches = tiles.reshape(count, grid, grid, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(clothes.shape)
    pixels = np.stack([image[random.permutation(SIDE * SIDE)] for image in clothes.reshape(count, -1)])
    return {
        "noise": noise,
        "constant": constant,
        "inverted": 255 - clothes,
        "patches": patches,
        "pixels": pixels.reshape(clothes.shape),
        "hflip": clothes[:, :, ::-1],
        "vflip": clothes[:, ::-1],
        "rot90": np.rot90(clothes, 1, (1, 2)),
        "rot180": clothes[:, ::-1, ::-1],
        "rot270": np.rot90(clothes, 3, (1, 2)),
    }


def glyphs(characters: str, fonts: list[Path], random: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """White characters on black, of 18 to 27 pixels, nearly in the middle, uint8 [count, 28, 28]."""
    pictures = []
    for _ in range(count):
        font = ImageFont.truetype(fonts[random.integers(len(fonts))], int(random.integers(18, 28)))
        picture = Image.new("L", (SIDE, SIDE))
        middle = tuple((SIDE / 2 + random.integers(-2, 3, 2)).tolist())
        character = characters[random.integers(len(characters))]
        ImageDraw.Draw(picture).text(middle, character, fill=255, font=font, anchor="mm")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def main() -> None:
    """Write the arrays."""
    parser = argparse.ArgumentParser(
        prog="python -m density_training.outliers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder of Fashion-MNIST")
    parser.add_argument("--mnist", type=Path, help="folder of MNIST")
    parser.add_argument("--fonts", type=Path, default=FONTS, help="folder of DejaVu and Liberation fonts")
    arguments = parser.parse_args()
    random = np.random.default_rng(OUTLIER_SEED)
    arrays = parts(load_images(arguments.data, "test"))
    labels = parts(load_labels(arguments.data, "test"))
    arrays |= from_clothes(arrays["report"][:COUNT], random)
    arrays |= {f"{name}_labels": part for name, part in labels.items()}
    if arguments.mnist:
        arrays["mnist"] = load_images(arguments.mnist, "test", MNIST)
    letters = sorted(arguments.fonts.glob("liberation/*.ttf")) + sorted(arguments.fonts.glob("dejavu/DejaVuS*.ttf"))
    if letters:
        arrays["letters"] = glyphs(LETTERS, letters, random)
        arrays["symbols"] = glyphs(SYMBOLS, [arguments.fonts / "dejavu/DejaVuSans.ttf"], random)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(arguments.output / f"{name}.npy", np.ascontiguousarray(array))


if __name__ == "__main__":
    main()
