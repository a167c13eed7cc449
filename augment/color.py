"""Change the colours of images smoothly: brightness, contrast, saturation, hue, grey.

The functions on one image take and give float32 in `[0, 255]`, shape `(height, width, channels)`.
Grey is the luma of ITU-R 601, `0.299 R + 0.587 G + 0.114 B`, as in PIL and torchvision. What needs
colours treats a grey image (one channel) as an RGB image whose three channels are equal, so turning
or strengthening colours leaves it as it is; other numbers of channels are refused, also 4, since
transparency is no colour. Where the number is unknown when a graph is traced, 3 are required.
"""

import numpy as np
import tensorflow as tf

from augment import _validation
from augment._operation import Operation, operation

# ITU-R BT.601: shares of red, green and blue in grey.
LUMA = np.array([0.299, 0.587, 0.114])

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

    `mean + factor * (image - mean)`, as in PIL and torchvision; PIL rounds the mean first.

    Args:
        image: Grey or RGB.
        factor: Scalar, at least 0; 1 changes nothing.
    """
    image = check_color("contrast", image)
    mean = tf.reduce_mean(_gray_plane(image))
    return _clipped(image * factor + mean * (1.0 - factor))


def adjust_saturation(image, factor):
    """Move each pixel away from (`factor` above 1) or towards its grey.

    `gray + factor * (image - gray)`, as in PIL's `ImageEnhance.Color` and torchvision.

    Args:
        image: RGB; a grey image stays as it is.
        factor: Scalar, at least 0; 0 gives grey, 1 changes nothing.
    """
    image = check_color("saturation", image)
    if image.shape[2] == 1:
        return image
    luma = tf.constant(LUMA[:, None], tf.float32)
    return _clipped(mix_channels(image, factor * tf.eye(3) + (1.0 - factor) * luma))


def adjust_hue(image, turns):
    """Turn the hue of the HSV colour space; saturation and value stay.

    Args:
        image: RGB; a grey image stays as it is.
        turns: Scalar; 1 is once round, and 1/3 makes red green, green blue, and blue red.

    Source:
        Smith, "Color Gamut Transform Pairs", 1978. The way back is the one-line form of it, channel
        `value - chroma * clip(min(k, 4 - k), 0, 1)` with `k = (n + hue) mod 6` and n = 5, 3, 1.
    """
    image = check_color("hue", image)
    if image.shape[2] == 1:
        return image
    pixels = tf.reshape(image, (-1, 3))
    # Every channel with the two that follow it round the circle: all three are computed alike.
    following = pixels @ tf.constant(np.eye(3)[[1, 2, 0]].T, tf.float32)
    preceding = pixels @ tf.constant(np.eye(3)[[2, 0, 1]].T, tf.float32)
    value = tf.maximum(tf.maximum(pixels, following), preceding)
    chroma = value - tf.minimum(tf.minimum(pixels, following), preceding)
    sixth = 1.0 / tf.maximum(chroma, 1e-6)
    # Distance from the channel's own hue in sixths of a turn.
    hue = tf.where(
        pixels == value,
        (following - preceding) * sixth,
        tf.where(
            following == value,
            2.0 + (preceding - pixels) * sixth,
            4.0 + (pixels - following) * sixth,
        ),
    )
    place = hue + (5.0 + 6.0 * turns)
    place -= 6.0 * tf.floor(place * (1.0 / 6.0))
    lost = chroma * tf.clip_by_value(tf.minimum(place, 4.0 - place), 0.0, 1.0)
    return tf.reshape(value - lost, tf.shape(image))


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
    if image.shape[2] == 1:
        return image
    angle = 2.0 * np.pi * turns
    # The identity and what is added to it, so that no turn changes nothing at all.
    matrix = (
        tf.eye(3)
        + (tf.cos(angle) - 1.0) * tf.constant(_COLOR_PART.T, tf.float32)
        + tf.sin(angle) * tf.constant(_QUARTER_TURN.T, tf.float32)
    )
    return _clipped(mix_channels(image, matrix))


def to_gray(image):
    """Replace each pixel's channels by its grey; the number of channels stays."""
    image = check_color("gray", image)
    if image.shape[2] == 1:
        return image
    return mix_channels(image, tf.constant(np.tile(LUMA[:, None], (1, 3)), tf.float32))


def check_color(name, image):
    """Return `image` with a known number of channels, 1 or 3, or raise `ValueError`."""
    channels = image.shape[2]
    if channels is None:
        return tf.ensure_shape(image, (None, None, 3))
    if channels not in (1, 3):
        raise ValueError(
            f"images must have 1 channel (grey) or 3 (RGB) for {name}, received: {channels} "
            "channels"
        )
    return image


def mix_channels(image, matrix):
    """Return `image @ matrix`, pixel by pixel; float32."""
    return tf.reshape(tf.reshape(image, (-1, image.shape[2])) @ matrix, tf.shape(image))


def _gray_plane(image):
    if image.shape[2] == 1:
        return image
    return image @ tf.constant(LUMA[:, None], tf.float32)


def _clipped(image):
    return tf.clip_by_value(image, 0.0, 255.0)


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

    return Operation(sample, adjust_brightness, kind="color")
