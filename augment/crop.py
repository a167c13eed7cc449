"""Crops."""

import tensorflow as tf

from augment import _validation
from augment._operation import Operation, operation

FILLS = ("constant", "reflect")


@operation
def random_crop(*, padding, fill="constant", value=0):
    """Shift each image by up to `padding` pixels: pad all around, crop back to the size it had.

    Each image has a vertical and a horizontal offset of its own, each uniform over the
    `2 * padding + 1` whole numbers from `-padding` to `padding`; a curriculum's strength shrinks
    them.

    Args:
        padding: Pixels, at least 0; 0 leaves the images as they are.
        fill: What lies outside the image: `"constant"` is `value`; `"reflect"` mirrors it at its
            border pixels without repeating these, and needs `padding` below height and width.
        value: Number in `[0, 255]` for `"constant"`.

    Example:
        >>> images = tf.zeros((2, 32, 32, 3), tf.uint8)
        >>> random_crop(images, [0, 0], padding=4, fill="reflect").shape
        TensorShape([2, 32, 32, 3])

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 (there with
        zeros and one flip).
    """
    check_random_crop(padding, fill, value)

    def sample(draw):
        offsets = draw.integer("", 0, 2 * padding + 1, shape=(2,)) - padding
        shrunk = tf.round(draw.strength * tf.cast(offsets, tf.float64))
        return {"offset": tf.cast(shrunk, tf.int32)}

    def apply(image, offset):
        return shift_crop(image, offset, padding, fill, value)

    return Operation(sample, apply)


def check_random_crop(padding, fill="constant", value=0):
    """Raise `ValueError` if an argument of `random_crop` is out of range."""
    _validation.check_integer("padding", padding, 0)
    _validation.check_choice("fill", fill, FILLS)
    _validation.check_number("value", value, 0, 255)


def shift_crop(image, offset, padding, fill="constant", value=0):
    """Pad an image and crop it back to its size.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`.
        offset: int32 `(2,)`, from `-padding` to `padding`: the row and the column of the image at
            which the crop begins.
        padding: Pixels on each side, Python integer.
        fill: `"constant"` or `"reflect"`, as for `random_crop`.
        value: Number in `[0, 255]` for `"constant"`.

    Returns:
        Same shape and dtype.

    Raises:
        ValueError: If the image is too small to be mirrored.
    """
    if padding == 0:
        return image
    height, width, channels = _validation.image_sizes(image)
    rows, columns = [padding, padding], [padding * channels, padding * channels]
    if fill == "reflect":
        _check_reflect(padding, image.shape)
        padded = tf.pad(image, [rows, rows, [0, 0]], "REFLECT")
        padded = tf.reshape(padded, (height + 2 * padding, (width + 2 * padding) * channels))
    else:
        # Whole lines of numbers, written down once, run twice as fast as pixels of three.
        lines = tf.reshape(image, (height, width * channels))
        value = tf.cast(tf.cast(value, tf.float32), image.dtype)
        padded = tf.pad(lines, [rows, columns], constant_values=value)
    # Not `tf.slice`: where one begins at a drawn place, XLA takes the seed for a constant and
    # compiles anew for every seed. Gathering lines and rolling them is twice as fast, too.
    lines = tf.gather(padded, offset[0] + padding + tf.range(height))
    lines = tf.roll(lines, -(offset[1] + padding) * channels, axis=1)[:, : width * channels]
    return tf.reshape(lines, tf.shape(image))


def _check_reflect(padding, shape):
    for size in shape[:2]:
        if size is not None and padding >= size:
            raise ValueError(
                "padding must be smaller than height and width for fill='reflect', received: "
                f"{padding} for images of {shape[0]} x {shape[1]}"
            )
