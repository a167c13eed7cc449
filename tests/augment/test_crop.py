import numpy as np
import pytest
from scipy import stats

from augment import random_crop


def offsets_of(images, cropped, padding, **pad):
    """Return the place of each crop in the padded image, by comparing with every possible one."""
    height, width = images.shape[1:3]
    found = []
    for image, result in zip(images, cropped, strict=True):
        padded = np.pad(image, [(padding, padding)] * 2 + [(0, 0)], **pad)
        matches = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if np.array_equal(padded[top : top + height, left : left + width], result)
        ]
        assert len(matches) == 1
        found += matches
    return np.array(found)


CASES = {
    "zeros": ({}, {"mode": "constant"}),
    "value": ({"value": 77}, {"mode": "constant", "constant_values": 77}),
    "reflect": ({"fill": "reflect"}, {"mode": "reflect"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(6, 9, 3), (9, 6, 1)])
def test_each_image_is_a_crop_of_its_padded_self(random_images, case, shape):
    arguments, pad = CASES[case]
    images = random_images(40, *shape)
    cropped = random_crop(images, [1, 0], padding=3, **arguments).numpy()
    offsets = offsets_of(images, cropped, 3, **pad)
    assert len({tuple(offset) for offset in offsets}) > 10


def test_offsets_are_uniform(random_images):
    images = random_images(2000, 5, 5, 1)
    cropped = random_crop(images, [2, 0], padding=2, fill="reflect").numpy()
    offsets = offsets_of(images, cropped, 2, mode="reflect")
    counts = np.bincount(offsets[:, 0] * 5 + offsets[:, 1], minlength=25)
    assert stats.chisquare(counts).pvalue > 0.001


def test_padding_may_exceed_the_image(random_images):
    images = random_images(200, 3, 3, 1)
    cropped = random_crop(images, [1, 0], padding=5).numpy()
    padded = np.pad(images, [(0, 0), (5, 5), (5, 5), (0, 0)])
    for image, result in zip(padded, cropped, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (3, 3))
        assert (windows == result[..., 0]).all((2, 3)).any()


def test_no_padding_changes_nothing(random_images):
    images = random_images(3)
    np.testing.assert_array_equal(random_crop(images, [1, 0], padding=0), images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": -1}, "padding must be an integer of at least 0, received: -1"),
        ({"padding": 1.5}, "padding must be an integer"),
        ({"padding": 1, "fill": "wrap"}, "fill must be 'constant' or 'reflect', received: 'wrap'"),
        ({"padding": 8, "fill": "reflect"}, "smaller than height and width .* received: 8"),
        ({"padding": 1, "value": 256}, r"value must be a number in \[0, 255\], received: 256"),
    ],
)
def test_bad_arguments(random_images, arguments, message):
    with pytest.raises(ValueError, match=message):
        random_crop(random_images(2), [1, 0], **arguments)
