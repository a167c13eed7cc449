import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from augment import cutout, random_erasing, random_grid_mask
from augment.erasing import erase_grid


def boxes_of(changed):
    """Return top, left, height, width of what changed in each image, checked to be a full box."""
    found = []
    for mask in changed:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert mask.sum() == box[2] * box[3]
        found.append(box)
    return np.array(found)


def erased(images, result):
    """Return where images without zeros were filled with 0; the rest must be as it was."""
    mask = (result == 0).all(-1)
    np.testing.assert_array_equal(result[~mask], images[~mask])
    return mask


class TestRandomErasing:
    def test_size_and_place_are_uniform(self, random_images):
        images = random_images(2000, 64, 64, 1)
        result = random_erasing(
            images, [1, 0], probability=1.0, scale=(0.1, 0.3), ratio=(0.5, 2.0), fill=0
        ).numpy()
        top, left, height, width = boxes_of(erased(images, result)).T.astype(float)
        # Blur over one pixel what was rounded to whole pixels, so that the laws are continuous.
        blur = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 2000))
        areas = (height + blur[0]) * (width + blur[1]) / 64**2
        ratios = np.log((height + blur[0]) / (width + blur[1]))
        assert stats.kstest(areas, stats.uniform(0.1, 0.2).cdf).pvalue > 0.001
        assert stats.kstest(ratios, stats.uniform(np.log(0.5), np.log(4)).cdf).pvalue > 0.001
        for place, size in ((top, height), (left, width)):
            share = (place + 0.5 + blur[2]) / (64 - size + 1)
            assert stats.kstest(share, "uniform").pvalue > 0.001
        assert np.abs(np.corrcoef([areas, ratios, top, left]))[0, 1] < 0.08

    def test_every_place_is_as_likely(self, random_images):
        images = random_images(1800, 5, 5, 1)
        result = random_erasing(
            images, [1, 0], probability=1.0, scale=(0.36, 0.36), ratio=(1.0, 1.0), fill=0
        ).numpy()
        top, left, height, width = boxes_of(erased(images, result)).T
        assert (height == 3).all()
        assert (width == 3).all()
        assert stats.chisquare(np.bincount(top * 3 + left, minlength=9)).pvalue > 0.001

    @pytest.mark.parametrize("shape", [(64, 4), (4, 64), (5, 5), (1, 1), (1, 40)])
    def test_boxes_always_fit(self, random_images, shape):
        images = random_images(300, *shape, 1)
        result = random_erasing(images, [1, 0], probability=1.0, scale=(0.02, 0.9), fill=0)
        boxes = boxes_of(erased(images, result.numpy()))
        assert len({tuple(box) for box in boxes}) >= min(10, 2 * (max(shape) - 1) + 1) * 0.5

    def test_the_whole_image(self, random_images):
        result = random_erasing(random_images(4), [1, 0], probability=1.0, scale=(1, 1), fill=0)
        assert not result.numpy().any()

    def test_probability(self, random_images):
        images = random_images(2000, 6, 6, 1)
        result = random_erasing(images, [3, 0], probability=0.3, fill=0).numpy()
        count = erased(images, result).any((1, 2)).sum()
        assert stats.binomtest(int(count), 2000, 0.3).pvalue > 0.001

    def test_noise_is_uniform(self):
        images = np.full((64, 32, 32, 3), 5, np.uint8)
        result = random_erasing(
            images, [1, 0], probability=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0), fill="noise"
        ).numpy()
        assert stats.chisquare(np.bincount(result.ravel(), minlength=256)).pvalue > 0.001
        flat = result.reshape(64, -1).astype(float)
        assert np.abs(np.corrcoef(flat) - np.eye(64)).max() < 0.1

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_mean_is_that_of_each_channel(self, random_images, dtype):
        images = random_images(50).astype(dtype)
        result = random_erasing(images, [1, 0], probability=1.0, fill="mean").numpy()
        means = images.astype(np.float64).mean((1, 2), keepdims=True)
        if dtype == "uint8":
            means = np.floor(means + 0.5)
        is_mean = np.isclose(result, means, rtol=0, atol=1e-3)
        assert (is_mean | (result == images)).all()
        assert (is_mean & (result != images)).any((1, 2, 3)).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"probability": 1.1}, r"probability must be a number in \[0, 1\], received: 1.1"),
            ({"scale": (0.5, 0.1)}, "scale must be in rising order"),
            ({"scale": (0, 0.1)}, r"scale\[0\] must be a number in \(0, 1\], received: 0"),
            ({"scale": 0.2}, "scale must be two numbers, received: 0.2"),
            ({"ratio": (-1, 2)}, r"ratio\[0\] must be a number"),
            ({"fill": "black"}, "fill must be a number, 'mean' or 'noise', received: 'black'"),
            ({"fill": 300}, r"fill must be a number in \[0, 255\], received: 300"),
        ],
    )
    def test_bad_arguments(self, random_images, arguments, message):
        with pytest.raises(ValueError, match=message):
            random_erasing(random_images(2), [1, 0], **arguments)


class TestCutout:
    @pytest.mark.parametrize("size", [3, 4])
    def test_centres_are_uniform_over_the_pixels(self, random_images, size):
        height, width = 6, 7
        masks = {}
        for row in range(height):
            for column in range(width):
                mask = np.zeros((height, width), bool)
                top, left = row - size // 2, column - size // 2
                mask[max(top, 0) : top + size, max(left, 0) : left + size] = True
                masks[mask.tobytes()] = row * width + column
        assert len(masks) == height * width
        images = random_images(3000, height, width, 1)
        result = cutout(images, [1, 0], size=size).numpy()
        centres = [masks[mask.tobytes()] for mask in erased(images, result)]
        counts = np.bincount(centres, minlength=height * width)
        assert stats.chisquare(counts).pvalue > 0.001

    def test_larger_than_the_image(self, random_images):
        assert not cutout(random_images(4), [1, 0], size=99).numpy().any()

    def test_nothing_to_cut(self, random_images):
        images = random_images(4)
        np.testing.assert_array_equal(cutout(images, [1, 0], size=0), images)
        np.testing.assert_array_equal(cutout(images, [1, 0], size=4, probability=0.0), images)

    def test_probability(self, random_images):
        images = random_images(2000, 6, 6, 1)
        count = erased(images, cutout(images, [3, 0], size=2, probability=0.3).numpy())
        assert stats.binomtest(int(count.any((1, 2)).sum()), 2000, 0.3).pvalue > 0.001

    @pytest.mark.parametrize("size", [-1, 2.5, "4", None])
    def test_bad_size(self, random_images, size):
        with pytest.raises(ValueError, match="size must be an integer of at least 0"):
            cutout(random_images(2), [1, 0], size=size)


def striped(length, unit, side, start):
    """Return where stretches of `side` begin every `unit`, as the published code steps."""
    mask = np.zeros(length, bool)
    for place in range(start - unit, length, unit):
        mask[max(place, 0) : max(place + side, 0)] = True
    return mask


def grids_of(masks, sides):
    """Return unit and start of the rows and columns of each mask, found by trying them all.

    Args:
        masks: bool `(count, height, width)`.
        sides: Dictionary: side of the square for each unit that is possible.
    """
    found = []
    for mask in masks:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        matches = [
            (unit, row, column)
            for unit, side in sides.items()
            for row in range(unit)
            if np.array_equal(rows, striped(len(rows), unit, side, row))
            for column in range(unit)
            if np.array_equal(columns, striped(len(columns), unit, side, column))
        ]
        assert len(matches) == 1
        found += matches
    return np.array(found)


class TestGridMask:
    def test_units_and_places_are_uniform(self, random_images):
        images = random_images(1500, 24, 30, 1)
        masks = erased(images, random_grid_mask(images, [1, 0], unit=(0.25, 0.5)).numpy())
        unit, row, column = grids_of(
            masks, {unit: unit - round(0.6 * unit) for unit in range(6, 13)}
        ).T
        assert stats.chisquare(np.bincount(unit - 6, minlength=7)).pvalue > 0.001
        for place in (row, column):
            # Several units share a place, so it is compared as a share of the unit.
            share = (place + np.random.default_rng(0).random(1500)) / unit
            assert stats.kstest(share, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(row / unit, column / unit)[0, 1]) < 0.1

    @pytest.mark.parametrize("keep", [0.3, 0.6, 0.8])
    @pytest.mark.sampled(1)
    def test_the_share_that_stays_is_that_of_the_paper(self, random_images, keep):
        images = random_images(300, 60, 60, 1)
        masks = erased(
            images, random_grid_mask(images, [1, 0], keep=keep, unit=(1 / 6, 1 / 6)).numpy()
        )
        assert abs((1 - masks.mean()) - (1 - (1 - keep) ** 2)) < 0.01

    def test_turned_grids_equal_coordinates_in_floating_point(self, random_images):
        height, width, unit, side, starts = 31, 42, 9, 4, (3, 7)
        image = random_images(1, height, width)[0]
        rows, columns = (
            np.mgrid[:height, :width] - np.array([height - 1, width - 1])[:, None, None] / 2
        )
        for degrees in (0, 17, 90, 133, 270, 359):
            cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            down, along = cosine * rows + sine * columns, cosine * columns - sine * rows
            rest = np.stack([down - starts[0], along - starts[1]]) % unit
            expected = (rest < side).all(0)
            near_an_edge = (np.abs(rest[..., None] - [0, side, unit]) < 0.02).any((0, 3))
            axes = np.round([cosine * 2**15, sine * 2**15]).astype(np.int32)
            grid = np.array([unit, side, *starts], np.int32)
            found = erase_grid(
                tf.constant(image),
                tf.constant(grid),
                tf.constant(axes),
                0,
                tf.constant(0, tf.uint32),
            )
            mask = erased(image, found.numpy())
            assert (~near_an_edge).mean() > 0.7
            np.testing.assert_array_equal(mask[~near_an_edge], expected[~near_an_edge])

    def test_each_image_has_an_angle_of_its_own(self, random_images):
        images = random_images(40, 40, 40, 1)
        masks = erased(
            images, random_grid_mask(images, [1, 0], unit=(0.3, 0.3), degrees=(10, 80)).numpy()
        )
        shares = masks.mean((1, 2))
        assert np.abs(shares - 0.4**2).max() < 0.08
        # Straight ones are a pattern of rows and a pattern of columns.
        straight = [(mask == mask.any(1)[:, None] & mask.any(0)).all() for mask in masks]
        assert not any(straight)
        assert len(np.unique(masks, axis=0)) == 40

    def test_fills(self, random_images):
        images = random_images(30, 20, 20)
        result = random_grid_mask(images, [1, 0], fill="mean").numpy()
        means = np.floor(images.mean((1, 2), keepdims=True) + 0.5)
        assert ((result == means) | (result == images)).all()
        same = np.full((200, 32, 32, 3), 5, np.uint8)
        noise = random_grid_mask(same, [1, 0], keep=0.01, unit=(1, 1), fill="noise").numpy()
        values = noise[(noise != 5).any(-1)].ravel()
        counts = np.bincount(values, minlength=256)
        # Pixels that are 5 in all three channels by chance are missing: 1 in 16 million.
        assert stats.chisquare(counts).pvalue > 0.001

    def test_probability(self, random_images):
        images = random_images(1000, 8, 8, 1)
        result = random_grid_mask(images, [3, 0], unit=(0.3, 0.5), probability=0.3).numpy()
        count = erased(images, result).any((1, 2)).sum()
        assert stats.binomtest(int(count), 1000, 0.3).pvalue > 0.001

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"keep": 0}, r"keep must be a number in \(0, 1\], received: 0"),
            ({"keep": 1}, "keep must be below 1, received: 1"),
            ({"unit": 0.5}, "unit must be two numbers, received: 0.5"),
            ({"unit": (0.5, 0.1)}, "unit must be in rising order"),
            ({"degrees": 400}, r"degrees must be a number in \[0, 360\], received: 400"),
            ({"fill": "white"}, "fill must be a number, 'mean' or 'noise'"),
        ],
    )
    def test_bad_arguments(self, random_images, arguments, message):
        with pytest.raises(ValueError, match=message):
            random_grid_mask(random_images(2), [1, 0], **arguments)


STRENGTHS = {
    "erasing": functools.partial(random_erasing, probability=0.8, fill=0),
    "cutout": functools.partial(cutout, size=3),
    "grid_mask": functools.partial(random_grid_mask, unit=(0.3, 0.5)),
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_scales_the_probability(random_images, name):
    function = STRENGTHS[name]
    made = function.func.operation(**function.keywords)
    full, half, none = (
        made.draw([1, 0], (2000, 8, 8, 1), strength)[0]["selected"].numpy()
        for strength in (1.0, 0.5, 0.0)
    )
    chance = function.keywords.get("probability", 1.0)
    assert stats.binomtest(int(half.sum()), 2000, chance / 2).pvalue > 0.001
    assert not none.any()
    # What is left is a part of what there was, so that a curriculum only adds.
    assert (full | ~half).all()
