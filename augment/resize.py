"""Crop and resize an image in one step."""

import numbers

import tensorflow as tf

from augment import _validation
from augment._barrier import materialize
from augment._loop import map_images

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")

# Most rows of the result made from bytes at a time, so that what lies between the two passes
# stays in the processor's cache.
_ROWS = 32

# Bits of a weight between two bytes, and of the fraction of a level between the two passes. A sum
# of both passes is below 2**31: 255 * 2**(8 + 15) and half of its last bit.
_WEIGHT_BITS = 15
_LEVEL_BITS = 8


def crop_and_resize(image, box, size, *, window=None, interpolation="bilinear", antialias=False):
    """Resize a rectangle of an image and cut a window out of the result; only that is computed.

    Nothing outside the rectangle is looked at, so the result is that of cropping first.

    Args:
        image: uint8 or float32, `(height, width, channels)`.
        box: int32 `(4,)`: top, left, height and width of the rectangle, inside the image.
        size: Height and width of the result, two Python integers.
        window: int32 `(4,)`: height and width to which the rectangle is resized, row and column of
            that at which the result begins. `None` resizes to `size`, which is then all of it.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: Whether to widen the kernel where the rectangle is made smaller.

    Returns:
        `(*size, channels)`, same dtype; rounded to nearest for uint8.
    """
    window = tf.stack([*size, 0, 0]) if window is None else window
    rows = _Axis(box[0], box[2], window[0], window[2], size[0])
    columns = _Axis(box[1], box[3], window[1], window[3], size[1])
    if interpolation == "nearest":
        return tf.gather(tf.gather(image, rows.nearest()), columns.nearest(), axis=1)
    if interpolation == "bilinear" and not antialias and image.dtype == tf.uint8:
        return _bilinear_bytes(image, rows, columns)
    return _filtered(image, rows, columns, interpolation, antialias)


class _Axis:
    """Where the rows, or the columns, of the result lie in the image.

    Attributes:
        start: int32 scalar, first pixel of the rectangle.
        length: int32 scalar, pixels of it.
        scaled: int32 scalar, pixels to which these are resized.
        count: Pixels of the result, a Python integer.
        doubled: int32 `(count,)`: the middle of each pixel of the result, counted from the edge of
            the rectangle in steps of `1 / (2 * scaled)` of a pixel. Whole numbers, so that all
            compilers agree.
    """

    def __init__(self, start, length, scaled, first, count):
        self.start, self.length, self.scaled, self.count = start, length, scaled, count
        self.doubled = (2 * (tf.range(count) + first) + 1) * length

    def nearest(self):
        """Return int32 `(count,)`: the pixel of the image that each lies in."""
        return self.start + self.doubled // (2 * self.scaled)

    def between(self):
        """Return int32 `(count,)` twice: the pixel before each middle, and the next one's weight.

        Weights are in `[0, 2**_WEIGHT_BITS)`; 0 where there is no next pixel in the rectangle.
        """
        places = self.doubled - self.scaled
        before = tf.math.floordiv(places, 2 * self.scaled)
        rest = places - before * 2 * self.scaled
        inside = (before >= 0) & (before < self.length - 1)
        weights = tf.where(inside, (rest * 2**_WEIGHT_BITS) // (2 * self.scaled), 0)
        return self.start + tf.clip_by_value(before, 0, self.length - 1), weights


def _bilinear_bytes(image, rows, columns):
    """Interpolate between four bytes, in whole numbers: the same in every compiler, and faster."""
    height, width, channels = _validation.image_sizes(image)
    lines = tf.reshape(image, (height, width * channels))
    above, down = rows.between()
    left, right = (materialize(values, rows.length) for values in columns.between())

    def some_rows(places):
        above, below, down = places
        first = tf.cast(tf.gather(lines, above), tf.int32)
        second = tf.cast(tf.gather(lines, below), tf.int32)
        mixed = _mixed(first, second, down[:, None], _WEIGHT_BITS - _LEVEL_BITS)
        mixed = tf.cast(materialize(tf.cast(mixed, tf.uint16), rows.length), tf.int32)
        # Gathers are what takes the time: one gets each pixel and its right neighbour.
        shifted = tf.pad(mixed[:, channels:], [[0, 0], [0, channels]])
        pairs = tf.bitwise.bitwise_or(mixed, tf.bitwise.left_shift(shifted, 16))
        pairs = tf.reshape(materialize(pairs, rows.length), (-1, width, channels))
        pairs = tf.cast(tf.gather(pairs, left, axis=1), tf.uint32)
        first = tf.cast(tf.bitwise.bitwise_and(pairs, 0xFFFF), tf.int32)
        second = tf.cast(tf.bitwise.right_shift(pairs, 16), tf.int32)
        mixed = _mixed(first, second, right[:, None], _WEIGHT_BITS + _LEVEL_BITS)
        return tf.cast(mixed, tf.uint8)

    # In two groups of rows or more: XLA writes what a loop makes straight into the result, and
    # takes twice as long for the gather if it makes all rows at once.
    most = max(1, min(_ROWS, rows.count // 2))
    count = max(number for number in range(1, most + 1) if rows.count % number == 0)
    places = above, tf.minimum(above + 1, height - 1), down
    groups = tuple(tf.reshape(place, (-1, count)) for place in places)
    signature = tf.TensorSpec((count, columns.count, image.shape[2]), tf.uint8)
    result = map_images(some_rows, groups, signature)
    return tf.reshape(result, (rows.count, columns.count, channels))


def _mixed(first, second, weight, drop):
    """Return `first + (second - first) * weight`, `drop` bits of the product rounded away."""
    total = first * 2**_WEIGHT_BITS + (second - first) * weight
    return tf.bitwise.right_shift(total + 2 ** (drop - 1), drop)


class _Taps:
    """The pixels of an axis that add to each of the result, and their weights.

    Attributes:
        steps: int32 scalar, how many pixels are added.
    """

    def __init__(self, axis, interpolation, antialias):
        self._axis = axis
        self._kernel, radius = _KERNELS[interpolation]
        # As far as the kernel reaches for each 1 of its argument, times `scaled`.
        self._stretch = tf.maximum(axis.length, axis.scaled) if antialias else axis.scaled
        reach = radius * self._stretch
        self.steps = (2 * reach + axis.scaled - 1) // axis.scaled
        # The first pixel, counted from the start of the rectangle, and how far its middle is beyond
        # that of the result's pixel, in steps of `1 / (2 * scaled)` of a pixel. In whole numbers:
        # XLA may compute this several times, and must find the same pixel.
        self._first = tf.math.floordiv(axis.doubled - 2 * reach + axis.scaled, 2 * axis.scaled)
        self._beyond = (2 * self._first + 1) * axis.scaled - axis.doubled

        def add(step, total):
            return step + 1, total + self._weight(step)

        zeros = tf.zeros(axis.count)
        self._total = tf.while_loop(lambda step, _: step < self.steps, add, (0, zeros))[1]

    def at(self, step):
        """Return the pixel of the image and its weight, for each pixel of the result."""
        last = self._axis.length - 1
        index = self._axis.start + tf.clip_by_value(self._first + step, 0, last)
        weight = self._weight(step) / self._total
        return materialize(index, self.steps), materialize(weight, self.steps)[:, None]

    def _weight(self, step):
        place = self._first + step
        beyond = tf.cast(self._beyond + 2 * step * self._axis.scaled, tf.float32)
        weight = self._kernel(beyond / tf.cast(2 * self._stretch, tf.float32))
        return tf.where((place >= 0) & (place < self._axis.length), weight, 0.0)


def _filtered(image, rows, columns, interpolation, antialias):
    """Add up pixels weighted by a kernel, along columns and then along rows."""
    height, width, channels = _validation.image_sizes(image)
    lines = tf.reshape(image, (height, width * channels))
    down, across = (_Taps(axis, interpolation, antialias) for axis in (rows, columns))

    def add_row(step, total):
        index, weight = down.at(step)
        return step + 1, total + weight * tf.cast(tf.gather(lines, index), tf.float32)

    def add_column(step, total):
        index, weight = across.at(step)
        return step + 1, total + weight * tf.gather(between, index, axis=1)

    empty = tf.zeros((rows.count, width * channels))
    between = tf.while_loop(lambda step, _: step < down.steps, add_row, (0, empty))[1]
    between = tf.reshape(between, (rows.count, width, channels))
    empty = tf.zeros((rows.count, columns.count, channels))
    result = tf.while_loop(lambda step, _: step < across.steps, add_column, (0, empty))[1]
    if image.dtype == tf.uint8:
        return tf.cast(tf.clip_by_value(result, 0.0, 255.0) + 0.5, tf.uint8)
    return result


def _triangle(distance):
    return tf.maximum(1.0 - tf.abs(distance), 0.0)


def _cubic(distance):
    """Return Keys' cubic of parameter -1/2, which is also PIL's and TensorFlow's."""
    distance = tf.abs(distance)
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, 0.0))


# The kernel of each interpolation, and the distance at which it ends.
_KERNELS = {"bilinear": (_triangle, 1), "bicubic": (_cubic, 2)}


def scaled_sizes(height, width, shorter_side):
    """Return height and width, int32, after resizing the shorter one to `shorter_side`.

    The longer one is rounded to nearest.

    Args:
        height: Integer or int32 tensor.
        width: Likewise.
        shorter_side: Integer or int32 tensor, which may have a batch axis.
    """
    shorter = tf.minimum(height, width)
    return tuple((2 * side * shorter_side + shorter) // (2 * shorter) for side in (height, width))


def check_size(name, value):
    """Return a height and a width of at least 1: two numbers, or one for both; else raise."""
    sides = (value, value) if isinstance(value, numbers.Integral) else value
    try:
        height, width = (_validation.check_integer(name, side, 1) for side in sides)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be height and width, integers of at least 1, or one for both, "
            f"received: {value!r}"
        ) from None
    return height, width


def check_resize(interpolation, antialias):
    """Raise `ValueError` if an argument of the resizing is out of range."""
    _validation.check_choice("interpolation", interpolation, INTERPOLATIONS)
    _validation.check_choice("antialias", antialias, (True, False))
    if antialias and interpolation == "nearest":
        raise ValueError("antialias must be False for interpolation='nearest', received: True")


def check_shorter_side(name, value, size):
    """Return a length for the shorter side as an int; raise if `size` does not fit into it."""
    if _validation.check_integer(name, value, 1) < max(size):
        raise ValueError(
            f"{name} must be at least the larger side of size, {max(size)}, received: {value}"
        )
    return int(value)
