"""Erase parts of images: random erasing, Cutout and GridMask."""

import math

import tensorflow as tf

from augment import _random, _validation
from augment._barrier import materialize
from augment._operation import Operation, operation

# Defaults of random erasing: shares of the image's area, and height divided by width.
SCALE = (0.02, 0.33)
RATIO = (0.3, 1 / 0.3)

# The paper's lengths of a unit on ImageNet, 96 to 224 pixels of 224, as shares of the image.
UNIT = (96 / 224, 1.0)

# Rows that are filled in one step of the loop over those of a rectangle.
_ROWS = 8

# Coordinates in a turned grid are whole numbers of 1 / 2**8 pixel.
_PLACE_BITS = 8


@operation
def random_erasing(*, probability=0.5, scale=SCALE, ratio=RATIO, fill="noise"):
    """Replace a random rectangle inside each image.

    The area is uniform over `scale` times the image's area, the aspect ratio (height to width) is
    log-uniform over `ratio`, the place is uniform over all where the rectangle lies wholly inside.
    A curriculum's strength scales `probability`.

    Args:
        probability: Chance in `[0, 1]` that an image is erased at all.
        scale: Lowest and highest area of the rectangle, as a share of the image in `(0, 1]`.
        ratio: Lowest and highest height divided by width, positive.
        fill: A number in `[0, 255]`; `"mean"`, each channel's mean over that image; or `"noise"`,
            each number of each erased pixel uniform over the whole numbers 0 to 255.

    Example:
        >>> images = tf.zeros((2, 32, 32, 3), tf.uint8)
        >>> random_erasing(images, [0, 0], probability=0.25, fill="mean").shape
        TensorShape([2, 32, 32, 3])

    Source:
        Zhong et al., "Random Erasing Data Augmentation", 2017, algorithm 1. There a rectangle that
        does not fit is thrown away and drawn again, area and ratio both, which favours small
        areas; here the ratio is drawn from the part of its range that fits the area (if none does,
        the nearest that fits), so the area stays uniform and nothing is tried twice. The ratio is
        log-uniform, as in torchvision and timm, so that upright and lying shapes are equally
        likely; in the paper it is uniform.
    """
    _validation.check_number("probability", probability, 0, 1)
    _validation.check_range("scale", scale, 0, 1)
    _validation.check_range("ratio", ratio, 0, math.inf)
    _validation.check_fill("fill", fill)

    def sample(draw):
        uniform = draw.uniform("", shape=(5,))
        height, width = _erased_size(
            uniform[:, 1], uniform[:, 2], draw.height, draw.width, scale, ratio
        )
        top = _random.uniform_to_integer(uniform[:, 3], draw.height - height + 1)
        left = _random.uniform_to_integer(uniform[:, 4], draw.width - width + 1)
        return {
            "selected": uniform[:, 0] < probability * draw.strength,
            "box": tf.stack([top, left, height, width], axis=1),
            "key": draw.keys("noise"),
        }

    def apply(image, box, key):
        return erase_box(image, box, fill, key)

    return Operation(sample, apply, scales="probability")


@operation
def cutout(*, size, probability=1.0, fill=0):
    """Replace a square centred on a random pixel of each image; it may reach over the border.

    A curriculum's strength scales `probability`.

    Args:
        size: Side of the square in pixels, at least 0; 0 leaves the images as they are. The square
            reaches from `centre - size // 2` up to, not including, `centre - size // 2 + size`.
        probability: Chance in `[0, 1]` that an image is cut at all.
        fill: As for `random_erasing`. The paper fills with zero after normalisation, which is the
            mean of the data: `"mean"` is nearer to it where the background is not black.

    Example:
        >>> images = tf.fill((2, 32, 32, 3), tf.constant(9, tf.uint8))
        >>> cutout(images, [0, 0], size=8).shape
        TensorShape([2, 32, 32, 3])

    Source:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        2017, section 3.2.
    """
    _validation.check_integer("size", size, 0)
    _validation.check_number("probability", probability, 0, 1)
    _validation.check_fill("fill", fill)

    def sample(draw):
        uniform = draw.uniform("", shape=(3,))
        top = _random.uniform_to_integer(uniform[:, 1], draw.height) - size // 2
        left = _random.uniform_to_integer(uniform[:, 2], draw.width) - size // 2
        sides = tf.fill(tf.shape(top), size)
        return {
            "selected": uniform[:, 0] < probability * draw.strength,
            "box": tf.stack([top, left, sides, sides], axis=1),
            "key": draw.keys("noise"),
        }

    def apply(image, box, key):
        return erase_box(image, box, fill, key)

    return Operation(sample, apply, scales="probability")


@operation
def random_grid_mask(*, keep=0.6, unit=UNIT, degrees=0, fill=0):
    """Replace the squares of a grid laid over each image, with a length and a place of its own.

    The grid is made of square units of `d` by `d` pixels; in each a square of `d - round(keep * d)`
    pixels is replaced, which leaves a share of about `1 - (1 - keep)**2` of the image. `d` is
    uniform over the lengths between the two shares of the image's shorter side in `unit`, rounded
    to whole pixels, at least 2; the place of the grid is uniform over the `d * d` there are. A
    curriculum's strength scales `probability`, as the paper raises it in the course of training.

    Args:
        keep: Share in `(0, 1)` of a unit's side that stays; the paper's `r`.
        unit: Shortest and longest side of a unit, as shares of the image's shorter side in
            `(0, 2]`. The paper has 96 to 224 of 224 pixels on ImageNet, 24 to 32 of 32 on CIFAR-10.
        degrees: Angles by which the grid is turned about the image's centre: a number `a` for
            `(-a, a)`, or lowest and highest, at most 360. The paper does not turn it; its published
            code does on ImageNet, by up to 360.
        fill: As for `random_erasing`.

    Example:
        >>> images = tf.fill((2, 32, 32, 3), tf.constant(9, tf.uint8))
        >>> random_grid_mask(images, [0, 0], unit=(0.25, 0.5)).shape
        TensorShape([2, 32, 32, 3])

    Source:
        Chen et al., "GridMask Data Augmentation", 2020, section 3.2, equations 1 to 4; and its
        code's `mode=1`, in which it is the squares that are replaced.
    """
    if _validation.check_number("keep", keep, 0, 1, open_low=True) == 1:
        raise ValueError("keep must be below 1, received: 1")
    _validation.check_range("unit", unit, 0, 2)
    angles = _validation.check_symmetric("degrees", degrees, 360)
    _validation.check_fill("fill", fill)
    turns = angles != (0.0, 0.0)

    def sample(draw):
        shorter = tf.cast(tf.minimum(draw.height, draw.width), tf.float64)
        low, high = (tf.maximum(tf.round(share * shorter), 2.0) for share in unit)
        length = tf.floor(low + (high - low + 1.0) * draw.uniform("length"))
        hole = length - tf.clip_by_value(tf.round(keep * length), 1.0, length - 1.0)
        corner = tf.floor(draw.uniform("place", shape=(2,)) * length[:, None])
        drawn = {
            "grid": tf.cast(tf.stack([length, hole, *tf.unstack(corner, axis=1)], 1), tf.int32),
            "key": draw.keys("noise"),
        }
        if turns:
            angle = draw.uniform("degrees", *angles) * (math.pi / 180)
            axes = tf.round(tf.stack([tf.cos(angle), tf.sin(angle)], axis=1) * 2.0**15)
            drawn["axes"] = tf.cast(axes, tf.int32)
        return drawn

    def apply(image, grid, key, axes=None):
        return erase_grid(image, grid, axes, fill, key)

    return Operation(sample, apply, scales="probability")


def erase_box(image, box, fill, key):
    """Replace a rectangle of an image; only the rows it lies in are touched.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`.
        box: int32 `(4,)`: top, left, height, width; may reach over the border.
        fill: A number in `[0, 255]`, `"mean"` or `"noise"`.
        key: uint32 scalar from which the noise is made.

    Returns:
        Same shape and dtype.
    """
    height, width, channels = _validation.image_sizes(image)
    line = width * channels
    values = _filling(image, fill, key, box[2])
    columns = tf.range(line)
    left, right = box[1] * channels, (box[1] + box[3]) * channels
    in_columns = (columns >= left) & (columns < right)
    top, bottom = tf.maximum(box[0], 0), tf.minimum(box[0] + box[2], height)
    # Few rows at a time, whole lines of numbers: a loop over the box alone, at the speed of a copy.
    count = tf.minimum(_ROWS, height) if tf.is_tensor(height) else min(_ROWS, height)

    def replace_rows(row, lines):
        rows = tf.minimum(row, height - count) + tf.range(count)
        inside = ((rows >= top) & (rows < bottom))[:, None] & in_columns
        changed = tf.where(inside, values(rows), tf.gather(lines, rows))
        return row + count, tf.tensor_scatter_nd_update(lines, rows[:, None], changed)

    lines = tf.reshape(image, (height, line))
    _, lines = tf.while_loop(lambda row, _: row < bottom, replace_rows, (top, lines))
    return tf.reshape(lines, (height, width, channels))


def erase_grid(image, grid, axes, fill, key):
    """Replace the squares of a grid in an image.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`.
        grid: int32 `(4,)`: side of a unit and of the square in it; row and column, below the side
            of a unit, at which a square begins.
        axes: int32 `(2,)`: cosine and sine, times `2**15`, of the angle by which the grid is turned
            about the image's centre, anticlockwise; or `None` for no turn.
        fill: A number in `[0, 255]`, `"mean"` or `"noise"`.
        key: uint32 scalar from which the noise is made.

    Returns:
        Same shape and dtype.
    """
    height, width, channels = _validation.image_sizes(image)
    values = _filling(image, fill, key, grid[0])
    if axes is None:
        in_rows = _in_square(tf.range(height), grid[0], grid[1], grid[2])
        in_columns = _in_square(tf.range(width * channels) // channels, grid[0], grid[1], grid[3])
        mask = materialize(in_rows, grid[0])[:, None] & materialize(in_columns, grid[0])
    else:
        mask = materialize(_turned_mask(height, width, grid, axes), grid[0])
        mask = tf.repeat(mask, channels, axis=1)
    # Whole lines of numbers run faster than pixels of three.
    lines = tf.reshape(image, (height, width * channels))
    changed = tf.where(mask, values(tf.range(height)), lines)
    return tf.reshape(changed, (height, width, channels))


def _in_square(places, length, side, start):
    """Return where `places` are in one of the stretches of `side` that begin every `length`."""
    return tf.math.floormod(places - start, length) < side


def _turned_mask(height, width, grid, axes):
    """Return bool `(height, width)`, true inside the squares of a turned grid."""
    # In whole numbers all the way, so that every compiler puts the edges in the same place: twice
    # the distance from the centre, then parts of a pixel, which float32 holds exactly.
    rows = (2 * tf.range(height) - (height - 1))[:, None]
    columns = (2 * tf.range(width) - (width - 1))[None, :]
    along = axes[0] * columns - axes[1] * rows
    down = axes[1] * columns + axes[0] * rows
    unit, side, *starts = tf.unstack(tf.cast(grid * 2**_PLACE_BITS, tf.float32))

    def inside(places, start):
        places = tf.cast(tf.bitwise.right_shift(places, 16 - _PLACE_BITS), tf.float32) - start
        # `tf.math.floormod` would run number by number. The quotient may be one off beside a whole
        # number, which `rest` tells.
        rest = places - unit * tf.floor(places / unit)
        return ((rest >= 0.0) & (rest < side)) | (rest >= unit)

    return inside(down, starts[0]) & inside(along, starts[1])


def _filling(image, fill, key, opaque):
    """Return a function of rows, int32 `(count,)`, that gives what fills them.

    What it gives has the dtype of the image and the shape `(count, width * channels)`, or one that
    broadcasts to it.
    """
    _, width, channels = _validation.image_sizes(image)
    if fill == "noise":
        return lambda rows: tf.cast(_noise_lines(rows, width * channels, key), image.dtype)
    if fill == "mean":
        means = materialize(_channel_means(image, opaque), opaque)
        line = materialize(tf.tile(means, [width]), opaque)
        return lambda rows: line
    value = tf.cast(tf.cast(fill, tf.float32), image.dtype)
    return lambda rows: value


def _noise_lines(rows, line, key):
    """Return uint8 `(count, line)`: rows of an image of noise whose lines are `line` bytes."""
    starts = tf.cast(rows * line, tf.uint32) * _random.NOISE_STEP
    return _random.noise_bytes(key + starts, line)


def _channel_means(image, opaque):
    """Return the image's mean of each channel, shape `(channels,)`, same dtype."""
    height, width, _ = _validation.image_sizes(image)
    if image.dtype != tf.uint8:
        return tf.reduce_mean(image, axis=(0, 1))
    # In whole numbers, rounded to nearest: exact, whatever the order of the sum.
    columns = materialize(tf.reduce_sum(tf.cast(image, tf.int32), axis=0), opaque)
    return tf.cast(
        (tf.reduce_sum(columns, axis=0) + height * width // 2) // (height * width), tf.uint8
    )


def _erased_size(area_uniform, ratio_uniform, height, width, scale, ratio):
    """Return heights and widths, int32 `(batch,)`, of rectangles that fit the image."""
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    area = (scale[0] + (scale[1] - scale[0]) * area_uniform) * height * width
    # sqrt(area * ratio) <= height and sqrt(area / ratio) <= width, in logarithms of the ratio:
    narrowest, widest = tf.math.log(area / width**2), tf.math.log(height**2 / area)
    low = tf.minimum(tf.maximum(narrowest, math.log(ratio[0])), widest)
    high = tf.minimum(tf.maximum(narrowest, math.log(ratio[1])), widest)
    drawn = tf.exp(low + (high - low) * ratio_uniform)
    return _to_pixels(tf.sqrt(area * drawn), height), _to_pixels(tf.sqrt(area / drawn), width)


def _to_pixels(side, limit):
    """Round lengths to whole pixels from 1 to `limit`."""
    return tf.cast(tf.minimum(tf.maximum(tf.round(side), 1.0), limit), tf.int32)
