"""Sharpen and blur images."""

import math

import tensorflow as tf

from augment import _validation
from augment._barrier import materialize
from augment._operation import Operation, operation

# Standard deviations at which the Gaussian is cut off: less than 0.3% of it lies beyond.
TRUNCATE = 3.0

# Radius up to which the errors of `_blur_levels` cannot leave 16 bits.
_LARGEST_IN_LEVELS = 60


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
    detail = tf.cast(13 * values - _neighbourhood(image, values.dtype), tf.float32)
    changed = tf.clip_by_value(tf.cast(values, tf.float32) + gain * detail, 0.0, 255.0)
    if image.dtype == tf.uint8:
        changed = tf.cast(changed + 0.5, tf.uint8)
    return tf.where(_is_inside(image), changed, image)


def _neighbourhood(image, dtype):
    """Return the sum of nine pixels, the middle one counted five times; wrong at the borders."""
    height, width, channels = _validation.image_sizes(image)
    # As one long line a neighbour is always the same number of values away, and XLA reads whole
    # vectors; at the borders it is a pixel of the next row.
    line, row = tf.reshape(image, [-1]), width * channels
    ends = tf.zeros([row + channels], image.dtype)
    padded = materialize(tf.concat([ends, line, ends], axis=0), _first(image))
    total = 4 * tf.cast(line, dtype)
    for down in range(3):
        for right in range(3):
            start = down * row + right * channels
            total += tf.cast(padded[start : start + height * row], dtype)
    return tf.reshape(total, tf.shape(image))


def _is_inside(image):
    """Return bool `(height, width, 1)`, false for the outermost pixels."""
    height, width, _ = _validation.image_sizes(image)
    rows, columns = tf.range(height), tf.range(width)
    rows = (rows > 0) & (rows < height - 1)
    columns = (columns > 0) & (columns < width - 1)
    return (rows[:, None] & columns)[..., None]


def _first(image):
    return tf.reshape(image, [-1])[0]


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
    if image.dtype == tf.uint8 and radius <= _LARGEST_IN_LEVELS:
        return _blur_levels(image, weights)
    rows = _weighted(_mirrored(image, radius, 0), image, weights, 0, tf.multiply)
    padded = _mirrored(tf.reshape(rows, tf.shape(image)), radius, 1)
    blurred = tf.reshape(_weighted(padded, image, weights, 1, tf.multiply), tf.shape(image))
    return tf.cast(blurred + 0.5, tf.uint8) if image.dtype == tf.uint8 else blurred


def _blur_levels(image, weights):
    """Blur uint8 in 16-bit whole numbers, 64 to a level: twice as fast as in float32.

    The sum of two values and a weighted difference still fit. Each product is off by less than 1/64
    level.
    """
    weights = tf.cast(tf.round(weights * 2.0**16), tf.int16)
    padded = _mirrored(image, weights.shape[0], 0)
    rows = _weighted(padded, image, weights, 0, _high_half)
    padded = _mirrored(tf.reshape(rows, tf.shape(image)), weights.shape[0], 1)
    blurred = _weighted(padded, image, weights, 1, _high_half)
    blurred = tf.bitwise.right_shift(blurred + 32, tf.constant(6, tf.int16))
    return tf.cast(tf.reshape(tf.clip_by_value(blurred, 0, 255), tf.shape(image)), tf.uint8)


def _high_half(first, second):
    """Return the upper 16 bits of a product of int16, as one instruction does."""
    product = tf.cast(first, tf.int32) * tf.cast(second, tf.int32)
    return tf.cast(tf.bitwise.right_shift(product, 16), tf.int16)


def blur_radius(sigma):
    """Return the radius at which a Gaussian is cut off: three `sigma`, rounded; Python integer."""
    return math.floor(TRUNCATE * sigma + 0.5)


def _gaussian_weights(sigma, radius):
    """Return the weights at the distances 1, 2... `radius`, float32; with the middle one, 1."""
    sigma = tf.maximum(tf.cast(sigma, tf.float32), 1e-3)
    distances = tf.range(1, radius + 1, dtype=tf.float32)
    sides = tf.exp(-0.5 * tf.square(distances / sigma))
    return sides / (1.0 + 2.0 * tf.reduce_sum(sides))


def _weighted(padded, image, weights, axis, multiply):
    """Convolve the rows or columns of `(height, width * channels)`, extended by `_mirrored`."""
    radius = weights.shape[0]
    height, width, channels = _validation.image_sizes(image)
    step, size = (1, height) if axis == 0 else (channels, width * channels)

    def shifted(distance):
        start = (radius + distance) * step
        part = padded[start : start + size] if axis == 0 else padded[:, start : start + size]
        if part.dtype == tf.uint8:
            part = tf.cast(part, weights.dtype)
            part = part * 64 if weights.dtype == tf.int16 else part
        return part

    middle = shifted(0)
    total, twice = middle, middle + middle
    for distance in range(1, radius + 1):
        pair, weight = shifted(-distance) + shifted(distance), weights[distance - 1]
        # By turns added and taken away, so that products cut off below do not sum up.
        if distance % 2:
            total += multiply(pair - twice, weight)
        else:
            total -= multiply(twice - pair, weight)
    return materialize(total, weights[0])


def _mirrored(image, radius, axis):
    """Extend `(height, width, channels)` on both sides of an axis by its mirror image.

    As often as is needed: a short image is mirrored again and again.

    Returns:
        `(height, width * channels)`, one of them larger by what was added.
    """
    size = _validation.image_sizes(image)[axis]
    places = tf.range(-radius, 0), tf.range(size, size + radius)
    places = [place % (2 * size) for place in places]
    before, after = (tf.minimum(place, 2 * size - 1 - place) for place in places)
    opaque = _first(image)

    def lines(part):
        return tf.reshape(part, [_validation.image_sizes(part)[0], -1])

    # Written out one by one: a concatenation of gathers would be searched for every pixel.
    before = materialize(lines(tf.gather(image, before, axis=axis)), opaque)
    after = materialize(lines(tf.gather(image, after, axis=axis)), opaque)
    return materialize(tf.concat([before, lines(image), after], axis=axis), opaque)


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
    low, high = _validation.check_spread("sigma", sigma, _validation.check_number, 0, math.inf)
    radius = blur_radius(high)

    def sample(draw):
        return {"sigma": draw.uniform("sigma", low, high, neutral=0.0)}

    def apply(image, sigma):
        return gaussian_blur(image, sigma, radius)

    return Operation(sample, apply)
