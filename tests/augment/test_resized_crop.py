import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from augment import center_crop, random_multi_scale_crop, random_resized_crop, resize_crop
from augment._draw import Draw
from augment.resized_crop import random_boxes


def draw_boxes(height, width, count=4000, strength=1.0, seed=(1, 2), **arguments):
    draw = Draw("random_resized_crop", tf.constant(seed), (count, height, width, 3), strength)
    return random_boxes(draw, **arguments).numpy()


def rejected_until_they_fit(height, width, count, scale, ratio):
    """Draw sides as the paper's and torchvision's recipe does, without giving up after ten."""
    generator = np.random.default_rng(0)
    found = []
    while len(found) < count:
        area = generator.uniform(*scale, 10000) * height * width
        shape = np.exp(generator.uniform(*np.log(ratio), 10000))
        sides = np.stack([np.sqrt(area / shape), np.sqrt(area * shape)], axis=1)
        found.extend(sides[(sides <= [height, width]).all(1)])
    return np.array(found[:count])


def ramps(count, height=48, width=48):
    """Images whose first channel is the row, and whose second the column, of each pixel's middle.

    Interpolation keeps both, so that a result tells from where in the image its pixels are.
    """
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.tile(np.stack([rows, columns], axis=-1).astype(np.float32), (count, 1, 1, 1))


def boxes_of(result):
    """Return top, left, height, width, float, of the rectangles that results of ramps show."""
    size = np.array(result.shape[1:3])
    row, column = result[:, :, 0, 0], result[:, 0, :, 1]
    # From pixels in the middle, as those at the edges have no neighbour to be mixed with.
    low, high = size // 4, size - 1 - size // 4
    step = np.stack(
        [
            (place[:, end] - place[:, start]) / (end - start)
            for place, start, end in zip((row, column), low, high, strict=True)
        ],
        axis=1,
    )
    start = np.stack([row[:, low[0]], column[:, low[1]]], axis=1) - (low + 0.5) * step
    return np.concatenate([start, step * size], axis=1)


class TestRandomResizedCrop:
    @pytest.mark.parametrize(
        ("height", "width", "scale", "ratio"),
        [
            (1000, 1000, (0.08, 1.0), (3 / 4, 4 / 3)),
            (1500, 2000, (0.08, 1.0), (3 / 4, 4 / 3)),
            (4000, 1000, (0.08, 1.0), (3 / 4, 4 / 3)),
            (1000, 3000, (0.3, 0.9), (0.5, 3.0)),
        ],
    )
    def test_area_and_ratio_are_uniform_over_what_fits(self, height, width, scale, ratio):
        _, _, *sides = draw_boxes(height, width, scale=scale, ratio=ratio).T
        expected = rejected_until_they_fit(height, width, 40000, scale, ratio).T
        for measure in (
            lambda height, width: height * width,
            lambda height, width: np.log(width / height),
            lambda height, width: height,
            lambda height, width: width,
        ):
            assert stats.ks_2samp(measure(*sides), measure(*expected)).pvalue > 0.001

    def test_area_is_uniform_where_all_of_it_fits(self):
        boxes = draw_boxes(1000, 1000, scale=(0.1, 0.7))
        areas = boxes[:, 2] * boxes[:, 3] / 1e6
        assert stats.kstest(areas, stats.uniform(0.1, 0.6).cdf).pvalue > 0.001
        ratios = np.log(boxes[:, 3] / boxes[:, 2])
        assert stats.kstest(ratios, stats.uniform(-math.log(4 / 3), 2 * math.log(4 / 3)).cdf)[1] > (
            0.001
        )

    def test_places_are_uniform(self):
        boxes = draw_boxes(300, 200, scale=(0.1, 0.6)).astype(float)
        blur = np.random.default_rng(0).random((4000, 2))
        share = (boxes[:, :2] + blur) / ([300, 200] - boxes[:, 2:] + 1)
        for axis in (0, 1):
            assert stats.kstest(share[:, axis], "uniform").pvalue > 0.001
        assert abs(np.corrcoef(share.T)[0, 1]) < 0.06

    @pytest.mark.parametrize("ratio", [(1.0, 1.0), (2.0, 2.0)])
    def test_one_ratio(self, ratio):
        boxes = draw_boxes(1000, 1000, ratio=ratio)
        areas = boxes[:, 2] * boxes[:, 3] / 1e6
        np.testing.assert_allclose(boxes[:, 3] / boxes[:, 2], ratio[0], atol=0.01)
        upper = min(1, 1 / ratio[0])
        assert stats.kstest(areas, stats.uniform(0.08, upper - 0.08).cdf).pvalue > 0.001

    def test_of_a_long_image_the_largest_that_has_the_shape(self):
        boxes = draw_boxes(100, 2000)
        assert (boxes[:, 2] == 100).all()
        np.testing.assert_array_equal(np.unique(boxes[:, 3]), [133])
        assert stats.kstest(boxes[:, 1] / 1867, "uniform").pvalue > 0.001

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 5)])
    def test_boxes_lie_inside_small_images(self, shape):
        boxes = draw_boxes(*shape)
        assert (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= shape).all()

    def test_strength_shrinks_towards_the_whole_image(self):
        full, half, none = (draw_boxes(400, 300, strength=strength) for strength in (1, 0.5, 0))
        np.testing.assert_array_equal(np.unique(none, axis=0), [[0, 0, 400, 300]])
        expected = [400, 300] * (full[:, 2:] / [400, 300]) ** 0.5
        np.testing.assert_allclose(half[:, 2:], expected, atol=1)

    def test_each_image_has_a_rectangle_of_its_own(self):
        found = boxes_of(random_resized_crop(ramps(300), [1, 0], size=(12, 10)).numpy())
        np.testing.assert_allclose(found, np.round(found), atol=2e-3)
        top, left, height, width = np.round(found).T
        assert len(np.unique(found.round(), axis=0)) > 250
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + height <= 48).all()
        assert (left + width <= 48).all()
        areas = height * width / 48**2
        assert 0.07 < areas.min() < 0.12
        assert 0.9 < areas.max() <= 1
        assert 0.7 < (width / height).min() < (width / height).max() < 1.43

    @pytest.mark.slow
    def test_pixels_are_those_of_the_rectangle(self, random_images):
        images = random_images(6, 48, 48)
        boxes = np.round(boxes_of(random_resized_crop(ramps(6), [4, 0], size=16).numpy()))
        for options in ({}, {"antialias": True}, {"interpolation": "nearest"}):
            found = random_resized_crop(images, [4, 0], size=16, **options)
            expected = resize_crop(images, boxes.astype(np.int32), size=16, **options)
            assert np.abs(found.numpy().astype(int) - expected.numpy()).max() <= 1

    def test_images_that_are_not_chosen_are_resized_whole(self):
        result = random_resized_crop(ramps(400), [3, 0], size=12, probability=0.3, scale=(0.1, 0.8))
        found = boxes_of(result.numpy())
        cropped = (np.abs(found - [0, 0, 48, 48]) > 0.01).any(1)
        assert stats.binomtest(int(cropped.sum()), 400, 0.3).pvalue > 0.001

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": (8,)}, "size must be height and width"),
            ({"size": 8, "scale": (0.5, 1.5)}, r"scale\[1\] must be a number in \(0, 1\]"),
            ({"size": 8, "scale": 0.5}, "scale must be two numbers, received: 0.5"),
            ({"size": 8, "ratio": (2, 1)}, "ratio must be in rising order"),
            ({"size": 8, "interpolation": "lanczos"}, "interpolation must be"),
            ({"size": 8, "antialias": 1.5}, "antialias must be True or False"),
            ({"size": 8, "probability": 2}, "probability must be a number"),
        ],
    )
    def test_bad_arguments(self, random_images, arguments, message):
        with pytest.raises(ValueError, match=message):
            random_resized_crop(random_images(2), [1, 0], **arguments)


class TestRandomMultiScaleCrop:
    def test_scales_and_places_are_uniform(self):
        # One pixel of the source is half of one to two of the resized image.
        result = random_multi_scale_crop(
            ramps(1500, 40, 60), [1, 0], size=(16, 18), shorter_side=(20, 80)
        )
        found = boxes_of(result.numpy())
        lengths = 40 * 16 / found[:, 2]
        np.testing.assert_allclose(lengths, np.round(lengths), atol=0.01)
        lengths = np.round(lengths)
        counts = np.bincount(lengths.astype(int) - 20, minlength=61)
        assert len(counts) == 61
        assert stats.chisquare(counts).pvalue > 0.001
        # The longer side in proportion, to whole pixels.
        longer = np.floor(lengths * 1.5 + 0.5)
        np.testing.assert_allclose(60 * 18 / found[:, 3], longer, atol=0.01)
        places = found[:, :2] * np.stack([lengths / 40, longer / 60], axis=1)
        free = np.stack([lengths - 16, longer - 18], axis=1)
        share = (np.round(places) + np.random.default_rng(0).random((1500, 2))) / (free + 1)
        for axis in (0, 1):
            assert stats.kstest(share[:, axis], "uniform").pvalue > 0.001

    def test_pixels_are_a_window_of_the_resized_image(self, random_images):
        image = random_images(1, 20, 30)
        found = random_multi_scale_crop(
            np.tile(image, (20, 1, 1, 1)), [1, 0], size=8, shorter_side=10
        ).numpy()
        whole = tf.image.resize(image[0], (10, 15)).numpy()
        windows = np.lib.stride_tricks.sliding_window_view(whole, (8, 8, 3))[:, :, 0]
        for result in found:
            distance = np.abs(windows - result.astype(float)).max((2, 3, 4))
            assert distance.min() < 0.52
        assert len(np.unique(found, axis=0)) > 10

    def test_images_that_are_not_chosen_get_the_middle(self, random_images):
        images = random_images(4, 20, 30)
        found = random_multi_scale_crop(
            images, [1, 0], size=8, shorter_side=(10, 30), probability=0.0
        )
        np.testing.assert_array_equal(found, center_crop(images, size=8, shorter_side=10))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ((7, 9), r"shorter_side\[0\] must be at least the larger side of size, 8, received: 7"),
            ((12, 9), "shorter_side must be in rising order"),
            ((8, 9, 10), "shorter_side must be a number or two numbers"),
            (9.5, "shorter_side must be an integer of at least 1, received: 9.5"),
        ],
    )
    def test_bad_lengths(self, random_images, value, message):
        with pytest.raises(ValueError, match=message):
            random_multi_scale_crop(random_images(2), [1, 0], size=8, shorter_side=value)
