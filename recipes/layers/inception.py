"""Inception: several sizes of kernels side by side."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain


@keras.saving.register_keras_serializable(package="keras_recipes")
class Inception(ConvolutionalBlock):
    """The channels of four branches, one after the other.

    A 1x1 convolution; a 1x1 and a 3x3; a 1x1 and a 5x5; a 3x3 max pooling with stride 1 and a
    1x1. Each convolution is normalised and activated.

    Args:
        ones: Output channels of the branch of one 1x1 convolution.
        reduced_threes: Channels that the 1x1 before the 3x3 convolution leads to.
        threes: Output channels of the 3x3 convolution.
        reduced_fives: Channels that the 1x1 before the 5x5 convolution leads to.
        fives: Output channels of the 5x5 convolution.
        pooled: Output channels of the 1x1 convolution after the pooling.
        large_kernel: Height and width of the "5x5" kernel, odd. The weights of torchvision's
            GoogLeNet have 3.
        norm: See `ConvNormActivation`; "none" is the paper's.
        norm_groups: See `ConvNormActivation`; must divide the channels of each convolution.
        activation: See `ConvNormActivation`.
        initialization: See `ConvNormActivation`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height, width, ones + threes + fives + pooled)`, in the layer's compute
        dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = Inception(64, 96, 128, 16, 32, 32)  # 3a of GoogLeNet
        >>> layer(keras.ops.ones((2, 8, 8, 192))).shape
        TensorShape([2, 8, 8, 256])

    Source:
        Szegedy et al., "Going Deeper with Convolutions", 2015, figure 2 (b) and table 1, whose
        columns are the first six arguments; Ioffe and Szegedy, "Batch Normalization", 2015, for
        the normalisation.
    """

    def __init__(
        self,
        ones,
        reduced_threes,
        threes,
        reduced_fives,
        fives,
        pooled,
        large_kernel=5,
        norm="batch",
        norm_groups=32,
        activation="relu",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(norm, norm_groups, activation, initialization, **kwargs)
        self.ones = ones
        self.reduced_threes = reduced_threes
        self.threes = threes
        self.reduced_fives = reduced_fives
        self.fives = fives
        self.pooled = pooled
        for name, channels in self._widths().items():
            checks.positive_integer(name, channels)
        checks.odd_integer("large_kernel", large_kernel)
        self.large_kernel = large_kernel

    def _widths(self):
        return {
            "ones": self.ones,
            "reduced_threes": self.reduced_threes,
            "threes": self.threes,
            "reduced_fives": self.reduced_fives,
            "fives": self.fives,
            "pooled": self.pooled,
        }

    def make(self, input_shape):
        """Make the four branches and what joins them."""
        checks.feature_map(self, input_shape)
        pool = self.sublayer(
            keras.layers.MaxPooling2D, "branch4_pool", 3, strides=1, padding="same"
        )
        # Not a list of lists: Keras 3.12 saves no weights of what is inside such.
        self.branch1 = self.unit("", self.ones, 1, prefix="branch1_")
        self.branch2 = [
            *self.unit(1, self.reduced_threes, 1, prefix="branch2_"),
            *self.unit(2, self.threes, 3, prefix="branch2_"),
        ]
        self.branch3 = [
            *self.unit(1, self.reduced_fives, 1, prefix="branch3_"),
            *self.unit(2, self.fives, self.large_kernel, prefix="branch3_"),
        ]
        self.branch4 = [pool, *self.unit("", self.pooled, 1, prefix="branch4_")]
        self.join = self.sublayer(keras.layers.Concatenate, "concat")

    def connect(self, inputs, apply):
        """Return the outputs of the branches side by side."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return apply(self.join, [chain(branch, inputs, apply) for branch in branches])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), **self._widths(), "large_kernel": self.large_kernel}
