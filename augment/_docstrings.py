"""What the docstrings of all operations say about the arguments they share."""

import inspect
import itertools

_SHARED_BEFORE = """\
images: uint8, or float16, bfloat16 or float32 in `value_range`, shape
    `(batch, height, width, channels)`.
seed: Two integers; the same seed gives the same result."""
_SHARED_PROBABILITY = "probability: Chance in `[0, 1]` that an image is changed at all."
_SHARED_RANGE = "value_range: Lowest and highest value of float images; uint8 ones are 0 to 255."
_SHARED_AFTER = """\
Returns:
    Images of the same {shape}, in the same range.

Raises:
    ValueError: If an argument is out of shape or range.
    TypeError: If the dtype of `images` is another."""


def whole_docstring(make, adds_probability):
    """Return the docstring with the shared arguments, what is returned and raised."""
    lines = inspect.cleandoc(make.__doc__).splitlines()
    if "Args:" not in lines:
        start = next((at for at, line in enumerate(lines) if line in ("Example:", "Source:")), None)
        start = len(lines) if start is None else start
        lines[start:start] = ["Args:", ""]
    head = lines.index("Args:")
    tail = next(at for at in itertools.count(head + 1) if at == len(lines) or not lines[at])
    shared = [_SHARED_PROBABILITY] if adds_probability else []
    own = [
        *_indented(_SHARED_BEFORE),
        *lines[head + 1 : tail],
        *_indented("\n".join([*shared, _SHARED_RANGE])),
    ]
    resizes = {"size", "interpolation"} <= set(inspect.signature(make).parameters)
    shape = "dtype and of the size asked for" if resizes else "shape and dtype"
    after = _SHARED_AFTER.format(shape=shape).splitlines()
    return "\n".join([*lines[: head + 1], *own, "", *after, *lines[tail:]])


def _indented(text):
    return [f"    {line}" for line in text.splitlines()]
