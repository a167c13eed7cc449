"""What part of the image one output sees: sizes, strides and receptive fields, layer by layer.

The arithmetic of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019. Along one axis of the image, output `i` of a layer sees the pixels

    start + i * stride  to  start + i * stride + size - 1

The image itself has `start` 0, `stride` 1, `size` 1. A window of `k` pixels with dilation `d`, step
`s` and `p` zeros in front of its input turns these into

    start - p * stride,    stride * s,    size + (k - 1) * d * stride

`receptive_field` answers for lists of layers, without Keras; `recipes.models.analyze` for models.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from recipes.errors import ConfigError


class Window(NamedTuple):
    """A layer as the receptive field knows it; a plain tuple of the same order serves as well.

    Attributes:
        name: Of the layer, for the table.
        kernel: Height and width of the window in pixels.
        stride: Step of the window.
        padding: Zeros on both sides; or a pair, those before and those after; or "valid" for none,
            or "same" as Keras and TensorFlow pad (which depends on the size of the input).
        dilation: Distance of two neighbours in the window.
    """

    name: str
    kernel: int = 1
    stride: int = 1
    padding: int | tuple[int, int] | str = 0
    dilation: int = 1


@dataclasses.dataclass(frozen=True)
class Field:
    """The receptive field of a feature map along one axis of the image.

    Attributes:
        size: Pixels that one output sees.
        stride: Pixels between the fields of two neighbouring outputs, as a fraction below 1 after
            upsampling.
        start: The first pixel that output 0 sees; below 0, in the padding.
        aligned: Whether branches that were joined on the way had equal strides and centres.
    """

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    aligned: bool = True

    @property
    def padding(self):
        """Effective padding: how far the field of output 0 reaches beyond the image."""
        return -self.start

    @property
    def center(self):
        """Where the field of output 0 has its centre, in pixels."""
        return self.start + (self.size - 1) / 2

    def through_window(self, kernel, stride=1, before=0, dilation=1):
        """Return the field behind a window with `before` zeros in front of its input."""
        return dataclasses.replace(
            self,
            size=self.size + (kernel - 1) * dilation * self.stride,
            stride=self.stride * stride,
            start=self.start - before * self.stride,
        )

    def shifted(self, count):
        """Return the field after `count` values were put in front (cut away, if below 0)."""
        return dataclasses.replace(self, start=self.start - count * self.stride)

    def upsampled(self, factor, neighbours, offset):
        """Return the field where each step is split in `factor` that see `neighbours` inputs.

        A transposed convolution is one, and so is an image made larger or smaller. Where outputs
        see different numbers of inputs, the size is the most that any of them sees.

        Args:
            factor: New positions for one old.
            neighbours: Inputs that one output sees.
            offset: Where output 0 has its centre, in steps of the input from input 0.
        """
        size = self.size + (neighbours - 1) * self.stride
        center = self.center + Fraction(offset) * self.stride
        return dataclasses.replace(
            self, size=size, stride=self.stride / Fraction(factor), start=center - (size - 1) / 2
        )


def join(fields: Sequence[Field]) -> Field:
    """Return the field of a sum, product or concatenation of feature maps: all that any sees.

    The fields of branches with one centre are nested, and the largest is the answer. Where
    branches disagree on centre or stride, the answer has `aligned` false; its size is that from
    the first to the last pixel that output 0 sees.

    Example:
        >>> join([Field(size=Fraction(5), start=Fraction(-2)), Field()]).size
        Fraction(5, 1)
    """
    start = min(field.start for field in fields)
    end = max(field.start + field.size for field in fields)
    agree = len({(field.stride, field.center) for field in fields}) == 1
    return Field(
        size=end - start,
        stride=max(field.stride for field in fields),
        start=start,
        aligned=agree and all(field.aligned for field in fields),
    )


def same_padding(size: int | None, kernel: int, stride: int = 1, dilation: int = 1):
    """Return the zeros that Keras' padding "same" puts before and after an axis.

    Args:
        size: Length of the axis; `None` is taken as a multiple of the stride.
        kernel: Length of the window.
        stride: Its step.
        dilation: Distance of neighbours in it.

    Example:
        >>> same_padding(224, 3, stride=2), same_padding(225, 3, stride=2)
        ((0, 1), (1, 1))
    """
    extent = (kernel - 1) * dilation + 1
    left_over = stride if size is None or size % stride == 0 else size % stride
    total = max(extent - left_over, 0)
    return total // 2, total - total // 2


class Row(NamedTuple):
    """What is known behind one layer of a list."""

    name: str
    output_size: int | None
    receptive_field: int
    stride: int
    padding: int


def receptive_field(
    layers: Iterable[Sequence], input_size: int | None = None
) -> tuple[list[Row], Field]:
    """Return the receptive field behind each layer of a chain, and behind the last.

    Args:
        layers: `Window`s, or tuples `(name, kernel, stride, padding, dilation)`, of which all
            after the kernel may be left out.
        input_size: Height or width of the image, for the output sizes; `None` if it is not known.

    Returns:
        One `Row` a layer (its name, output size or `None`, receptive field, stride, effective
        padding), and the `Field` behind the last.

    Raises:
        ConfigError: If a layer is not such a tuple, or its window is larger than its input.

    Example:
        >>> rows, field = receptive_field([("conv1", 3, 2, 1), ("conv2", 3)], input_size=32)
        >>> rows[1]
        Row(name='conv2', output_size=14, receptive_field=7, stride=2, padding=1)
        >>> int(field.size)
        7

    Source:
        Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
        Distill 2019.
    """
    if input_size is not None:
        _check_count("input_size", input_size, 1)
    size, field, rows = input_size, Field(), []
    for layer in layers:
        window = _window(layer)
        before, after = _padding(window, size)
        size = _output_size(window, size, before + after)
        field = field.through_window(window.kernel, window.stride, before, window.dilation)
        rows.append(Row(window.name, size, int(field.size), int(field.stride), int(field.padding)))
    return rows, field


def output_size(layers: Iterable[Sequence], input_size: int) -> int:
    """Return the height or width of the feature map behind a chain of layers.

    Args:
        layers: As for `receptive_field`.
        input_size: Height or width of the image.

    Raises:
        ConfigError: If a layer is not such a tuple, or its window is larger than its input.

    Example:
        >>> output_size([("conv", 7, 2, 3), ("pool", 3, 2, 1)], 224)
        56
    """
    rows, _ = receptive_field(layers, input_size)
    return rows[-1].output_size if rows else input_size


def _window(layer):
    if isinstance(layer, str) or not isinstance(layer, Sequence) or not 2 <= len(layer) <= 5:
        raise ConfigError(
            "a layer must be a tuple (name, kernel, stride, padding, dilation), "
            f"received: {layer!r}"
        )
    window = Window(*layer)
    for field in ("kernel", "stride", "dilation"):
        _check_count(f"{field} of {window.name!r}", getattr(window, field), 1)
    return window


def _check_count(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be an integer of at least {least}, received: {value!r}")


def _padding(window, size):
    if window.padding == "same":
        return same_padding(size, window.kernel, window.stride, window.dilation)
    if window.padding == "valid":
        return 0, 0
    pair = window.padding
    pair = tuple(pair) if isinstance(pair, (list, tuple)) else (pair, pair)
    if len(pair) != 2 or not all(isinstance(count, int) and count >= 0 for count in pair):
        raise ConfigError(
            f"padding of {window.name!r} must be a number, a pair of numbers, 'same' or 'valid', "
            f"received: {window.padding!r}"
        )
    return pair


def _output_size(window, size, padding):
    if size is None:
        return None
    extent = (window.kernel - 1) * window.dilation + 1
    if size + padding < extent:
        raise ConfigError(
            f"{window.name!r} has a window of {extent} pixels, its padded input only "
            f"{size + padding}"
        )
    if window.padding == "same":
        return math.ceil(size / window.stride)
    return (size + padding - extent) // window.stride + 1
