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

from augment import _barrier, _validation

INTERPOLATIONS = ("bilinear", "nearest")
FILLS = ("constant", "nearest", "reflect")

# Places are whole numbers of 2**-16 pixels: faster than floats and the same on every processor.
PLACE_BITS = 16
# The same for how far away a place is, 1 being the plane of the image.
_DEPTH_BITS = 24
# Weights of the pixels next to a place, for uint8: two of them and a value are 30 bits.
_WEIGHT_BITS = 11
# Both parts of a place stay below this, so that their sum has 32 bits.
_LIMIT = 2.0**30 - 2.0**16
# Twice the side of an image is such a place.
_LONGEST_SIDE = 2**13


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

    For uint8 images everything is computed in whole numbers: the same bits everywhere, at most 0.6
    grey levels from the exact value, rounding included, where places are within 4,000 pixels.

    Args:
        image: uint8, or float32 in `[0, 255]`, shape `(height, width, channels)`, sides of at most
            8192 pixels.
        matrix: float32 or float64, shape `(3, 3)`; maps places in the result to places in the
            image.
        interpolation: `"bilinear"`, or `"nearest"` for the value of the pixel whose centre is
            nearest.
        fill: What lies outside: `"constant"` for `value`, `"nearest"` for the pixel of the edge,
            `"reflect"` for the image mirrored at the centres of its edge pixels. Bilinear places
            between the outermost centres and what lies outside are blends of the two.
        value: Number in `[0, 255]`, or a tuple of one for each channel.
        perspective: Whether the last row of the matrix may be other than `(0, 0, 1)`; takes longer.

    Returns:
        Image of the same shape and dtype.

    Raises:
        ValueError: If a side is too long, or `value` holds another number of entries than the image
            has channels.
    """
    image, matrix = tf.convert_to_tensor(image), tf.convert_to_tensor(matrix)
    height, width, _ = _validation.image_sizes(image)
    x, y = (_projected if perspective else _affine)(matrix, height, width)
    return fetch(image, x, y, interpolation=interpolation, fill=fill, value=value)


def fetch(image, x, y, *, interpolation="bilinear", fill="constant", value=0.0):
    """Fetch each pixel of the result from the place in the image given for it.

    Args:
        image: As for `warp`.
        x: int32 `(height, width)`, places in units of 2**-16 pixels, at most 2**30 either way.
        y: Likewise.
        interpolation: As for `warp`.
        fill: As for `warp`.
        value: As for `warp`.

    Returns:
        Image of the same shape and dtype.
    """
    height, width, channels = _validation.image_sizes(image)
    if max(size or 0 for size in image.shape[:2]) > _LONGEST_SIDE:
        raise ValueError(
            f"images must have sides of at most {_LONGEST_SIDE} pixels to be warped, received: "
            f"{image.shape}"
        )
    value = _as_color(value, channels, image.dtype)
    if fill != "constant":
        x, y = _brought_inside(x, width, fill), _brought_inside(y, height, fill)
    pixels = tf.reshape(image, (-1, channels))
    if interpolation == "nearest":
        return _nearest(pixels, x, y, height, width, value)
    if fill == "reflect":
        # These take long to compute, and would be computed again for each channel.
        x, y = tf.unstack(_barrier.materialize(tf.stack([x, y]), x[0, 0]))
    return _bilinear(pixels, x, y, height, width, value)


def _as_color(value, channels, dtype):
    """Return the value outside as a tensor of the image's dtype, `()` or `(channels,)`."""
    if isinstance(value, (tuple, list)) and isinstance(channels, int) and len(value) != channels:
        raise ValueError(
            f"value must be a number or one for each of the {channels} channels, received: {value}"
        )
    return tf.cast(tf.round(value) if dtype == tf.uint8 else value, dtype)


def _nearest(pixels, x, y, height, width, value):
    x, y = (_whole(place + (1 << PLACE_BITS - 1)) for place in (x, y))
    inside = _is_inside(x, width) & _is_inside(y, height)
    # Twice as fast as when the place is computed again for each channel.
    chosen = _barrier.materialize(tf.where(inside, y * width + x, -1), x[0, 0])[..., None]
    return tf.where(chosen >= 0, tf.gather(pixels, tf.maximum(chosen[..., 0], 0)), value)


def _bilinear(pixels, x, y, height, width, value):
    whole = pixels.dtype == tf.uint8
    unit = 1 << _WEIGHT_BITS if whole else 1.0
    working = tf.int32 if whole else tf.float32
    rows, columns = _two_next_to(y, height, unit), _two_next_to(x, width, unit)
    total = 0
    for row, row_weight in rows:
        for column, column_weight in columns:
            pixel = tf.cast(tf.gather(pixels, row * width + column), working)
            total += pixel * (row_weight * column_weight)[..., None]
    # Sums of two weights are exact, also of floats: 0 remains for a place inside.
    inside = (rows[0][1] + rows[1][1]) * (columns[0][1] + columns[1][1])
    total += tf.cast(value, working) * (unit * unit - inside)[..., None]
    if not whole:
        return total
    half = 1 << 2 * _WEIGHT_BITS - 1
    return tf.cast(tf.bitwise.right_shift(total + half, 2 * _WEIGHT_BITS), tf.uint8)


def _two_next_to(place, size, unit):
    """Return index and weight of the pixels before and after each place; outside they weigh 0."""
    before = _whole(place)
    share = tf.bitwise.bitwise_and(place, (1 << PLACE_BITS) - 1)
    if isinstance(unit, int):
        shift = PLACE_BITS - _WEIGHT_BITS
        share = tf.bitwise.right_shift(share + (1 << shift - 1), shift)
    else:
        share = tf.cast(share, tf.float32) * 2.0**-PLACE_BITS
    return [
        (tf.clip_by_value(index, 0, size - 1), tf.where(_is_inside(index, size), weight, 0))
        for index, weight in ((before, unit - share), (before + 1, share))
    ]


def _whole(place):
    return tf.bitwise.right_shift(place, PLACE_BITS)


def _is_inside(index, size):
    return (index >= 0) & (index < size)


def _affine(matrix, height, width):
    """Return where the pixels of the result come from: x and y, int32 `(height, width)`."""
    return _linear(matrix[:2], height, width, [PLACE_BITS] * 2)


def _projected(matrix, height, width):
    """Return the same of a matrix with any last row."""
    bits = [PLACE_BITS, PLACE_BITS, _DEPTH_BITS]
    x, y, depth = (tf.cast(part, tf.float32) for part in _linear(matrix, height, width, bits))
    # Only a quotient of whole numbers, no sum that a processor may round in one step with it.
    near = tf.maximum(depth, 1.0) * 2.0**-_DEPTH_BITS
    places = [tf.clip_by_value(part / near, -_LIMIT, _LIMIT) for part in (x, y)]
    # What lies behind the eye is not seen: it is sent far outside.
    places = tf.round(tf.where(depth > 0, tf.stack(places), -_LIMIT))
    return tf.unstack(tf.cast(places, tf.int32))


def _linear(rows, height, width, bits):
    """Return `row . (x, y, 1) * 2**bits` for each pixel, int32 `(height, width)` for each row.

    The part of the column and the part of the row are rounded apart and then added: exact to one
    unit, with no multiplication left for each pixel.
    """
    rows = tf.cast(rows, tf.float64)
    scale = tf.constant([[2.0**entry] for entry in bits], tf.float64)
    middle = (tf.cast(width, tf.float64) - 1.0) / 2.0
    across = rows[:, :1] * (tf.cast(tf.range(width), tf.float64) - middle)
    down = rows[:, 1:2] * tf.cast(tf.range(height), tf.float64)
    down += rows[:, :1] * middle + rows[:, 2:]
    parts = tf.clip_by_value(tf.concat([across, down], axis=1) * scale, -_LIMIT, _LIMIT)
    # Else XLA computes both parts again, in float64, for each pixel: half the speed.
    parts = _barrier.materialize(tf.cast(tf.round(parts), tf.int32), rows[0, 0])
    return [parts[at, :width] + parts[at, width:, None] for at in range(len(bits))]


def _brought_inside(place, size, fill):
    """Return the place inside the image that holds the value of each place."""
    last = (size - 1) * (1 << PLACE_BITS)
    if fill == "reflect":
        period = tf.maximum(2 * last, 1)
        times = tf.floor(tf.cast(place, tf.float32) / tf.cast(period, tf.float32))
        place -= tf.cast(times, tf.int32) * period
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


def perspective_matrix(corners, height, width):
    """Move the corners of the image, and everything else as a flat picture seen from the side.

    Args:
        corners: Where the centres of the corner pixels go, shape `(..., 4, 2)`: x and y as shares
            of the way from the first to the last pixel, clockwise from the upper left corner. They
            must form a shape without dents around the centre of the image.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        float64 tensor `(..., 3, 3)`; the last row gives 1 at the centre.

    Source:
        Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3, here
        without its divisions: a multiple of the matrix does the same.
    """
    corners = tf.cast(corners, tf.float64)
    first, right, across, below = tf.unstack(corners, axis=-2)
    to_right, to_below, bend = right - across, below - across, first - right + across - below
    scale = _cross(to_right, to_below)[..., None]
    tilts = tf.stack([_cross(bend, to_below), _cross(to_right, bend)], axis=-1)
    columns = [
        (right - first) * scale + tilts[..., :1] * right,
        (below - first) * scale + tilts[..., 1:] * below,
        first * scale,
    ]
    last_row = tf.concat([tilts, scale], axis=-1)
    forward = tf.concat([tf.stack(columns, axis=-1), last_row[..., None, :]], axis=-2)
    # The inverse but for a factor, which the last line takes out.
    one, two, three = tf.unstack(forward, axis=-2)
    inverse = tf.stack(
        [tf.linalg.cross(two, three), tf.linalg.cross(three, one), tf.linalg.cross(one, two)],
        axis=-1,
    )
    sides = [tf.cast(tf.maximum(size - 1, 1), tf.float64) for size in (width, height)]
    sides = tf.stack([*sides, tf.constant(1.0, tf.float64)])
    matrix = inverse * sides[:, None] / sides
    middle = tf.stack([sides[0] / 2.0, sides[1] / 2.0, sides[2]])
    return matrix / tf.reduce_sum(matrix[..., 2:, :] * middle, axis=-1, keepdims=True)


def _cross(first, second):
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _about_centre(a, b, c, d, height, width):
    """Return `[[a, b], [c, d]]` about the centre as matrices `(..., 3, 3)`."""
    x, y = ((tf.cast(size, tf.float64) - 1.0) / 2.0 for size in (width, height))
    zero, one = tf.zeros_like(a), tf.ones_like(a)
    rows = [[a, b, x - a * x - b * y], [c, d, y - c * x - d * y], [zero, zero, one]]
    return _matrix(rows)


def _matrix(rows):
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
