"""Inverted residual: wide inside, narrow where the shortcut runs."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain
from recipes.layers.squeeze_excite import SqueezeExcite
from recipes.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="keras_recipes")
class InvertedResidual(ConvolutionalBlock):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution to few.

    The first two are normalised and activated, the last is only normalised: in few channels an
    activation would lose too much. Where the shape stays, the inputs are added.

    Args:
        filters: Number of output channels.
        expansion: Channels inside for each that comes in; 1 leaves the first convolution out.
        kernel_size: Height and width of the depthwise kernels, odd.
        strides: Step of the depthwise convolution in both directions.
        squeeze_excite: Whether squeeze-and-excitation follows the depthwise convolution.
        squeeze_ratio: Its `ratio`, counted in channels inside. EfficientNet counts a quarter of
            the channels that come in, which is `4 * expansion`; MobileNetV3 a quarter of those
            inside.
        stochastic_depth: Probability of dropping the branch in training, where there is a
            shortcut; see `StochasticDepth`.
        zero_init_residual: Whether the branch starts at 0; without effect where there is no
            shortcut.
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
        >>> layer = InvertedResidual(24, expansion=6, strides=2)
        >>> layer(keras.ops.ones((2, 8, 8, 16))).shape
        TensorShape([2, 4, 4, 24])

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 1
        and figure 4 (d); Tan and Le, "EfficientNet", 2019, for squeeze-and-excitation in it.
    """

    def __init__(
        self,
        filters,
        expansion=6,
        kernel_size=3,
        strides=1,
        squeeze_excite=False,
        squeeze_ratio=4,
        stochastic_depth=0.0,
        zero_init_residual=False,
        norm="batch",
        norm_groups=32,
        activation="relu6",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(norm, norm_groups, activation, initialization, **kwargs)
        checks.positive_integer("filters", filters)
        checks.positive_integer("expansion", expansion)
        checks.odd_integer("kernel_size", kernel_size)
        checks.positive_integer("strides", strides)
        checks.boolean("squeeze_excite", squeeze_excite)
        checks.positive_integer("squeeze_ratio", squeeze_ratio)
        checks.rate("stochastic_depth", stochastic_depth)
        checks.boolean("zero_init_residual", zero_init_residual)
        self.filters = filters
        self.expansion = expansion
        self.kernel_size = kernel_size
        self.strides = strides
        self.squeeze_excite = squeeze_excite
        self.squeeze_ratio = squeeze_ratio
        self.stochastic_depth = stochastic_depth
        self.zero_init_residual = zero_init_residual

    def make(self, input_shape):
        """Make the layers."""
        channels = checks.feature_map(self, input_shape)
        inside = channels * self.expansion
        self.is_residual = self.strides == 1 and channels == self.filters
        expand = self.unit("", inside, 1, prefix="expand_") if self.expansion > 1 else []
        self.parts = [
            *expand,
            *self.depthwise(self.kernel_size, self.strides),
            *self.normalization("", inside, prefix="depthwise_"),
            *self.activate(prefix="depthwise_"),
            *self._squeeze(),
            *self._projection(),
            *self._drop(),
        ]
        if self.is_residual:
            self.add = self.sublayer(keras.layers.Add, "add")

    def _squeeze(self):
        if not self.squeeze_excite:
            return []
        activation = self.activation or "relu"
        return [self.sublayer(SqueezeExcite, "se", self.squeeze_ratio, activation=activation)]

    def _projection(self):
        zero = self.zero_init_residual and self.is_residual
        zero_kernel = zero and self.norm == "none"
        return [
            *self.convolution("", self.filters, 1, prefix="project_", zero=zero_kernel),
            *self.normalization("", self.filters, prefix="project_", zero=zero),
        ]

    def _drop(self):
        if not self.stochastic_depth or not self.is_residual:
            return []
        return [self.sublayer(StochasticDepth, "drop", self.stochastic_depth)]

    def connect(self, inputs, apply):
        """Return the outputs of the branch, plus the inputs where the shape stays."""
        outputs = chain(self.parts, inputs, apply)
        return apply(self.add, [outputs, inputs]) if self.is_residual else outputs

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "expansion": self.expansion,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "squeeze_excite": self.squeeze_excite,
            "squeeze_ratio": self.squeeze_ratio,
            "stochastic_depth": self.stochastic_depth,
            "zero_init_residual": self.zero_init_residual,
        }
