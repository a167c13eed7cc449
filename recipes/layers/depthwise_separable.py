"""Depthwise-separable convolution: one step over the pixels, one over the channels."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain


@keras.saving.register_keras_serializable(package="keras_recipes")
class DepthwiseSeparable(ConvolutionalBlock):
    """Depthwise convolution, then a 1x1 convolution, each normalised and activated.

    A depthwise convolution has one kernel a channel. For a kernel of k x k, both together cost
    about 1 / k^2 + 1 / filters of a full convolution.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the depthwise kernels, odd.
        strides: Step of the depthwise convolution in both directions.
        norm: See `ConvNormActivation`.
        norm_groups: See `ConvNormActivation`.
        activation: See `ConvNormActivation`.
        initialization: See `ConvNormActivation`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height / strides, width / strides, filters)`, sizes rounded up, in the
        layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = DepthwiseSeparable(64, strides=2)
        >>> layer(keras.ops.ones((2, 8, 8, 32))).shape
        TensorShape([2, 4, 4, 64])

    Source:
        Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", 2017, figure 3 right.
    """

    def __init__(
        self,
        filters,
        kernel_size=3,
        strides=1,
        norm="batch",
        norm_groups=32,
        activation="relu",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(norm, norm_groups, activation, initialization, **kwargs)
        checks.positive_integer("filters", filters)
        checks.odd_integer("kernel_size", kernel_size)
        checks.positive_integer("strides", strides)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides

    def make(self, input_shape):
        """Make the layers."""
        channels = checks.feature_map(self, input_shape)
        self.parts = [
            *self.depthwise(self.kernel_size, self.strides),
            *self.normalization("", channels, prefix="depthwise_"),
            *self.activate(prefix="depthwise_"),
            *self.unit("", self.filters, 1, prefix="pointwise_"),
        ]

    def connect(self, inputs, apply):
        """Return the outputs."""
        return chain(self.parts, inputs, apply)

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }
