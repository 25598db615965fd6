"""The images that calibrate and test the committed detectors."""

import numpy as np

from density_training.outliers import CALIBRATE, FIT, from_clothes, parts


def test_no_image_is_in_two_parts() -> None:
    images = np.arange(10_000, dtype=np.uint16)
    split = parts(images)
    assert [len(split[name]) for name in ("fit", "calibrate", "report")] == [FIT, CALIBRATE - FIT, 10_000 - CALIBRATE]
    assert len(np.unique(np.concatenate(list(split.values())))) == 10_000


def test_clothes_keep_their_pixels_where_only_places_change() -> None:
    random = np.random.default_rng(0)
    clothes = random.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    sets = from_clothes(clothes, random)
    for name in ("patches", "pixels", "hflip", "vflip", "rot90", "rot180", "rot270"):
        moved = sets[name]
        assert moved.shape == clothes.shape
        assert (np.sort(moved.reshape(3, -1)) == np.sort(clothes.reshape(3, -1))).all()
        assert not (moved == clothes).all()
    assert (sets["rot90"][0] == np.rot90(clothes[0])).all()
    assert (sets["inverted"] + clothes == 255).all()
