"""Efficient channel attention: squeeze-and-excitation with a handful of parameters."""

import math

import keras

from recipes.layers import _checks as checks
from recipes.layers.block import Block


@keras.saving.register_keras_serializable(package="keras_recipes")
class EfficientChannelAttention(Block):
    """`inputs * sigmoid(convolution over the channels of mean(inputs))`, one factor a channel.

    The mean is over height and width, taken in float32. The convolution has one kernel of `k`
    numbers and no bias, `k` being the odd number for `log2(channels) / gamma + beta / gamma`: cut
    to an integer, and one more if that is even.

    Args:
        gamma: Positive number: the larger, the fewer neighbours a channel looks at.
        beta: Number: the larger, the more neighbours.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = EfficientChannelAttention()
        >>> layer(keras.ops.ones((2, 7, 7, 256))).shape
        TensorShape([2, 7, 7, 256])
        >>> layer.count_params()  # log2(256) / 2 + 1 / 2 = 4.5, so k = 5
        5

    Source:
        Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural
        Networks", 2020, equations 9 and 12.
    """

    def __init__(self, gamma=2, beta=1, **kwargs):
        super().__init__(**kwargs)
        checks.finite_number("gamma", gamma, above=0)
        checks.finite_number("beta", beta)
        self.gamma = gamma
        self.beta = beta

    def make(self, input_shape):
        """Make the pool, the convolution, the gate and the product."""
        channels = checks.feature_map(self, input_shape)
        size = int(abs((math.log2(channels) + self.beta) / self.gamma))
        size += size % 2 == 0
        self.pool = self.sublayer(
            keras.layers.GlobalAveragePooling2D, "pool", dtype=self.exact_dtype
        )
        self.line = self.sublayer(keras.layers.Reshape, "line", (channels, 1))
        self.convolve = self.sublayer(
            keras.layers.Conv1D, "conv", 1, size, padding="same", use_bias=False
        )
        self.open = self.sublayer(keras.layers.Activation, "gate", "sigmoid")
        self.column = self.sublayer(keras.layers.Reshape, "column", (1, 1, channels))
        self.scale = self.sublayer(keras.layers.Multiply, "scale")

    def connect(self, inputs, apply):
        """Return the inputs times their factors."""
        x = inputs
        for layer in (self.pool, self.line, self.convolve, self.open, self.column):
            x = apply(layer, x)
        return apply(self.scale, [inputs, x])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "gamma": self.gamma, "beta": self.beta}
