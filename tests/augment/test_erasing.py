import numpy as np
import pytest
from scipy import stats

from augment import cutout, random_erasing


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
