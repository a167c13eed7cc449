import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance
from scipy import ndimage

import augment
from augment import filters

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
SHAPES = [(1, 1, 3), (2, 9, 1), (3, 3, 3), (17, 30, 3), (31, 16, 4)]


def sharpened(image, factor):
    """Compute the blend in float64, borders kept."""
    image = image.astype(float)
    smooth = np.stack([ndimage.convolve(plane, SMOOTH) for plane in np.moveaxis(image, -1, 0)], -1)
    changed = np.clip(smooth + factor * (image - smooth), 0, 255)
    result = image.copy()
    result[1:-1, 1:-1] = changed[1:-1, 1:-1]
    return result


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.0, 1.9, 5.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_sharpness_is_the_blend_rounded_once(shape, factor):
    image = random_image(shape)
    expected = sharpened(image, factor)
    floats = filters.adjust_sharpness(tf.cast(image, tf.float32), factor)
    np.testing.assert_allclose(floats, expected, atol=1e-3)
    levels = filters.adjust_sharpness(tf.constant(image), factor)
    assert levels.dtype == tf.uint8
    assert np.abs(levels.numpy() - expected).max() <= 0.501
    if factor == 1:
        np.testing.assert_array_equal(levels, image)


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.0, 1.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_sharpness_is_within_one_level_of_pil(shape, factor):
    image = random_image(shape)
    for channel in range(shape[-1]):
        plane = Image.fromarray(image[..., channel])
        expected = np.asarray(ImageEnhance.Sharpness(plane).enhance(factor)).astype(int)
        result = filters.adjust_sharpness(tf.constant(image), factor).numpy()[..., channel]
        # PIL cuts off what is left after the point, and so is never brighter.
        assert set(np.unique(result - expected)) <= {0, 1}
        np.testing.assert_array_equal(result[0], image[0, :, channel])


def test_sharpness_leaves_an_even_image_even_at_its_edges():
    """Keras' RandomSharpness darkens them."""
    images = np.full((4, 6, 6, 3), 200, np.uint8)
    np.testing.assert_array_equal(augment.random_sharpness(images, [0, 0], factor=(0, 3)), images)


@functools.cache
def compiled_blur(radius):
    return tf.function(
        lambda image, sigma: filters.gaussian_blur(image, sigma, radius),
        jit_compile=True,
        autograph=False,
    )


@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_equals_scipy(shape, sigma):
    """Also images narrower than the kernel, which are mirrored again and again."""
    image, radius = random_image(shape), filters.blur_radius(sigma)
    smooth = functools.partial(ndimage.gaussian_filter, image.astype(float), (sigma, sigma, 0))
    floats = filters.gaussian_blur(tf.cast(image, tf.float32), sigma, radius)
    np.testing.assert_allclose(floats, smooth(truncate=filters.TRUNCATE), atol=1e-3)
    levels = filters.gaussian_blur(tf.constant(image), sigma, radius)
    assert levels.dtype == tf.uint8
    assert np.abs(levels.numpy() - smooth(truncate=filters.TRUNCATE)).max() < 0.6
    assert np.abs(levels.numpy() - smooth()).max() < 1


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_blur_under_xla_equals_scipy(dtype):
    image = random_image((17, 30, 3))
    expected = ndimage.gaussian_filter(image.astype(float), (1.3, 1.3, 0))
    result = compiled_blur(4)(tf.cast(image, dtype), tf.constant(1.3))
    assert np.abs(result.numpy().astype(float) - expected).max() < 1


def test_blur_without_overflow_at_the_hardest_edges():
    image = np.zeros((64, 64, 1), np.uint8)
    image[::2, 32:] = 255
    image[1::2, :32] = 255
    for sigma in (0.4, 3.0, 19.9, 30.0):
        expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), truncate=3)
        result = filters.gaussian_blur(tf.constant(image), sigma, filters.blur_radius(sigma))
        assert np.abs(result.numpy() - expected).max() < 0.8


@pytest.mark.parametrize("level", [1, 77, 255])
@pytest.mark.parametrize("sigma", [0.5, 1.7, 25.0])
def test_blur_leaves_an_even_image_as_it_is_to_the_bit(level, sigma):
    for dtype, value in ((tf.uint8, level), (tf.float32, level - 0.3)):
        image = tf.cast(tf.fill((9, 14, 3), value), dtype)
        result = filters.gaussian_blur(image, sigma, filters.blur_radius(sigma))
        np.testing.assert_array_equal(result, image)


def test_blur_darkens_no_borders():
    """Keras' RandomGaussianBlur makes the edges of an even 200 140 and its corners 98."""
    images = np.full((2, 12, 12, 3), 200, np.uint8)
    np.testing.assert_array_equal(augment.random_gaussian_blur(images, [0, 0], sigma=2), images)


def test_no_sigma_no_blur():
    image = random_image((8, 8, 3))
    np.testing.assert_array_equal(filters.gaussian_blur(tf.constant(image), 0.0, 3), image)
    images = image[None]
    np.testing.assert_array_equal(augment.random_gaussian_blur(images, [0, 0], sigma=0), images)


def test_each_image_has_its_own_sigma():
    """Keras shares one over the batch."""
    images = np.stack([random_image((20, 20, 1), seed) for seed in range(6)])
    drawn, _ = augment.random_gaussian_blur.operation(sigma=(0.2, 2)).draw([3, 1], images.shape, 1)
    sigmas = drawn["sigma"].numpy()
    assert len(set(sigmas)) == 6
    result = augment.random_gaussian_blur(images, [3, 1], sigma=(0.2, 2)).numpy()
    for image, blurred, sigma in zip(images, result, sigmas, strict=True):
        expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0))
        assert np.abs(blurred - expected).max() < 1


def test_each_image_has_its_own_sharpness():
    images = np.stack([random_image((12, 12, 3), seed) for seed in range(6)])
    drawn, _ = augment.random_sharpness.operation(factor=(0.1, 1.9)).draw([3, 1], images.shape, 1)
    factors = drawn["factor"].numpy()
    assert factors.min() < 0.8 < 1.2 < factors.max()
    result = augment.random_sharpness(images, [3, 1], factor=(0.1, 1.9)).numpy()
    for image, changed, factor in zip(images, result, factors, strict=True):
        assert np.abs(changed - sharpened(image, factor)).max() <= 0.501


def test_no_strength_changes_nothing():
    sizes = (50, 8, 8, 3)
    factors = augment.random_sharpness.operation().draw([0, 0], sizes, 0.0)[0]["factor"]
    np.testing.assert_array_equal(factors, np.ones(50))
    sigmas = augment.random_gaussian_blur.operation().draw([0, 0], sizes, 0.0)[0]["sigma"]
    np.testing.assert_array_equal(sigmas, np.zeros(50))


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        (augment.random_sharpness, {"factor": -1}, "factor must be a number in"),
        (augment.random_sharpness, {"factor": (2, 1)}, "factor must be in rising order"),
        (augment.random_gaussian_blur, {"sigma": -0.1}, "sigma must be a number in"),
        (augment.random_gaussian_blur, {"sigma": (2, 1)}, "sigma must be in rising order"),
    ],
)
def test_bad_arguments(operation, arguments, message):
    with pytest.raises(ValueError, match=message):
        operation(np.zeros((1, 4, 4, 3), np.uint8), [0, 0], **arguments)
