"""CBAM: attention to channels, then to places."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.block import Block
from recipes.layers.channel_pooling import ChannelPooling


@keras.saving.register_keras_serializable(package="keras_recipes")
class ChannelAttention(Block):
    """`inputs * sigmoid(f(mean(inputs)) + f(max(inputs)))`, one factor a channel.

    Mean and maximum are over height and width, in float32. `f(x) = W2 relu(W1 x + b1) + b2` has
    the same matrices for both, 1x1 convolutions to few channels and back.

    Args:
        ratio: W1 leads to `channels // ratio` channels, at least 1.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If `ratio` is not a positive integer.

    Example:
        >>> ChannelAttention(ratio=4)(keras.ops.ones((2, 7, 7, 32))).shape
        TensorShape([2, 7, 7, 32])

    Source:
        Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 2. As in squeeze
        and excitation, the biases are in the authors' parameter counts, not in the equation.
    """

    def __init__(self, ratio=16, **kwargs):
        super().__init__(**kwargs)
        checks.positive_integer("ratio", ratio)
        self.ratio = ratio

    def make(self, input_shape):
        """Make the pools, the shared matrices, the gate and the product."""
        channels = checks.feature_map(self, input_shape)
        self.pools = [
            self.sublayer(layer_class, suffix, keepdims=True, dtype=self.exact_dtype)
            for layer_class, suffix in (
                (keras.layers.GlobalAveragePooling2D, "average"),
                (keras.layers.GlobalMaxPooling2D, "maximum"),
            )
        ]
        reduced = max(1, channels // self.ratio)
        self.reduce = self.sublayer(keras.layers.Conv2D, "reduce", reduced, 1)
        # Not one layer for both paths: a replayed or flat graph has each activation once.
        self.activations = [
            self.sublayer(keras.layers.ReLU, f"{suffix}_relu") for suffix in ("average", "maximum")
        ]
        self.expand = self.sublayer(keras.layers.Conv2D, "expand", channels, 1)
        self.add = self.sublayer(keras.layers.Add, "add")
        self.open = self.sublayer(keras.layers.Activation, "gate", "sigmoid")
        self.scale = self.sublayer(keras.layers.Multiply, "scale")

    def connect(self, inputs, apply):
        """Return the inputs times their factors."""
        paths = []
        for pool, activation in zip(self.pools, self.activations, strict=True):
            x = apply(self.reduce, apply(pool, inputs))
            paths.append(apply(self.expand, apply(activation, x)))
        x = apply(self.open, apply(self.add, paths))
        return apply(self.scale, [inputs, x])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "ratio": self.ratio}


@keras.saving.register_keras_serializable(package="keras_recipes")
class SpatialAttention(Block):
    """`inputs * sigmoid(convolution of [mean(inputs), max(inputs)])`, one factor a pixel.

    Mean and maximum are over the channels, the mean in float32.

    Args:
        kernel_size: Height and width of the convolution, odd.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If `kernel_size` is not a positive odd integer.

    Example:
        >>> layer = SpatialAttention()
        >>> layer(keras.ops.ones((2, 7, 7, 32))).shape, layer.count_params()
        (TensorShape([2, 7, 7, 32]), 98)

    Source:
        Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 3. The authors'
        code has a batch normalisation after the convolution, their equation has none; nor has
        this.
    """

    def __init__(self, kernel_size=7, **kwargs):
        super().__init__(**kwargs)
        checks.odd_integer("kernel_size", kernel_size)
        self.kernel_size = kernel_size

    def make(self, input_shape):
        """Make the pool, the convolution, the gate and the product."""
        checks.feature_map(self, input_shape)
        self.pool = self.sublayer(ChannelPooling, "pool")
        self.convolve = self.sublayer(
            keras.layers.Conv2D, "conv", 1, self.kernel_size, padding="same", use_bias=False
        )
        self.open = self.sublayer(keras.layers.Activation, "gate", "sigmoid")
        self.scale = self.sublayer(keras.layers.Multiply, "scale")

    def connect(self, inputs, apply):
        """Return the inputs times their factors."""
        x = apply(self.open, apply(self.convolve, apply(self.pool, inputs)))
        return apply(self.scale, [inputs, x])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="keras_recipes")
class ConvolutionalBlockAttention(Block):
    """Channel attention, then spatial attention (CBAM).

    Stands at the end of a residual branch, before the addition.

    Args:
        ratio: See `ChannelAttention`.
        kernel_size: See `SpatialAttention`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> ConvolutionalBlockAttention(ratio=4)(keras.ops.ones((2, 7, 7, 32))).shape
        TensorShape([2, 7, 7, 32])

    Source:
        Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 1.
    """

    def __init__(self, ratio=16, kernel_size=7, **kwargs):
        super().__init__(**kwargs)
        checks.positive_integer("ratio", ratio)
        checks.odd_integer("kernel_size", kernel_size)
        self.ratio = ratio
        self.kernel_size = kernel_size

    def make(self, input_shape):
        """Make the two attentions."""
        self.channel = self.subblock(input_shape, ChannelAttention, "channel", self.ratio)
        self.spatial = self.subblock(input_shape, SpatialAttention, "spatial", self.kernel_size)

    def connect(self, inputs, apply):
        """Return the inputs times the factors of both."""
        return apply(self.spatial, apply(self.channel, inputs))

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "ratio": self.ratio, "kernel_size": self.kernel_size}
