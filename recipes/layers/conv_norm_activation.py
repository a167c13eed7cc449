"""Convolution, normalisation, activation: the unit that most networks are made of."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain


@keras.saving.register_keras_serializable(package="keras_recipes")
class ConvNormActivation(ConvolutionalBlock):
    """`activation(norm(convolution(inputs)))`, padded evenly on all sides.

    The convolution has a bias only without a normalisation, which would subtract it again.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the kernel, odd.
        strides: Step in both directions.
        norm: "batch" (fused), "layer", "instance", "group", "channel" or "none"; see
            `normalization_layer`.
        norm_groups: Number of groups for `norm="group"`; must divide `filters`.
        activation: "relu", "leaky_relu", "elu", "gelu", "silu", "relu6", "hard_swish", "sigmoid"
            or "hard_sigmoid", see `activation_layer`; `None` for none.
        initialization: "he", "he_fan_in", "he_fan_out", "xavier", "lecun", "truncated_normal",
            "orthogonal" or "zeros"; see `initializer`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height / strides, width / strides, filters)`, sizes rounded up, in the
        layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = ConvNormActivation(16, strides=2, norm="group", norm_groups=4)
        >>> layer(keras.ops.ones((2, 7, 7, 3))).shape
        TensorShape([2, 4, 4, 16])

    Source:
        Ioffe and Szegedy, "Batch Normalization", 2015, section 3.2, for the order and the bias;
        torchvision's `Conv2dNormActivation` for the padding.
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
        checks.feature_map(self, input_shape)
        self.parts = self.unit("", self.filters, self.kernel_size, self.strides)

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
