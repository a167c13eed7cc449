import numpy as np
import pytest
from scipy import stats

from augment import random_flip


def flips_of(images, flipped):
    """Return (vertical, horizontal) for each image, by trying all four on it."""
    found = []
    for image, result in zip(images, flipped, strict=True):
        candidates = {
            (vertical, horizontal): image[:: 1 - 2 * vertical, :: 1 - 2 * horizontal]
            for vertical in (0, 1)
            for horizontal in (0, 1)
        }
        matches = [key for key, value in candidates.items() if np.array_equal(value, result)]
        assert len(matches) == 1
        found += matches
    return np.array(found)


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_each_image_and_axis_has_its_own_chance(random_images, probability):
    images = random_images(2000, 3, 4, 1)
    flipped = random_flip(images, [1, 0], vertical=True, probability=probability).numpy()
    flips = flips_of(images, flipped)
    counts = np.bincount(flips[:, 0] * 2 + flips[:, 1], minlength=4)
    chances = np.outer([1 - probability, probability], [1 - probability, probability]).ravel()
    assert stats.chisquare(counts, 2000 * chances).pvalue > 0.001


@pytest.mark.parametrize(
    ("horizontal", "vertical", "expected"),
    [
        (True, False, np.s_[:, :, ::-1]),
        (False, True, np.s_[:, ::-1]),
        (True, True, np.s_[:, ::-1, ::-1]),
        (False, False, np.s_[:]),
    ],
)
def test_certain_flips(random_images, horizontal, vertical, expected):
    images = random_images(5, 5, 7)
    flipped = random_flip(images, [1, 0], horizontal=horizontal, vertical=vertical, probability=1.0)
    np.testing.assert_array_equal(flipped, images[expected])


def test_the_masks_differ_between_steps(random_images):
    images = random_images(64)
    first, second = (random_flip(images, [1, step]).numpy() for step in (0, 1))
    assert (first != second).any()
