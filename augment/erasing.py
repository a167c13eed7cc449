"""Erase rectangles: random erasing and Cutout."""

import math

import tensorflow as tf

from augment import _boxes, _random, _validation

# Defaults of random erasing: shares of the image's area, and height divided by width.
SCALE = (0.02, 0.33)
RATIO = (0.3, 1 / 0.3)


def random_erasing(images, seed, *, probability=0.5, scale=SCALE, ratio=RATIO, fill="noise"):
    """Replace a random rectangle inside each image.

    The area is uniform over `scale` times the image's area, the aspect ratio (height to width) is
    log-uniform over `ratio`, the place is uniform over all where the rectangle lies wholly inside.

    Args:
        images: uint8, float16, bfloat16 or float32 in `[0, 255]`, shape
            `(batch, height, width, channels)`; any size may be unknown.
        seed: Two integers; the same seed gives the same result.
        probability: Chance in `[0, 1]` that an image is erased at all.
        scale: Lowest and highest area of the rectangle, as a share of the image in `(0, 1]`.
        ratio: Lowest and highest height divided by width, positive.
        fill: A number in `[0, 255]`; `"mean"`, each channel's mean over that image; or `"noise"`,
            each number of each erased pixel uniform over the whole numbers 0 to 255.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

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
    images = _validation.check_images(images)
    check_random_erasing(probability, scale, ratio, fill)
    seed = _random.check_seed(seed)
    batch, height, width, _ = _validation.image_sizes(images)
    uniform = _random.random_uniform(seed, (batch, 5), "random_erasing")
    box_height, box_width = _erased_size(uniform[:, 1], uniform[:, 2], height, width, scale, ratio)
    top = _random.uniform_to_integer(uniform[:, 3], height - box_height + 1)
    left = _random.uniform_to_integer(uniform[:, 4], width - box_width + 1)
    # An image that is not chosen gets an empty box.
    bottom = tf.where(uniform[:, 0] < probability, top + box_height, top)
    mask = _boxes.box_mask(top, left, bottom, left + box_width, height, width)
    return _fill_mask(images, mask, fill, seed, "random_erasing/noise")


def check_random_erasing(probability=0.5, scale=SCALE, ratio=RATIO, fill="noise"):
    """Raise `ValueError` if an argument of `random_erasing` is out of range."""
    _validation.check_number("probability", probability, 0, 1)
    _validation.check_range("scale", scale, 0, 1)
    _validation.check_range("ratio", ratio, 0, math.inf)
    _validation.check_fill("fill", fill)


def cutout(images, seed, *, size, probability=1.0, fill=0):
    """Replace a square centred on a random pixel of each image; it may reach over the border.

    Args:
        images: uint8, float16, bfloat16 or float32 in `[0, 255]`, shape
            `(batch, height, width, channels)`; any size may be unknown.
        seed: Two integers; the same seed gives the same result.
        size: Side of the square in pixels, at least 0; 0 leaves the images as they are. The square
            reaches from `centre - size // 2` up to, not including, `centre - size // 2 + size`.
        probability: Chance in `[0, 1]` that an image is cut at all.
        fill: As for `random_erasing`. The paper fills with zero after normalisation, which is the
            mean of the data: `"mean"` is nearer to it where the background is not black.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> images = tf.fill((2, 32, 32, 3), tf.constant(9, tf.uint8))
        >>> cutout(images, [0, 0], size=8).shape
        TensorShape([2, 32, 32, 3])

    Source:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        2017, section 3.2.
    """
    images = _validation.check_images(images)
    check_cutout(size, probability, fill)
    seed = _random.check_seed(seed)
    if size == 0:
        return images
    batch, height, width, _ = _validation.image_sizes(images)
    uniform = _random.random_uniform(seed, (batch, 3), "cutout")
    top = _random.uniform_to_integer(uniform[:, 1], height) - size // 2
    left = _random.uniform_to_integer(uniform[:, 2], width) - size // 2
    bottom = tf.where(uniform[:, 0] < probability, top + size, top)
    mask = _boxes.box_mask(top, left, bottom, left + size, height, width)
    return _fill_mask(images, mask, fill, seed, "cutout/noise")


def check_cutout(size, probability=1.0, fill=0):
    """Raise `ValueError` if an argument of `cutout` is out of range."""
    _validation.check_integer("size", size, 0)
    _validation.check_number("probability", probability, 0, 1)
    _validation.check_fill("fill", fill)


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


def _fill_mask(images, mask, fill, seed, name):
    """Replace the pixels of `images` where `mask`, of shape `(batch, height, width)`, is true."""
    if fill == "noise":
        batch, height, width, channels = _validation.image_sizes(images)
        keys = _random.random_bits(seed, (batch,), name)
        noise = _random.noise_bytes(keys, height * width * channels)
        filling = tf.cast(tf.reshape(noise, tf.shape(images)), images.dtype)
    elif fill == "mean":
        filling = _channel_means(images)
    else:
        filling = tf.cast(tf.cast(fill, tf.float32), images.dtype)
    return tf.where(mask[..., None], filling, images)


def _channel_means(images):
    """Return each image's mean of each channel, shape `(batch, 1, 1, channels)`, same dtype."""
    if images.dtype != tf.uint8:
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2), keepdims=True)
        return tf.cast(means, images.dtype)
    # In whole numbers, rounded to nearest: exact, whatever the order of the sum.
    _, height, width, _ = _validation.image_sizes(images)
    total = tf.reduce_sum(tf.cast(images, tf.int32), axis=(1, 2), keepdims=True)
    return tf.cast((total + height * width // 2) // (height * width), tf.uint8)
