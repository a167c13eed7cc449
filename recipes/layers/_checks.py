"""Checks of the arguments of layers; each raises `ConfigError` with one clear line."""

import math

from recipes.errors import ConfigError, nearest


def positive_integer(name, value):
    """Raise unless `value` is an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a positive integer, received: {value!r}")


def odd_integer(name, value):
    """Raise unless `value` is an odd integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value % 2 == 0:
        raise ConfigError(f"{name} must be a positive odd integer, received: {value!r}")


def finite_number(name, value, *, above=-math.inf):
    """Raise unless `value` is a finite number, and above `above`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= above:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ConfigError(f"{name} must be a finite number{bound}, received: {value!r}")


def rate(name, value):
    """Raise unless `value` is a probability in `[0, 1)`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"{name} must be in [0, 1), received: {value!r}")


def boolean(name, value):
    """Raise unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, received: {value!r}")


def choice(name, value, known):
    """Raise unless `value` is one of `known`; the message names the nearest."""
    if value not in known:
        hint = nearest(value, [str(option) for option in known]) if isinstance(value, str) else ""
        options = ", ".join(repr(option) for option in known)
        raise ConfigError(f"{name} must be one of {options}, received: {value!r}{hint}")


def feature_map(layer, input_shape):
    """Return the number of channels of a feature map, or raise if it is none.

    Args:
        layer: The layer it is for.
        input_shape: Must be `(batch, height, width, channels)` with known channels.
    """
    if len(input_shape) != 4 or input_shape[-1] is None:
        raise ConfigError(
            f"{layer.name} takes feature maps (batch, height, width, channels) with a known number "
            f"of channels, received the shape {tuple(input_shape)}"
        )
    return input_shape[-1]
