"""Crops: shifted ones for training, the middle and given rectangles for evaluation."""

import functools

import numpy as np
import tensorflow as tf

from augment import _validation, resize
from augment._compiled import compiled
from augment._loop import map_images
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
    _validation.check_integer("padding", padding, 0)
    _validation.check_choice("fill", fill, FILLS)
    _validation.check_number("value", value, 0, 255)

    def sample(draw):
        offsets = draw.integer("", 0, 2 * padding + 1, shape=(2,)) - padding
        shrunk = tf.round(draw.strength * tf.cast(offsets, tf.float64))
        return {"offset": tf.cast(shrunk, tf.int32)}

    def apply(image, offset):
        return shift_crop(image, offset, padding, fill, value)

    return Operation(sample, apply)


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


def resize_crop(images, boxes, *, size, interpolation="bilinear", antialias=False):
    """Cut a rectangle out of each image and resize it.

    Args:
        images: uint8 or float32, shape `(batch, height, width, channels)`; any size may be unknown.
        boxes: int32, shape `(batch, 4)`: top, left, height and width of each rectangle, in pixels,
            inside the image (checked where it is known before); or `(4,)`, the same one for all.
        size: Height and width of the result, or one number for both.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`, as for `random_resized_crop`.
        antialias: As for `random_resized_crop`.

    Returns:
        Images of shape `(batch, *size, channels)` and the same dtype.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> resize_crop(tf.zeros((2, 40, 50, 3), tf.uint8), [4, 0, 32, 48], size=16).shape
        TensorShape([2, 16, 16, 3])
    """
    images = _check_evaluated(images)
    size = resize.check_size("size", size)
    resize.check_resize(interpolation, antialias)
    boxes = tf.cast(boxes, tf.int32)
    _check_boxes(boxes, images.shape)
    boxes = tf.broadcast_to(boxes, (tf.shape(images)[0], 4))
    windows = tf.broadcast_to(tf.constant([*size, 0, 0]), (tf.shape(images)[0], 4))
    return _run(images, boxes, windows, size, interpolation, antialias)


def center_crop(images, *, size, shorter_side=None, interpolation="bilinear", antialias=False):
    """Cut the middle out of images, after resizing them if asked: what evaluation does.

    Args:
        images: uint8 or float32, shape `(batch, height, width, channels)`, or one image without
            the batch axis; any size may be unknown.
        size: Height and width of the result, or one number for both.
        shorter_side: Length to which the shorter side is resized first, the longer one in
            proportion; at least that of `size`. `None` does not resize.
        interpolation: As for `random_resized_crop`.
        antialias: As for `random_resized_crop`.

    Returns:
        Images of shape `(batch, *size, channels)`, or `(*size, channels)`, and the same dtype.

    Raises:
        ValueError: If an argument is out of shape or range, or the images are smaller than `size`
            and are not resized.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> center_crop(tf.zeros((2, 30, 50, 3), tf.uint8), size=24, shorter_side=32).shape
        TensorShape([2, 24, 24, 3])

    Source:
        Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
        section 2: shorter side 256; He et al., 2015, test on the middle 224 pixels of it.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.rank == 3:
        one = center_crop(
            images[None],
            size=size,
            shorter_side=shorter_side,
            interpolation=interpolation,
            antialias=antialias,
        )
        return one[0]
    images = _check_evaluated(images)
    size = resize.check_size("size", size)
    resize.check_resize(interpolation, antialias)
    batch, height, width, channels = _validation.image_sizes(images)
    if shorter_side is None:
        _check_fits(images.shape[1:3], size)
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        return tf.slice(images, [0, top, left, 0], [batch, *size, channels])
    scaled = resize.scaled_sizes(
        height, width, resize.check_shorter_side("shorter_side", shorter_side, size)
    )
    window = tf.stack(
        [*scaled, *((sides - side) // 2 for sides, side in zip(scaled, size, strict=True))]
    )
    boxes = tf.broadcast_to(tf.stack([0, 0, height, width]), (batch, 4))
    windows = tf.broadcast_to(window, (batch, 4))
    return _run(images, boxes, windows, size, interpolation, antialias)


@functools.lru_cache(maxsize=64)
def _resizer(size, interpolation, antialias, jit_compile):
    def run(images, boxes, windows):
        def one(inputs):
            image, box, window = inputs
            return resize.crop_and_resize(
                image, box, size, window=window, interpolation=interpolation, antialias=antialias
            )

        signature = tf.TensorSpec((*size, images.shape[3]), images.dtype)
        return map_images(one, (images, boxes, windows), signature)

    return compiled(run, jit_compile)


def _run(images, boxes, windows, size, interpolation, antialias):
    # Images of all sizes are not worth a compilation each.
    jit_compile = "auto" if images.shape[1:].is_fully_defined() else False
    return _resizer(size, interpolation, antialias, jit_compile)(images, boxes, windows)


def _check_reflect(padding, shape):
    for size in shape[:2]:
        if size is not None and padding >= size:
            raise ValueError(
                "padding must be smaller than height and width for fill='reflect', received: "
                f"{padding} for images of {shape[0]} x {shape[1]}"
            )


def _check_boxes(boxes, shape):
    """Raise `ValueError` if boxes do not fit images of this shape, as far as both are known."""
    if boxes.shape.rank not in (1, 2) or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must have the shape (batch, 4) or (4,), received: {boxes.shape}")
    if boxes.shape.rank == 2 and not boxes.shape[:1].is_compatible_with(shape[:1]):
        raise ValueError(
            f"boxes must be one for all images or {shape[0]}, one an image, received: "
            f"{boxes.shape[0]}"
        )
    known = tf.get_static_value(boxes)
    if known is None:
        return
    known = known.reshape(-1, 4).astype(np.int64)
    first, sides = known[:, :2], known[:, 2:]
    image = [np.inf if side is None else side for side in shape[1:3]]
    bad = ((first < 0) | (sides < 1) | (first + sides > image)).any(axis=1)
    if bad.any():
        raise ValueError(
            "boxes must be top, left, height and width of rectangles inside the images, received: "
            f"{known[bad][0].tolist()} for images of {shape[1]} x {shape[2]}"
        )


def _check_evaluated(images):
    images = _validation.check_images(images)
    if images.dtype not in (tf.uint8, tf.float32):
        raise TypeError(f"images must be uint8 or float32, received: {images.dtype.name}")
    return images


def _check_fits(sides, size):
    if any(side is not None and side < wanted for side, wanted in zip(sides, size, strict=True)):
        raise ValueError(
            f"images must be at least {size[0]} x {size[1]}, or be given shorter_side, received: "
            f"{sides[0]} x {sides[1]}"
        )
