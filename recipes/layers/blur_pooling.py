"""Blur pooling: subsampling that does not alias."""

import math

import keras
import numpy as np
from keras import ops

from recipes.errors import ConfigError
from recipes.layers import _checks as checks

_PADDINGS = {"reflect": "reflect", "symmetric": "symmetric", "zeros": "constant"}


@keras.saving.register_keras_serializable(package="keras_recipes")
class BlurPooling(keras.layers.Layer):
    """Blurs by a binomial kernel, then takes every `strides`-th pixel.

    The kernel is the outer product of a row of Pascal's triangle with itself, over its sum: for
    size 3, [1, 2, 1] / 4. It has no weights. Each step of `strides` in a network moves its answer
    when the image moves by a pixel; blurred first, it moves less. Put it where the strides were: a
    max pooling becomes one of stride 1 and this, a convolution with strides one without and this.

    Args:
        kernel_size: Height and width of the kernel; 1 subsamples only, 2 averages pairs.
        strides: Step in both directions.
        padding: What is beyond the edges: "reflect", the image without its edge mirrored;
            "symmetric", mirrored with it; or "zeros".
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`; with
            "reflect", sides of more than `kernel_size // 2` pixels.

    Returns:
        Tensor `(batch, height / strides, width / strides, channels)`, sizes rounded up, in the
        layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong, or the feature map too small for the padding.

    Example:
        >>> row = keras.ops.reshape(keras.ops.array([0.0, 4.0, 0.0, 4.0]), (1, 1, 4, 1))
        >>> BlurPooling(3, padding="symmetric")(row)[0, 0, :, 0].numpy().tolist()
        [1.0, 2.0]

    Source:
        Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019, section 3.2; the
        padding is that of the author's code.
    """

    def __init__(self, kernel_size=3, strides=2, padding="reflect", **kwargs):
        super().__init__(**kwargs)
        checks.positive_integer("kernel_size", kernel_size)
        checks.positive_integer("strides", strides)
        checks.choice("padding", padding, tuple(_PADDINGS))
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding

    def build(self, input_shape):
        """Check that the feature map can be padded."""
        checks.feature_map(self, input_shape)
        mirrored = {"reflect": self.kernel_size // 2 + 1, "symmetric": self.kernel_size // 2}
        smallest = mirrored.get(self.padding, 1)
        if any(size is not None and size < smallest for size in input_shape[1:3]):
            raise ConfigError(
                f"{self.name} needs sides of at least {smallest} pixels to pad by "
                f"{self.padding!r}, received the shape {tuple(input_shape)}"
            )

    def call(self, inputs):
        """Return the smaller feature map."""
        before, after = (self.kernel_size - 1) // 2, self.kernel_size // 2
        margin = (before, after)
        padded = ops.pad(inputs, ((0, 0), margin, margin, (0, 0)), mode=_PADDINGS[self.padding])
        kernel = np.tile(_binomial(self.kernel_size)[..., None, None], (inputs.shape[-1], 1))
        return ops.depthwise_conv(
            padded, ops.convert_to_tensor(kernel, self.compute_dtype), self.strides, "valid"
        )

    def compute_output_shape(self, input_shape):
        """Return the shape with its sides divided by `strides`, rounded up."""
        batch, *sizes, channels = input_shape
        sizes = [None if size is None else -(-size // self.strides) for size in sizes]
        return (batch, *sizes, channels)

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


def _binomial(size):
    row = np.array([math.comb(size - 1, place) for place in range(size)], "float64")
    return np.outer(row, row) / row.sum() ** 2
