"""Change the colours of images smoothly: brightness, contrast, saturation, hue, grey.

The functions on one image take and give float32 in `[0, 255]`, shape `(height, width, channels)`;
those that make each pixel from that pixel alone take batches as well.
Grey is the luma of ITU-R 601, `0.299 R + 0.587 G + 0.114 B`, as in PIL and torchvision. What needs
colours treats a grey image (one channel) as an RGB image whose three channels are equal, so turning
or strengthening colours leaves it as it is; other numbers of channels are refused, also 4, since
transparency is no colour. Where the number is unknown when a graph is traced, 3 are required.
"""

import numpy as np
import tensorflow as tf

from augment import _validation
from augment._operation import Operation, each_pixel, operation

# ITU-R BT.601: shares of red, green and blue in grey.
LUMA = np.array([0.299, 0.587, 0.114])
# The same in 65536 parts, which add up to all of them.
_LUMA_PARTS = np.round(LUMA * 2**16).astype(int)

# RGB to YIQ of NTSC; the rows of I and Q add up to 0, so that greys have neither.
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_QUARTER_TURN = np.linalg.inv(_YIQ) @ [[0, 0, 0], [0, 0, 1], [0, -1, 0]] @ _YIQ
_COLOR_PART = np.eye(3) - LUMA


def adjust_brightness(image, factor):
    """Multiply an image by `factor`; any number of channels."""
    return _clipped(image * factor)


def shift_brightness(image, delta):
    """Add `delta`, in grey levels, to an image; any number of channels."""
    return _clipped(image + delta)


def adjust_contrast(image, factor):
    """Move all values away from (`factor` above 1) or towards the mean of the grey image.

    `mean + factor * (image - mean)`, as in PIL and torchvision. PIL rounds the mean to a whole
    number first, which moves the result by at most `|1 - factor| / 2` levels.

    Args:
        image: Grey or RGB.
        factor: Scalar, at least 0; 1 changes nothing.
    """
    image = check_color("contrast", image)
    return _clipped(image * factor + _mean_gray(image) * (1.0 - factor))


def adjust_saturation(image, factor):
    """Move each pixel away from (`factor` above 1) or towards its grey.

    `gray + factor * (image - gray)`, as in PIL's `ImageEnhance.Color` and torchvision.

    Args:
        image: RGB; a grey image stays as it is.
        factor: Scalar, at least 0; 0 gives grey, 1 changes nothing.
    """
    image = check_color("saturation", image)
    if image.shape[-1] == 1:
        return image
    return _clipped(image * factor + _luma(image) * (1.0 - factor))


def adjust_hue(image, turns):
    """Turn the hue of the HSV colour space; saturation and value stay.

    Computed from `value` (the largest of the three channels), `chroma` (largest less smallest) and
    the hue in sixths of a turn: up to one sixth away from a channel's own hue the channel has the
    full value, from two on it has lost all chroma, and between it falls linearly. All distances are
    kept times the chroma: so nothing is divided, greys need no case of their own, and no turn gives
    the same image exactly.

    Args:
        image: RGB; a grey image stays as it is.
        turns: Scalar; 1 is once round, and 1/3 makes red green, green blue, and blue red.

    Source:
        Smith, "Color Gamut Transform Pairs", 1978 (the hexagonal model, as in `colorsys`).
    """
    image = check_color("hue", image)
    if image.shape[-1] == 1:
        return image
    turns = tf.cast(turns, tf.float32)
    # From 0 to 6, so that a hue can only leave the circle at its upper end.
    sixths = 6.0 * (turns - tf.floor(turns))
    red, green, blue = _planes(image)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    # From red, at 0, to green, at 2, and blue, at -2; less than 1 from the largest.
    from_green, from_blue = 2.0 * chroma + (blue - red), (red - green) - 2.0 * chroma
    hue = tf.where(green >= value, from_green, from_blue)
    hue = tf.where(red >= value, green - blue, hue) + sixths * chroma
    hue -= tf.where(hue > 3.0 * chroma, 6.0 * chroma, 0.0)
    distance = tf.abs(hue - chroma * tf.constant([0.0, 2.0, -2.0]))
    # Up to 5 sixths: half round the circle, 3 sixths, is furthest away.
    lost = 2.0 * chroma - tf.abs(distance - 3.0 * chroma)
    return value - tf.clip_by_value(lost, 0.0, chroma)


def rotate_hue_linear(image, turns):
    """Turn the colours about the grey axis in YIQ: a matrix, which is not the hue of HSV.

    Grey (luma) stays as it is up to clipping, which HSV does not keep; but pure colours leave the
    range and are clipped, so that saturation and hue of what comes out are another's.

    Args:
        image: RGB; a grey image stays as it is.
        turns: Scalar; 1 is once round, in the direction of `adjust_hue`.

    Source:
        Haeberli, "Matrix Operations for Image Processing", 1993; in YIQ as in "Shift hue of an RGB
        Color" (beesbuzz.biz/code/16-hsv-color-transforms).
    """
    image = check_color("rotate_hue_linear", image)
    if image.shape[-1] == 1:
        return image
    angle = 2.0 * np.pi * tf.cast(turns, tf.float32)
    # The identity and what is added to it, so that no turn changes nothing at all.
    matrix = (
        tf.eye(3)
        + (tf.cos(angle) - 1.0) * tf.constant(_COLOR_PART.T, tf.float32)
        + tf.sin(angle) * tf.constant(_QUARTER_TURN.T, tf.float32)
    )
    return _clipped(mix_channels(image, matrix))


def to_gray(image):
    """Replace each pixel's channels by its grey; the number of channels stays.

    Args:
        image: RGB, or grey, which stays as it is; float32, or uint8, for which the grey is computed
            in whole numbers as PIL's `convert("L")` does, and rounded to nearest.
    """
    image = check_color("gray", image)
    if image.shape[-1] == 1:
        return image
    if image.dtype == tf.uint8:
        total = sum(
            tf.cast(plane, tf.int32) * int(share)
            for plane, share in zip(_planes(image), _LUMA_PARTS, strict=True)
        )
        gray = tf.cast(tf.bitwise.right_shift(total + 2**15, 16), tf.uint8)
    else:
        gray = _luma(image)
    return tf.broadcast_to(gray, tf.shape(image))


def check_color(name, image):
    """Return `image` with a known number of channels, 1 or 3, or raise `ValueError`."""
    image = tf.convert_to_tensor(image)
    channels = image.shape[-1]
    if channels is None:
        return tf.ensure_shape(image, [*image.shape[:-1], 3])
    if channels not in (1, 3):
        raise ValueError(
            f"images must have 1 channel (grey) or 3 (RGB) for {name}, received: {channels} "
            "channels"
        )
    return image


def mix_channels(image, matrix):
    """Return `image @ matrix`, pixel by pixel; float32."""
    sizes = _validation.image_sizes(image)
    return tf.reshape(tf.reshape(image, (-1, sizes[2])) @ matrix, sizes)


def _planes(image):
    """Return red, green and blue, each `(height, width, 1)`.

    XLA turns arithmetic of these with the image into vector code, eight pixels at a time.
    """
    return image[..., 0:1], image[..., 1:2], image[..., 2:3]


def _luma(image):
    """Return the grey of a float32 RGB image, `(height, width, 1)`."""
    red, green, blue = _planes(image)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _mean_gray(image):
    """Return the mean of the grey image, a scalar.

    In two steps, rows first: one long float32 sum would stagnate in large images. The sum of a row
    and the weights of its channels are one product with a vector.
    """
    height, width, channels = _validation.image_sizes(image)
    luma = tf.constant(LUMA if channels == 3 else [1.0], tf.float32)
    rows = tf.linalg.matvec(
        tf.reshape(image, (height, width * channels)), tf.tile(luma, [width])
    ) / tf.cast(width, tf.float32)
    return tf.reduce_mean(rows)


def _clipped(image):
    return tf.clip_by_value(image, 0.0, 255.0)


def _in_float(kernel):
    return each_pixel(kernel, tf.float32)


@operation
def random_brightness(*, factor=0.2):
    """Multiply all values of each image by a factor of its own.

    Args:
        factor: Lowest and highest multiplier, at least 0; or one number `f` for
            `(max(0, 1 - f), 1 + f)`.

    Example:
        >>> images = tf.fill((2, 4, 4, 3), tf.constant(100, tf.uint8))
        >>> random_brightness(images, [0, 0], factor=(1.5, 1.5))[0, 0, 0].numpy().tolist()
        [150, 150, 150]
    """
    low, high = _validation.check_factor("factor", factor)

    def sample(draw):
        return {"factor": draw.uniform("factor", low, high, neutral=1.0)}

    return Operation(sample, adjust_brightness, _in_float(adjust_brightness), kind="color")


@operation
def random_brightness_shift(*, delta=0.2):
    """Add a number of its own to all values of each image.

    Args:
        delta: Lowest and highest number to add, as shares of the value range in `[-1, 1]`; or one
            number `d` for `(-d, d)`. What Keras' `RandomBrightness` calls `factor`.

    Example:
        >>> images = tf.fill((2, 4, 4, 3), tf.constant(100, tf.uint8))
        >>> random_brightness_shift(images, [0, 0], delta=(0.2, 0.2))[0, 0, 0].numpy().tolist()
        [151, 151, 151]
    """
    low, high = _validation.check_symmetric("delta", delta, 1)

    def sample(draw):
        return {"delta": 255.0 * draw.uniform("delta", low, high, neutral=0.0)}

    return Operation(sample, shift_brightness, _in_float(shift_brightness), kind="color")


@operation
def random_contrast(*, factor=0.2):
    """Stretch or shrink the values of each image about the mean of its grey.

    A factor below 1 takes contrast away, one above 1 adds it.

    Args:
        factor: Lowest and highest factor, at least 0; or one number `f` for
            `(max(0, 1 - f), 1 + f)`.

    Example:
        >>> images = tf.constant([[[[50], [150]]]], tf.uint8)
        >>> random_contrast(images, [0, 0], factor=(0.5, 0.5))[0, 0, :, 0].numpy().tolist()
        [75, 125]
    """
    low, high = _validation.check_factor("factor", factor)

    def sample(draw):
        return {"factor": draw.uniform("factor", low, high, neutral=1.0)}

    return Operation(sample, adjust_contrast, kind="color")


@operation
def random_saturation(*, factor=0.2):
    """Strengthen or weaken the colours of each image; grey images stay as they are.

    Args:
        factor: Lowest and highest factor, at least 0, where 0 gives grey; or one number `f` for
            `(max(0, 1 - f), 1 + f)`.

    Example:
        >>> images = tf.constant([[[[200, 100, 100]]]], tf.uint8)
        >>> random_saturation(images, [0, 0], factor=(0, 0))[0, 0, 0].numpy().tolist()
        [130, 130, 130]
    """
    low, high = _validation.check_factor("factor", factor)

    def sample(draw):
        return {"factor": draw.uniform("factor", low, high, neutral=1.0)}

    return Operation(sample, adjust_saturation, _in_float(adjust_saturation), kind="color")


@operation
def random_hue(*, turns=0.1):
    """Turn the hue of each image in HSV, saturation and value kept; grey images stay.

    Args:
        turns: Lowest and highest turn in `[-0.5, 0.5]`, 1 being once round the circle; or one
            number `t` for `(-t, t)`.

    Example:
        >>> images = tf.constant([[[[200, 100, 100]]]], tf.uint8)
        >>> random_hue(images, [0, 0], turns=(0.5, 0.5))[0, 0, 0].numpy().tolist()
        [100, 200, 200]
    """
    low, high = _validation.check_symmetric("turns", turns, 0.5)

    def sample(draw):
        return {"turns": draw.uniform("turns", low, high, neutral=0.0)}

    return Operation(sample, adjust_hue, _in_float(adjust_hue), kind="color")


@operation
def random_hue_linear(*, turns=0.1):
    """Turn the colours of each image about the grey axis in YIQ; this is not the hue of HSV.

    Luma stays, where `random_hue` keeps saturation and value; what leaves the range is clipped.
    Grey images stay as they are.

    Args:
        turns: As for `random_hue`.

    Example:
        >>> images = tf.constant([[[[140, 120, 120]]]], tf.uint8)
        >>> random_hue_linear(images, [0, 0], turns=(0.5, 0.5))[0, 0, 0].numpy().tolist()
        [112, 132, 132]
    """
    low, high = _validation.check_symmetric("turns", turns, 0.5)

    def sample(draw):
        return {"turns": draw.uniform("turns", low, high, neutral=0.0)}

    return Operation(sample, rotate_hue_linear, kind="color")


@operation
def random_grayscale(*, probability=0.1):
    """Take the colours out of some images; the number of channels stays.

    Args:
        probability: Chance in `[0, 1]` that an image is turned grey.

    Example:
        >>> images = tf.constant([[[[200, 100, 100]]]], tf.uint8)
        >>> random_grayscale(images, [0, 0], probability=1.0)[0, 0, 0].numpy().tolist()
        [130, 130, 130]
    """
    probability = _validation.check_number("probability", probability, 0, 1)
    return Operation(
        lambda draw: {},
        to_gray,
        each_pixel(to_gray),
        kind="color",
        scales="probability",
        probability=probability,
    )


@operation
def random_channel_shuffle():
    """Put the channels of each image into an order of its own, all orders equally likely.

    Any number of channels; the order drawn may be the one they have.

    Example:
        >>> images = tf.constant([[[[1, 2, 3]]]], tf.uint8)
        >>> sorted(random_channel_shuffle(images, [0, 0])[0, 0, 0].numpy().tolist())
        [1, 2, 3]
    """

    def sample(draw):
        keys = draw.uniform("order", shape=(draw.channels,))
        return {"order": tf.argsort(keys, axis=1, stable=True)}

    def apply(image, order):
        # A product with zeros and ones gives the same values exactly, and twice as fast.
        channels = _validation.image_sizes(image)[2]
        return mix_channels(image, tf.one_hot(order, channels, axis=0))

    return Operation(sample, apply, kind="color", scales="probability")
