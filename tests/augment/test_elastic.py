import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

import augment
from augment._chain import chain_of
from augment._compiled import compiled


def ramps(count, height, width):
    """Images whose two channels say where a pixel came from: 1 + x / 2 and 1 + y / 2."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = 1 + np.stack([x, y], axis=-1) / 2
    return np.tile(image, (count, 1, 1, 1)).astype(np.float32)


def moves_of(images, **arguments):
    """Return the moves to the right and down of each pixel, seen in ramps; NaN from outside."""
    start = ramps(*images)
    places, other = (
        augment.random_elastic(start, [1, 0], fill="constant", value=value, **arguments).numpy()
        for value in (0, 255)
    )
    outside = (places != other).any(-1, keepdims=True)
    return np.where(outside, np.nan, 2 * (places - start))


@pytest.mark.parametrize("sigma", [2.5, 7.3])
def test_the_fields_have_the_covariances_of_smoothed_noise(sigma):
    """The definition: noise of variance 1/3 at every pixel, smoothed by SciPy's Gaussian."""
    alpha = 0.8 * sigma
    moves = moves_of((2500, 30, 38), alpha=alpha, sigma=sigma)
    kernel = np.zeros((161, 161))
    kernel[80, 80] = alpha / np.sqrt(3)
    kernel = ndimage.gaussian_filter(kernel, sigma, truncate=8)
    variance = (kernel**2).sum()
    for down, across in ((0, 0), (0, 3), (5, 0), (4, 6), (0, 12)):
        first = moves[:, 2 : 28 - down, 2 : 36 - across]
        found = np.nanmean(first * moves[:, 2 + down : 28, 2 + across : 36], axis=(0, 1, 2))
        expected = (kernel * np.roll(kernel, (down, across), (0, 1))).sum()
        np.testing.assert_allclose(found, expected, atol=0.05 * variance)
    assert abs(np.nanmean(moves)) < 0.05 * np.sqrt(variance)
    assert abs(np.nanmean(moves[..., 0] * moves[..., 1])) < 0.05 * variance


def test_the_moves_are_as_large_at_the_edge_as_inside():
    moves = moves_of((2000, 12, 12), alpha=4.0, sigma=3.0)
    # At an edge those that come from outside are not seen: along it, then.
    downwards = moves[:, 6, 0, 1][~np.isnan(moves[:, 6, 0, 1])]
    inside = moves[:, 6, 6, 1]
    assert stats.ks_2samp(downwards, inside).pvalue > 0.001
    assert 2.5 < stats.kurtosis(inside, fisher=False) < 3.1


@pytest.mark.parametrize("shape", [(5, 20, 33), (5, 28, 28)])
@pytest.mark.slow
def test_pixels_are_those_of_the_places(random_images, shape):
    textures = random_images(*shape, 2).astype(np.float32)
    images = np.concatenate([ramps(*shape), textures], axis=-1)
    arguments = {"alpha": 20.0, "sigma": 3.0, "fill": "constant"}
    result = augment.random_elastic(images, [1, 0], **arguments).numpy()
    places = 2 * (result[..., :2] - 1)
    moves = moves_of(shape, alpha=20.0, sigma=3.0)
    inside = np.isfinite(moves).all(-1)
    assert inside.mean() > 0.7
    assert np.nanmax(np.abs(moves)) > 2
    for image, place, changed, chosen in zip(images, places, result, inside, strict=True):
        for channel in (2, 3):
            expected = ndimage.map_coordinates(
                image[..., channel].astype(float), [place[..., 1], place[..., 0]], order=1
            )
            difference = np.abs(changed[..., channel] - expected)[chosen]
            assert difference.max() < 0.05


def test_each_image_bends_its_own_way(random_images):
    images = np.tile(random_images(1, 16, 16), (20, 1, 1, 1))
    result = augment.random_elastic(images, [1, 0], alpha=10, sigma=3).numpy()
    assert len({image.tobytes() for image in result}) == 20


@pytest.mark.slow
def test_alpha_from_a_range():
    moves = moves_of((1500, 9, 9), alpha=(1.0, 5.0), sigma=3.0)
    one = moves_of((1500, 9, 9), alpha=2.0, sigma=3.0)
    ratios = 2 * moves[:, 4, 4, 0] / one[:, 4, 4, 0]
    ratios = ratios[np.isfinite(ratios)]
    assert ratios.size > 1400
    assert stats.kstest(ratios, stats.uniform(1, 4).cdf).pvalue > 0.001


def without_xla(images, strength=1.0, **arguments):
    chain = chain_of([augment.random_elastic.operation(**arguments)])
    run = compiled(lambda images, seed: chain(images, seed, strength), jit_compile=False)
    return run(images, tf.constant([1, 0])).numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_identity_at_zero_strength_is_exact(random_images, dtype):
    images = (random_images(4, 9, 14) * 0.99).astype(dtype)
    np.testing.assert_array_equal(without_xla(images, alpha=0), images)
    np.testing.assert_array_equal(without_xla(images, strength=0.0), images)


def test_xla_changes_no_pixel_by_more_than_a_level(random_images):
    images = random_images(6, 28, 20)
    compiled_by_xla = augment.random_elastic(images, [1, 0]).numpy()
    difference = np.abs(compiled_by_xla.astype(int) - without_xla(images))
    assert difference.max() <= 1
    assert (compiled_by_xla != images).any()


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 1, 9, 3), (3, 30, 2, 4)])
def test_small_and_long_images(random_images, shape):
    images = random_images(*shape)
    result = augment.random_elastic(images, [1, 0], alpha=50, sigma=2.0).numpy()
    assert result.shape == shape
    for image, changed in zip(images, result, strict=True):
        # Nothing but what lies between values of the image.
        assert (changed >= image.min((0, 1))).all()
        assert (changed <= image.max((0, 1))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1}, r"alpha\[0\] must be a number in \[0, inf\], received: -1"),
        ({"alpha": (2, 1)}, r"alpha must be in rising order, received: \(2, 1\)"),
        ({"alpha": "strong"}, "alpha must be .*received"),
        ({"sigma": 0.5}, r"sigma must be a number in \[1, 1000.0\], received: 0.5"),
        ({"fill": "wrap"}, "fill must be 'constant' or 'nearest' or 'reflect'"),
    ],
)
def test_bad_arguments(random_images, arguments, message):
    with pytest.raises(ValueError, match=message):
        augment.random_elastic(random_images(2), [1, 0], **arguments)
