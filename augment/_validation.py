"""Checks of arguments that the operations share; each failure is one line."""

import math
import numbers

import tensorflow as tf

IMAGE_DTYPES = (tf.uint8, tf.float16, tf.bfloat16, tf.float32)


def check_images(images):
    """Return `images` as a tensor, or raise if it is no batch of images.

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`.

    Raises:
        ValueError: If the rank is not 4 (or unknown).
        TypeError: If the dtype is another.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype not in IMAGE_DTYPES:
        raise TypeError(
            "images must be uint8, float16, bfloat16 or float32 in [0, 255], received: "
            f"{images.dtype.name}"
        )
    if images.shape.rank != 4:
        raise ValueError(
            "images must have the shape (batch, height, width, channels), received: "
            f"{images.shape}" + ("; batch them first" if images.shape.rank == 3 else "")
        )
    return images


def image_sizes(images):
    """Return batch, height, width, channels: Python integers where known, else int32 scalars."""
    dynamic = None if images.shape.is_fully_defined() else tf.shape(images)
    return tuple(
        dynamic[axis] if size is None else size for axis, size in enumerate(images.shape.as_list())
    )


def check_number(name, value, low, high, *, open_low=False):
    """Return `value` as a float if it is a number in `[low, high]`, else raise `ValueError`.

    Args:
        name: Name of the argument, for the message.
        value: What the caller gave.
        low: Lowest allowed value; `open_low` excludes it.
        high: Highest allowed value, may be infinite (which itself is never allowed).
        open_low: Whether `low` itself is refused.
    """
    good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high or (open_low and value == low):
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must be a number in {bracket}{low}, {high}], received: {value!r}")
    return float(value)


def check_integer(name, value, low):
    """Return `value` as an int if it is a whole number of at least `low`, else raise."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, received: {value!r}")
    return int(value)


def check_choice(name, value, choices):
    """Return `value` if it is one of `choices`, else raise `ValueError`."""
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be {expected}, received: {value!r}")
    return value


def check_range(name, value, low, high):
    """Return `value` as two floats `low <= a <= b <= high` with `a > low`, else raise."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers, received: {value!r}") from None
    first = check_number(f"{name}[0]", first, low, high, open_low=True)
    second = check_number(f"{name}[1]", second, low, high, open_low=True)
    if first > second:
        raise ValueError(f"{name} must be in rising order, received: {value!r}")
    return first, second


def check_fill(name, value):
    """Return a fill: a number in `[0, 255]` as a float, `"mean"` or `"noise"`."""
    if isinstance(value, str):
        if value in ("mean", "noise"):
            return value
        raise ValueError(f"{name} must be a number, 'mean' or 'noise', received: {value!r}")
    return check_number(name, value, 0, 255)
