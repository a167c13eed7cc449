"""Checks of arguments that the operations share; each failure is one line."""

import math
import numbers

import tensorflow as tf

IMAGE_DTYPES = (tf.uint8, tf.float16, tf.bfloat16, tf.float32)


def check_images(images, value_range=None):
    """Return `images` as a tensor, or raise if it is no batch of images.

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`.
        value_range: Lowest and highest value stated for float images; with `(0, 255)` images that
            hold values and none of them above 1 are refused, where they can be looked at: in eager
            code.

    Raises:
        ValueError: If the rank is not 4 (or unknown), or float images are not in the range stated.
        TypeError: If the dtype is another, or the images are ragged.
    """
    if isinstance(images, (tf.RaggedTensor, tf.SparseTensor)):
        raise TypeError(
            f"images must be one size: resize or crop them before they are batched, received: "
            f"{type(images).__name__}"
        )
    images = tf.convert_to_tensor(images)
    check_kind(images)
    if value_range is not None and tf.executing_eagerly() and images.dtype != tf.uint8:
        _check_values(images, value_range)
    return images


def check_kind(images):
    """Raise if a tensor, or the spec of one, has not the dtype and rank of a batch of images."""
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


def _check_values(images, value_range):
    """Raise `ValueError` if float images are clearly not in the range stated; looks at them."""
    if tf.size(images) == 0:
        return
    low, high = (
        float(tf.cast(edge(images), tf.float32)) for edge in (tf.reduce_min, tf.reduce_max)
    )
    if tuple(value_range) == (0.0, 255.0) and 0 < high <= 1 and low >= 0:
        raise ValueError(
            f"images must be in [0, 255], received values from {low:g} to {high:g}: if they are in "
            "[0, 1], say value_range=(0, 1)"
        )
    slack = 1e-2 * (value_range[1] - value_range[0])
    if not (low >= value_range[0] - slack and high <= value_range[1] + slack):
        raise ValueError(
            f"images must be in [{value_range[0]:g}, {value_range[1]:g}], received values from "
            f"{low:g} to {high:g}"
        )


def check_value_range(value):
    """Return a value range as two floats in rising order, else raise `ValueError`."""
    try:
        low, high = (check_number("value_range", edge, -math.inf, math.inf) for edge in value)
    except (TypeError, ValueError):
        low = high = 0.0
    if low >= high:
        raise ValueError(f"value_range must be two rising numbers, received: {value!r}")
    return low, high


def image_sizes(images):
    """Return batch, height, width, channels: Python integers where known, else int32 scalars.

    Of one image the last three.
    """
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


def check_integer(name, value, low, high=math.inf):
    """Return `value` as an int if it is a whole number in `[low, high]`, else raise."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        expected = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {expected}, received: {value!r}")
    return int(value)


def plain(value):
    """Return an argument as it can be compared and kept: no arrays, and tuples for lists."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(plain, value)) if isinstance(value, (list, tuple)) else value


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


def check_factor(name, value):
    """Return a range of multipliers: `f` means `(max(0, 1 - f), 1 + f)`; else two numbers."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = check_number(name, value, 0, math.inf)
        return max(0.0, 1.0 - value), 1.0 + value
    return check_interval(name, value, 0, math.inf)


def check_interval(name, value, low, high):
    """Return `value` as two floats `low <= a <= b <= high`, else raise `ValueError`."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or two numbers, received: {value!r}") from None
    first = check_number(f"{name}[0]", first, low, high)
    second = check_number(f"{name}[1]", second, low, high)
    if first > second:
        raise ValueError(f"{name} must be in rising order, received: {value!r}")
    return first, second


def check_symmetric(name, value, high=math.inf):
    """Return a range around 0: `v` means `(-v, v)`; else two numbers of size at most `high`."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = check_number(name, value, 0, high)
        return -value, value
    return check_interval(name, value, -high, high)


def check_spread(name, value, check, *limits):
    """Return two numbers in rising order, else raise `ValueError`; one number stands for both.

    Args:
        name: Name of the argument, for the message.
        value: What the caller gave.
        check: Function `(name, number, *limits)` that returns the number or raises, such as
            `check_number`.
        *limits: For `check`.
    """
    if not isinstance(value, (tuple, list)):
        value = check(name, value, *limits)
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name} must be a number or two numbers, received: {value!r}")
    first, second = (check(f"{name}[{at}]", end, *limits) for at, end in enumerate(value))
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
