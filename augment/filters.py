"""Sharpen and blur images."""

import math

import tensorflow as tf

from augment import _validation
from augment._barrier import materialize
from augment._operation import Operation, operation

# Standard deviations at which the Gaussian is cut off: less than 0.3% of it lies beyond.
TRUNCATE = 3.0


def adjust_sharpness(image, factor):
    """Blend an image with its smoothed self, as `PIL.ImageEnhance.Sharpness` does.

    The result is `smooth + factor * (image - smooth)`, clipped; `smooth` is the mean of each pixel,
    counted five times, and its eight neighbours. The outermost pixels stay as they are. For uint8
    images the result is rounded once, to nearest. PIL rounds `smooth` and then cuts the result off
    to whole numbers, so that it is up to one level darker, for factors in `[0, 2]`.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`, any number of channels.
        factor: Scalar number; 0 smooths, 1 changes nothing, 2 sharpens.

    Returns:
        Same shape and dtype.
    """
    gain = (tf.cast(factor, tf.float32) - 1.0) / 13.0
    # As int16 the sums are five times as fast as in float32, and exact: at most 13 * 255.
    values = tf.cast(image, tf.int16) if image.dtype == tf.uint8 else image
    detail = tf.cast(13 * values - _neighbourhood(values), tf.float32)
    changed = tf.clip_by_value(tf.cast(values, tf.float32) + gain * detail, 0.0, 255.0)
    if image.dtype == tf.uint8:
        changed = tf.cast(changed + 0.5, tf.uint8)
    return tf.where(_is_inside(image), changed, image)


def _neighbourhood(values):
    """Return the sum of nine pixels, the middle one counted five times."""
    height, width = _sizes(values)
    padded = tf.pad(values, [[1, 1], [1, 1], [0, 0]])
    total = 4 * values
    for row in range(3):
        for column in range(3):
            total += padded[row : row + height, column : column + width]
    return total


def _is_inside(image):
    """Return bool `(height, width, 1)`, false for the outermost pixels."""
    height, width = _sizes(image)
    rows, columns = tf.range(height), tf.range(width)
    rows = (rows > 0) & (rows < height - 1)
    columns = (columns > 0) & (columns < width - 1)
    return (rows[:, None] & columns)[..., None]


def _sizes(image):
    """Return height and width: Python integers where known, else int32 scalars."""
    dynamic = tf.shape(image)
    return tuple(
        dynamic[axis] if image.shape[axis] is None else image.shape[axis] for axis in (0, 1)
    )


def gaussian_blur(image, sigma, radius):
    """Convolve each channel with a Gaussian; borders are mirrored, so they do not darken.

    The pixel on the border counts twice in the mirror (`scipy.ndimage`'s `"reflect"`). What is
    added to a pixel is a weighted sum of differences, so that an even image stays as it is to the
    bit.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`, any number of channels.
        sigma: Scalar number of pixels; 0 changes nothing.
        radius: Pixels on either side that the kernel reaches, Python integer; `blur_radius` gives
            one for a `sigma`.

    Returns:
        Same shape and dtype; rounded to nearest for uint8.
    """
    if radius == 0:
        return image
    weights = _gaussian_weights(sigma, radius)
    blurred = _blur_rows(image, weights, radius)
    blurred = _blur_columns(blurred, weights, radius)
    return tf.cast(blurred + 0.5, tf.uint8) if image.dtype == tf.uint8 else blurred


def blur_radius(sigma):
    """Return the radius at which a Gaussian is cut off: three `sigma`, rounded; Python integer."""
    return math.floor(TRUNCATE * sigma + 0.5)


def _gaussian_weights(sigma, radius):
    """Return the weights at the distances 1, 2... `radius`, float32; with the middle one, 1."""
    sigma = tf.maximum(tf.cast(sigma, tf.float32), 1e-3)
    distances = tf.range(1, radius + 1, dtype=tf.float32)
    sides = tf.exp(-0.5 * tf.square(distances / sigma))
    return sides / (1.0 + 2.0 * tf.reduce_sum(sides))


def _blur_rows(image, weights, radius):
    size = _sizes(image)[0]
    padded = materialize(_mirrored(image, radius, 0), weights[0])

    def shifted(distance):
        return tf.cast(padded[radius + distance : radius + distance + size], tf.float32)

    return materialize(_weighted(shifted, weights, radius), weights[0])


def _blur_columns(image, weights, radius):
    size = _sizes(image)[1]
    padded = materialize(_mirrored(image, radius, 1), weights[0])
    return _weighted(
        lambda distance: padded[:, radius + distance : radius + distance + size], weights, radius
    )


def _weighted(shifted, weights, radius):
    middle = shifted(0)
    total = middle
    for distance in range(1, radius + 1):
        pair = (shifted(-distance) - middle) + (shifted(distance) - middle)
        total += weights[distance - 1] * pair
    return total


def _mirrored(image, radius, axis):
    """Extend an image on both sides of an axis by its mirror image, as often as is needed."""
    size = _sizes(image)[axis]
    before = tf.range(-radius, 0) % (2 * size)
    after = tf.range(size, size + radius) % (2 * size)
    sides = [
        tf.gather(image, tf.minimum(place, 2 * size - 1 - place), axis=axis)
        for place in (before, after)
    ]
    return tf.concat([sides[0], image, sides[1]], axis=axis)


@operation
def random_sharpness(*, factor=(0.0, 2.0)):
    """Sharpen or smooth each image by a factor of its own, as `PIL.ImageEnhance.Sharpness` does.

    Args:
        factor: Lowest and highest factor, at least 0: 0 smooths, 1 changes nothing, above 1
            sharpens; or one number `f` for `(max(0, 1 - f), 1 + f)`.

    Example:
        >>> images = tf.constant([[0, 0, 0], [0, 26, 0], [0, 0, 0]], tf.uint8)[None, :, :, None]
        >>> random_sharpness(images, [0, 0], factor=(2, 2))[0, 1, :, 0].numpy().tolist()
        [0, 42, 0]
    """
    low, high = _validation.check_factor("factor", factor)

    def sample(draw):
        return {"factor": draw.uniform("factor", low, high, neutral=1.0)}

    return Operation(sample, adjust_sharpness)


@operation
def random_gaussian_blur(*, sigma=(0.1, 2.0)):
    """Blur each image by a Gaussian of its own; borders are mirrored and do not darken.

    The kernel reaches to three times the largest `sigma`.

    Args:
        sigma: Lowest and highest standard deviation in pixels, at least 0; or one number for all
            images.

    Example:
        >>> images = tf.constant([[[[0], [0], [100], [0], [0]]]], tf.uint8)
        >>> random_gaussian_blur(images, [0, 0], sigma=0.5)[0, 0, :, 0].numpy().tolist()
        [0, 11, 79, 11, 0]
    """
    pair = sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma)
    low, high = _validation.check_interval("sigma", pair, 0, math.inf)
    radius = blur_radius(high)

    def sample(draw):
        return {"sigma": draw.uniform("sigma", low, high, neutral=0.0)}

    def apply(image, sigma):
        return gaussian_blur(image, sigma, radius)

    return Operation(sample, apply)
