"""Matrices that say where the pixels of an image come from, and the warp that fetches them.

A matrix maps places `(x, y, 1)` in the result to places in the image, in pixels; the centre of the
first pixel is `(0, 0)`, x runs right and y down. What is done first stands first in a product:
`rotation @ translation` turns the image, then moves it.

Source:
    Szeliski, "Computer Vision: Algorithms and Applications", 2nd edition 2022, sections 2.1 (the
    matrices) and 3.6.1 (inverse warping).
"""

import math

import tensorflow as tf

from augment import _validation

INTERPOLATIONS = ("bilinear", "nearest")
FILLS = ("constant", "nearest", "reflect")

# Places are whole numbers of 2**-16 pixels: faster than floats and the same on every processor.
_BITS = 16
# Two parts of a place, in pixels, stay below this, so that their sum has 32 bits.
_FARTHEST = 2**14 - 1


def check_warp(interpolation, fill, value):
    """Return the arguments of `warp` as a tuple of pairs, for `Operation`, or raise `ValueError`.

    Args:
        interpolation: `"bilinear"` or `"nearest"`.
        fill: `"constant"`, `"nearest"` or `"reflect"`.
        value: Number in `[0, 255]`, or a tuple of one for each channel.
    """
    _validation.check_choice("interpolation", interpolation, INTERPOLATIONS)
    _validation.check_choice("fill", fill, FILLS)
    if isinstance(value, (tuple, list)):
        value = tuple(_validation.check_number("value", entry, 0, 255) for entry in value)
    else:
        value = _validation.check_number("value", value, 0, 255)
    return (("interpolation", interpolation), ("fill", fill), ("value", value))


def warp(image, matrix, *, interpolation="bilinear", fill="constant", value=0.0, perspective=False):
    """Fetch each pixel of the result from the place in the image that a matrix maps it to.

    Args:
        image: uint8, or float32 in `[0, 255]`, shape `(height, width, channels)`.
        matrix: float32 or float64, shape `(3, 3)`; maps places in the result to places in the
            image.
        interpolation: `"bilinear"`, or `"nearest"` for the value of the pixel whose centre is
            nearest.
        fill: What lies outside: `"constant"` for `value`, `"nearest"` for the pixel of the edge,
            `"reflect"` for the image mirrored at the centres of its edge pixels. Pixels from within
            one pixel of the edge blend with it.
        value: Number in `[0, 255]`, or a tuple of one for each channel.
        perspective: Whether the last row of the matrix may be other than `(0, 0, 1)`.

    Returns:
        Image of the same shape and dtype.

    Raises:
        ValueError: If `value` holds another number of entries than the image has channels.
    """
    height, width = _sizes(image)
    places = (_projected if perspective else _affine)(tf.cast(matrix, tf.float64), height, width)
    x, y = map(_brought_inside, places, (width, height), (fill, fill))
    padded = _padded(image, value)
    pixels = tf.reshape(padded, (-1, padded.shape[-1]))
    if interpolation == "nearest":
        x, y = _whole(x + (1 << _BITS - 1)), _whole(y + (1 << _BITS - 1))
        return tf.gather(pixels, (y + 2) * (width + 4) + (x + 2))
    base = (_whole(y) + 2) * (width + 4) + (_whole(x) + 2)
    x, y = _share(x), _share(y)
    above = _blend(pixels, base, base + 1, x)
    below = _blend(pixels, base + (width + 4), base + (width + 5), x)
    blended = above + (below - above) * y
    return tf.cast(blended + 0.5, tf.uint8) if image.dtype == tf.uint8 else blended


def _sizes(image):
    """Return height and width, Python integers where known."""
    dynamic = tf.shape(image)
    return tuple(
        dynamic[axis] if size is None else size for axis, size in enumerate(image.shape[:2])
    )


def _whole(place):
    return tf.bitwise.right_shift(place, _BITS)


def _share(place):
    share = tf.bitwise.bitwise_and(place, (1 << _BITS) - 1)
    return tf.cast(share, tf.float32)[..., None] * 2.0**-_BITS


def _blend(pixels, left, right, share):
    left = tf.cast(tf.gather(pixels, left), tf.float32)
    right = tf.cast(tf.gather(pixels, right), tf.float32)
    return left + (right - left) * share


def _padded(image, value):
    """Return the image with two pixels of `value` around it."""
    paddings = [[2, 2], [2, 2], [0, 0]]
    if not isinstance(value, tuple):
        if image.dtype == tf.uint8:
            value = round(value)
        return tf.pad(image, paddings, constant_values=tf.cast(value, image.dtype))
    if image.shape[-1] not in (None, len(value)):
        raise ValueError(
            f"value must be a number or {image.shape[-1]} of them, one for each channel, received: "
            f"{value}"
        )
    color = tf.constant([round(entry) for entry in value] if image.dtype == tf.uint8 else value)
    inside = tf.pad(tf.ones_like(image[..., :1], tf.bool), paddings)
    return tf.where(inside, tf.pad(image, paddings), tf.cast(color, image.dtype))


def _affine(matrix, height, width):
    """Return where the pixels of the result come from, as two int32 `(height, width)`."""
    return tuple(_linear(matrix[row], height, width, 2.0**_BITS) for row in range(2))


def _projected(matrix, height, width):
    """Return the same of a matrix with any last row."""
    x, y = (tf.cast(place, tf.float32) for place in _affine(matrix, height, width))
    depth = tf.cast(_linear(matrix[2], height, width, 2.0**24), tf.float32) * 2.0**-24
    farthest = float(_FARTHEST << _BITS)
    # What lies behind the eye is not seen.
    return tuple(
        tf.cast(
            tf.round(
                tf.where(depth > 0, tf.clip_by_value(place / depth, -farthest, farthest), -farthest)
            ),
            tf.int32,
        )
        for place in (x, y)
    )


def _linear(row, height, width, scale):
    """Return `row . (x, y, 1) * scale` for each pixel as int32 `(height, width)`.

    The part of the column and the part of the row are rounded apart and then added: exact to one
    unit, and no product is left for each pixel.
    """
    middle = (tf.cast(width, tf.float64) - 1.0) / 2.0
    columns = row[0] * (tf.cast(tf.range(width), tf.float64) - middle)
    rows = row[1] * tf.cast(tf.range(height), tf.float64) + (row[0] * middle + row[2])
    farthest = float(_FARTHEST << _BITS)
    columns, rows = (
        tf.cast(tf.round(tf.clip_by_value(part * scale, -farthest, farthest)), tf.int32)
        for part in (columns, rows)
    )
    return columns + rows[:, None]


def _brought_inside(place, size, fill):
    """Return places inside the padded image that hold the values of the places given."""
    if fill == "constant":
        return tf.clip_by_value(place, -2 << _BITS, size << _BITS)
    last = (size - 1) * (1 << _BITS)
    if fill == "reflect":
        period = tf.maximum(2 * last, 1)
        times = tf.floor(tf.cast(place, tf.float32) / tf.cast(period, tf.float32))
        place = place - tf.cast(times, tf.int32) * period
        # The quotient may have been rounded to the next whole number: both sides are mirrored.
        place = tf.abs(last - tf.abs(tf.abs(place) - last))
    return tf.clip_by_value(place, 0, last)


def rotation_matrix(degrees, height, width):
    """Turn the content anticlockwise by `degrees` about the centre of the image.

    Args:
        degrees: Number, or tensor of any shape.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        float64 tensor of the shape of `degrees` and `(3, 3)`.

    Example:
        >>> tf.cast(tf.round(rotation_matrix(90.0, 5, 5)), tf.int32).numpy().tolist()
        [[0, -1, 4], [1, 0, 0], [0, 0, 1]]
    """
    angle = tf.cast(degrees, tf.float64) * (math.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return _about_centre(cosine, -sine, sine, cosine, height, width)


def translation_matrix(right, down):
    """Move the content by `right` and `down` pixels, numbers or tensors of one shape."""
    right, down = tf.cast(right, tf.float64), tf.cast(down, tf.float64)
    one, zero = tf.ones_like(right), tf.zeros_like(right)
    return _matrix([[one, zero, -right], [zero, one, -down], [zero, zero, one]])


def zoom_matrix(horizontal, vertical, height, width):
    """Enlarge the content by two factors (below 1: shrink it) about the centre of the image."""
    horizontal, vertical = (1.0 / tf.cast(factor, tf.float64) for factor in (horizontal, vertical))
    zero = tf.zeros_like(horizontal)
    return _about_centre(horizontal, zero, zero, vertical, height, width)


def shear_matrix(horizontal, vertical, height, width):
    """Shear the content about the centre of the image, as PIL and torchvision do.

    Args:
        horizontal: Tangent of the angle: `x + horizontal * y` is the place in the image for x.
        vertical: Likewise: `y + vertical * x` for y.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        float64 tensor of the shape of the factors and `(3, 3)`.
    """
    horizontal, vertical = tf.cast(horizontal, tf.float64), tf.cast(vertical, tf.float64)
    one = tf.ones_like(horizontal)
    return _about_centre(one, horizontal, vertical, one, height, width)


def _about_centre(a, b, c, d, height, width):
    """Return `[[a, b], [c, d]]` about the centre as matrices `(..., 3, 3)`."""
    x, y = ((tf.cast(size, tf.float64) - 1.0) / 2.0 for size in (width, height))
    zero, one = tf.zeros_like(a), tf.ones_like(a)
    rows = [[a, b, x - a * x - b * y], [c, d, y - c * x - d * y], [zero, zero, one]]
    return _matrix(rows)


def _matrix(rows):
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
