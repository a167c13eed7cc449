"""Bend images like rubber."""

import math
import numbers

import tensorflow as tf

from augment import _random, _validation, geometry
from augment._operation import Operation, operation

# Points outside the image, in deviations: what lies farther adds less than 1e-6 of the variance.
_REACH = 3
_LARGEST_SIGMA = 1000.0


@operation
def random_elastic(*, alpha=34.0, sigma=4.0, interpolation="bilinear", fill="nearest", value=0):
    """Move the pixels of each image by two smooth random fields of its own.

    Each field is uniform noise in `(-1, 1)`, smoothed by a Gaussian of deviation `sigma` and
    multiplied by `alpha`. Its mean is 0 and its standard deviation `alpha / (sqrt(12 pi) sigma)`,
    about `0.163 alpha / sigma` pixels. With `alpha = 2.5 sigma ** 2` the image is folded over at
    one place in a thousand, below half of that practically nowhere.

    The noise is drawn at points `sigma` apart rather than at every pixel, and so much larger that
    the variance stays: the covariances are the same to 0.03%, and the cost does not grow with
    `sigma`. Large moves are a little rarer (kurtosis 2.8, not 3).

    Args:
        alpha: Strength in pixels, at least 0; two numbers are the least and greatest of a uniform
            draw for each image.
        sigma: Smoothness in pixels, in `[1, 1000]`.
        interpolation: `"bilinear"`, or `"nearest"` for the nearest pixel.
        fill: What lies outside: `"constant"` for `value`, `"nearest"` for the pixel of the edge,
            `"reflect"` for the image mirrored there.
        value: Number in `[0, 255]`, or a tuple of one for each channel, for `"constant"`.

    Example:
        >>> images = tf.cast(tf.random.uniform((2, 28, 28, 1)) * 255, tf.uint8)
        >>> random_elastic(images, [0, 0], alpha=34, sigma=4).shape
        TensorShape([2, 28, 28, 1])

    Source:
        Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to
        Visual Document Analysis", 2003, section 2; `alpha` and `sigma` are theirs, and the
        defaults are their choice for digits of 29 by 29 pixels.
    """
    if isinstance(alpha, numbers.Real):
        alpha = alpha, alpha
    alpha = _validation.check_interval("alpha", alpha, 0, math.inf)
    sigma = _validation.check_number("sigma", sigma, 1, _LARGEST_SIGMA)
    warp = dict(geometry.check_warp(interpolation, fill, value))

    def sample(draw):
        return {
            "alpha": draw.uniform("alpha", *alpha, neutral=0.0),
            "key": draw.keys("noise"),
        }

    def apply(image, alpha, key):
        return bend(image, alpha, key, sigma=sigma, **warp)

    return Operation(sample, apply)


def bend(image, alpha, key, *, sigma, interpolation="bilinear", fill="nearest", value=0.0):
    """Move the pixels of one image by two smooth random fields.

    Args:
        image: uint8, or float32 in `[0, 255]`, shape `(height, width, channels)`.
        alpha: float32 scalar.
        key: uint32 scalar that the noise is made from.
        sigma: Number.
        interpolation: As for `geometry.warp`.
        fill: As for `geometry.warp`.
        value: As for `geometry.warp`.

    Returns:
        Image of the same shape and dtype.
    """
    height, width, _ = _validation.image_sizes(image)
    unit = 1 << geometry.PLACE_BITS
    moves = displacements(alpha, key, height, width, sigma) * float(unit)
    moves = tf.cast(tf.round(tf.clip_by_value(moves, -(2.0**29), 2.0**29)), tf.int32)
    x = tf.range(width) * unit + moves[:, 0]
    y = tf.range(height)[:, None] * unit + moves[:, 1]
    return geometry.fetch(image, x, y, interpolation=interpolation, fill=fill, value=value)


def displacements(alpha, key, height, width, sigma):
    """Return the moves to the right and down in pixels, float32 `(height, 2, width)`."""
    rows, columns = _points(height, sigma), _points(width, sigma)
    noise = tf.cast(_random.noise_bytes(key, rows * 2 * columns), tf.float32)
    # The middles of 256 equal steps from -1 to 1.
    noise = tf.reshape((noise - 127.5) * (alpha / 128.0), (rows, 2 * columns))
    smooth = _gaussians(height, rows, sigma) @ noise
    smooth = tf.reshape(smooth, (2 * height, columns))
    smooth = tf.matmul(smooth, _gaussians(width, columns, sigma), transpose_b=True)
    return tf.reshape(smooth, (height, 2, width))


def _points(size, sigma):
    """Return how many points, `sigma` apart, lie along a side and around it."""
    if isinstance(size, int):
        return math.ceil((size - 1) / sigma) + 1 + 2 * _REACH
    steps = tf.math.ceil(tf.cast(size - 1, tf.float64) / sigma)
    return tf.cast(steps, tf.int32) + (1 + 2 * _REACH)


def _gaussians(size, points, sigma):
    """Return what noise at each point weighs at each pixel, float32 `(size, points)`.

    The squares in a row add up to `1 / (2 sqrt(pi) sigma)`, as do those of a Gaussian of sum 1 over
    all pixels; the variance of the noise shrinks by this.
    """
    places = tf.cast(tf.range(points) - _REACH, tf.float32)
    distances = tf.cast(tf.range(size), tf.float32)[:, None] / sigma - places
    return tf.exp(-0.5 * distances**2) / math.sqrt(2.0 * math.pi * sigma)
