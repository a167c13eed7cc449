"""Checks of arguments."""

from typing import Any

from callbacks._arguments import whole
from recipes.errors import ConfigError


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number, of NumPy or TensorFlow too, as a plain integer.

    Raises:
        ConfigError: If `value` is none, or below `least`. A truth value is none.

    Example:
        >>> import numpy as np
        >>> whole_number("epochs", np.int64(3), 1)
        3
    """
    try:
        return whole(name, value, least)
    except ValueError as error:
        raise ConfigError(str(error)) from None
