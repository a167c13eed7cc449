"""Checks of arguments that several callbacks share."""

import operator


def whole(name: str, value, least: int) -> int:
    """Return a whole number, of NumPy or TensorFlow too, as a plain integer.

    Args:
        name: Of the argument, for the message.
        value: What was given.
        least: Lowest allowed value.

    Raises:
        ValueError: If it is none, or too low. A truth value is none.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, received: {value!r}")
    return number
