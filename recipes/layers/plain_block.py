"""Convolutions one after the other, without a shortcut."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain


@keras.saving.register_keras_serializable(package="keras_recipes")
class PlainBlock(ConvolutionalBlock):
    """`convolutions` times convolution, normalisation and activation, then pooling if asked.

    The block of the VGG networks (`pool=True`), and, with two convolutions and strides, that of
    the plain networks that residual networks are compared with.

    Args:
        filters: Number of output channels of each convolution.
        convolutions: How many there are.
        kernel_size: Height and width of the kernels, odd.
        strides: Step of the first convolution in both directions.
        pool: Whether a 2x2 max pooling with stride 2 ends the block.
        norm: See `ConvNormActivation`.
        norm_groups: See `ConvNormActivation`.
        activation: See `ConvNormActivation`.
        initialization: See `ConvNormActivation`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Feature map of `filters` channels, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = PlainBlock(64, convolutions=2, pool=True)
        >>> layer(keras.ops.ones((2, 8, 8, 3))).shape
        TensorShape([2, 4, 4, 64])

    Source:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", 2015, table 1; He et al., "Deep Residual Learning for Image Recognition",
        2016, section 3.3.
    """

    def __init__(
        self,
        filters,
        convolutions=2,
        kernel_size=3,
        strides=1,
        pool=False,
        norm="batch",
        norm_groups=32,
        activation="relu",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(norm, norm_groups, activation, initialization, **kwargs)
        checks.positive_integer("filters", filters)
        checks.positive_integer("convolutions", convolutions)
        checks.odd_integer("kernel_size", kernel_size)
        checks.positive_integer("strides", strides)
        checks.boolean("pool", pool)
        self.filters = filters
        self.convolutions = convolutions
        self.kernel_size = kernel_size
        self.strides = strides
        self.pool = pool

    def make(self, input_shape):
        """Make the layers."""
        checks.feature_map(self, input_shape)
        parts = []
        for place in range(1, self.convolutions + 1):
            strides = self.strides if place == 1 else 1
            parts += self.unit(place, self.filters, self.kernel_size, strides)
        if self.pool:
            parts.append(self.sublayer(keras.layers.MaxPooling2D, "pool", 2, strides=2))
        self.parts = parts

    def connect(self, inputs, apply):
        """Return the outputs."""
        return chain(self.parts, inputs, apply)

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "convolutions": self.convolutions,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "pool": self.pool,
        }
