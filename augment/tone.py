"""Change the tones of images level by level: invert, posterize, solarize, equalize, autocontrast.

Each function of one image treats every channel alike and on its own, whatever their number (a
fourth one is not taken for transparency). It takes uint8 or float32 in `[0, 255]` and returns the
same dtype; the first three take batches as well, with an argument for each image. Where an
operation is defined on the 256 levels of uint8 (posterize, equalize, autocontrast), a float image
is rounded to them first, so that both give the same.
"""

import functools

import tensorflow as tf

from augment import _validation
from augment._barrier import materialize
from augment._loop import map_images
from augment._operation import Operation, each_pixel, operation


def invert(image):
    """Return `255 - image`: uint8 or float32 in `[0, 255]`, same dtype and shape out."""
    return tf.constant(255, image.dtype) - image


def posterize(image, bits):
    """Keep the highest `bits` bits of each value, as `PIL.ImageOps.posterize` does.

    Args:
        image: uint8, or float32 in `[0, 255]` (rounded to whole levels first).
        bits: Scalar integer in `[0, 8]`; 8 changes nothing, 0 is black.

    Returns:
        Same shape and dtype.
    """
    cut = 8 - tf.cast(bits, tf.int32)
    mask = tf.cast(tf.bitwise.left_shift(tf.bitwise.right_shift(255, cut), cut), tf.uint8)
    return tf.cast(tf.bitwise.bitwise_and(_levels(image), mask), image.dtype)


def solarize(image, threshold):
    """Invert the values that are not below `threshold`, as `PIL.ImageOps.solarize` does.

    Args:
        image: uint8 or float32 in `[0, 255]`.
        threshold: Scalar number; above 255 nothing is inverted, at 0 everything is.

    Returns:
        Same shape and dtype.
    """
    return tf.where(_is_below(image, threshold), image, invert(image))


def solarize_add(image, amount, threshold=128):
    """Add `amount` to the values below `threshold`, clipped to `[0, 255]`.

    Args:
        image: uint8 or float32 in `[0, 255]`.
        amount: Scalar number, may be negative; rounded for uint8 images.
        threshold: Scalar number.

    Returns:
        Same shape and dtype.

    Source:
        "SolarizeAdd" of RandAugment's published code (Cubuk et al., 2019).
    """
    if image.dtype == tf.uint8:
        amount = tf.cast(tf.round(tf.cast(amount, tf.float32)), tf.int16)
        raised = tf.clip_by_value(tf.cast(image, tf.int16) + amount, 0, 255)
    else:
        raised = tf.clip_by_value(image + tf.cast(amount, image.dtype), 0.0, 255.0)
    return tf.where(_is_below(image, threshold), tf.cast(raised, image.dtype), image)


def _is_below(image, threshold):
    threshold = tf.cast(threshold, tf.float32)
    if image.dtype == tf.uint8:
        # Whole numbers are below a number if they are below the next whole one; int16 holds 256.
        threshold = tf.cast(tf.math.ceil(tf.clip_by_value(threshold, 0.0, 256.0)), tf.int16)
        return tf.cast(image, tf.int16) < threshold
    return image < threshold


def equalize(image):
    """Flatten the histogram of each channel, as `PIL.ImageOps.equalize` does.

    With `h` the histogram, `step = (number of pixels - those of the highest level present) // 255`
    and level `i` becomes `(step // 2 + h[0] + ... + h[i - 1]) // step`, at most 255. A channel
    stays as it is if `step` is 0: if it has one level, or hardly any pixels.

    Args:
        image: uint8, or float32 in `[0, 255]` (rounded to whole levels first).

    Returns:
        Same shape and dtype.
    """
    levels = _levels(image)
    counts = _histogram(levels)
    upto = tf.cumsum(counts, axis=0)
    total = upto[-1]
    highest = tf.reduce_max(tf.where(upto < total, upto, 0), axis=0)
    step = highest // 255
    table = (step // 2 + upto - counts) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256)[:, None])
    return tf.cast(_look_up(levels, table), image.dtype)


def autocontrast(image, cutoff=0):
    """Stretch each channel to the whole range, as `PIL.ImageOps.autocontrast` does.

    Level `i` becomes `i * scale - low * scale`, cut off to a whole number in `[0, 255]`, with
    `scale = 255 / (high - low)`. A channel stays as it is if it has one level.

    Args:
        image: uint8, or float32 in `[0, 255]` (rounded to whole levels first).
        cutoff: Per cent of the pixels, in `[0, 50)`, that may be clipped at each end; Python
            number. `low` and `high` are the lowest and highest level of the others.

    Returns:
        Same shape and dtype.
    """
    levels = _levels(image)
    scale, offset = _stretch(levels, cutoff)
    # Were the product of the offset not written out, it would go unrounded into a fused
    # multiply-subtract.
    offset = materialize(offset, _opaque(levels))
    return tf.cast(_stretched(levels, scale, offset), image.dtype)


def _autocontrast_batch(images, cutoff):
    """Return `autocontrast` of each of a batch of images, as float32."""

    def stretch(image):
        return _stretch(_levels(image), cutoff)

    channels = tf.TensorSpec([images.shape[-1]], tf.float64)
    scale, offset = map_images(stretch, images, (channels, channels))
    return _stretched(_levels(images), scale[:, None, None], offset[:, None, None])


def _stretch(levels, cutoff):
    """Return what to multiply each channel by and then to take off, float64 `(channels,)`."""
    low, high = _extremes(levels) if cutoff == 0 else _percentiles(levels, cutoff)
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float64)
    offset = tf.cast(low, tf.float64) * scale
    stays = high <= low
    scale = tf.where(stays, tf.ones_like(scale), scale)
    return scale, tf.where(stays, tf.zeros_like(offset), offset)


def _stretched(levels, scale, offset):
    """Return `levels * scale - offset` as whole numbers in `[0, 255]`, float32.

    Python's arithmetic, bit for bit, in float64: where the true value is whole, what is left of it
    after rounding decides. The maximum changes nothing, but stands between the product and the
    difference, which would else become one step that does not round the product.
    """
    products = tf.maximum(tf.cast(levels, tf.float64) * scale, 0.0)
    return tf.clip_by_value(tf.cast(tf.floor(products - offset), tf.float32), 0.0, 255.0)


def _levels(image):
    """Return uint8 as it is, floats rounded to it."""
    if image.dtype == tf.uint8:
        return image
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0) + 0.5, tf.uint8)


def _opaque(levels):
    return tf.reshape(levels, [-1])[0]


def _channel_offsets(levels):
    """Return int32 `(channels,)`: where each channel's 256 entries start."""
    channels = levels.shape[-1]
    return tf.range(tf.shape(levels)[-1] if channels is None else channels) * 256


def _histogram(levels):
    """Count levels: uint8 `(height, width, channels)` to int32 `(256, channels)`."""
    offsets = _channel_offsets(levels)
    places = tf.reshape(tf.cast(levels, tf.int32) + offsets, [-1, 1])
    counts = tf.zeros([tf.size(offsets) * 256], tf.int32)
    counts = tf.tensor_scatter_nd_add(counts, places, tf.ones_like(places[:, 0]))
    return tf.transpose(tf.reshape(counts, [-1, 256]))


def _look_up(levels, table):
    """Replace levels by those of an int32 table `(256, channels)`; returns uint8."""
    table = tf.reshape(tf.transpose(tf.cast(table, tf.uint8)), [-1])
    table = materialize(table, _opaque(levels))
    return tf.gather(table, tf.cast(levels, tf.int32) + _channel_offsets(levels))


def _extremes(levels):
    """Return the lowest and highest level of each channel, int32 `(channels,)`."""
    channels = tf.shape(levels)[2]
    # Whole rows first, which XLA does 32 bytes at a time; then the few that are left.
    rows = tf.reshape(levels, [tf.shape(levels)[0], -1])
    low = tf.reduce_min(tf.reshape(tf.reduce_min(rows, axis=0), [-1, channels]), axis=0)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(rows, axis=0), [-1, channels]), axis=0)
    return tf.cast(low, tf.int32), tf.cast(high, tf.int32)


def _percentiles(levels, cutoff):
    """Return the lowest and highest level of each channel once `cutoff` per cent are cut off."""
    counts = _histogram(levels)
    upto = tf.cumsum(counts, axis=0)
    total = upto[-1]
    # PIL's rounding: cut off to a whole number of pixels.
    cut = tf.cast(tf.cast(total, tf.float64) * float(cutoff) // 100, tf.int32)
    low = tf.reduce_sum(tf.cast(upto <= cut, tf.int32), axis=0)
    high = tf.reduce_sum(tf.cast(upto < total - cut, tf.int32), axis=0)
    return low, tf.minimum(high, 255)


@operation
def random_invert():
    """Replace each value `v` by `255 - v`.

    Example:
        >>> images = tf.constant([[[[0], [100]]]], tf.uint8)
        >>> random_invert(images, [0, 0])[0, 0, :, 0].numpy().tolist()
        [255, 155]
    """
    return Operation(lambda draw: {}, invert, each_pixel(invert), scales="probability")


@operation
def random_posterize(*, bits=(4, 8)):
    """Keep the highest bits of each value, a number of bits drawn for each image.

    Args:
        bits: Lowest and highest number of bits kept, whole numbers in `[1, 8]`, both drawn; or one
            number for all images.

    Example:
        >>> images = tf.constant([[[[127], [200]]]], tf.uint8)
        >>> random_posterize(images, [0, 0], bits=2)[0, 0, :, 0].numpy().tolist()
        [64, 192]
    """
    low, high = _validation.check_spread("bits", bits, _validation.check_integer, 1, 8)

    def sample(draw):
        unit = draw.uniform("bits")
        drawn = tf.floor(low + (high + 1 - low) * unit)
        return {"bits": tf.cast(tf.round(8 + draw.strength * (drawn - 8)), tf.int32)}

    return Operation(sample, posterize, each_pixel(posterize))


@operation
def random_solarize(*, threshold=(0.0, 256.0)):
    """Invert the values from a threshold upwards, a threshold drawn for each image.

    Args:
        threshold: Lowest and highest threshold in `[0, 256]`, at which nothing is inverted; or one
            number for all images.

    Example:
        >>> images = tf.constant([[[[127], [200]]]], tf.uint8)
        >>> random_solarize(images, [0, 0], threshold=128)[0, 0, :, 0].numpy().tolist()
        [127, 55]
    """
    low, high = _validation.check_spread("threshold", threshold, _validation.check_number, 0, 256)

    def sample(draw):
        return {"threshold": draw.uniform("threshold", low, high, neutral=256.0)}

    return Operation(sample, solarize, each_pixel(solarize))


@operation
def random_equalize():
    """Flatten the histogram of each channel of each image, as `PIL.ImageOps.equalize` does.

    Example:
        >>> images = tf.reshape(tf.repeat(tf.constant([10, 11], tf.uint8), 512), (1, 32, 32, 1))
        >>> tf.unique(tf.reshape(random_equalize(images, [0, 0]), [-1])).y.numpy().tolist()
        [0, 255]
    """
    return Operation(lambda draw: {}, equalize, scales="probability")


@operation
def random_autocontrast(*, cutoff=0):
    """Stretch each channel of each image to `[0, 255]`, as `PIL.ImageOps.autocontrast` does.

    Args:
        cutoff: Per cent of the pixels, in `[0, 50)`, that may be clipped at each end.

    Example:
        >>> images = tf.constant([[[[100], [125], [151]]]], tf.uint8)
        >>> random_autocontrast(images, [0, 0])[0, 0, :, 0].numpy().tolist()
        [0, 125, 255]
    """
    cutoff = _validation.check_number("cutoff", cutoff, 0, 49.99)

    return Operation(
        lambda draw: {},
        functools.partial(autocontrast, cutoff=cutoff),
        functools.partial(_autocontrast_batch, cutoff=cutoff),
        scales="probability",
    )
