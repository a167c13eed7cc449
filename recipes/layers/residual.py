"""Residual blocks: basic and bottleneck, in the versions that are in use."""

import keras

from recipes.errors import ConfigError
from recipes.layers import _checks as checks
from recipes.layers.convolutional_block import ConvolutionalBlock, chain
from recipes.layers.convolutional_block_attention import ConvolutionalBlockAttention
from recipes.layers.efficient_channel_attention import EfficientChannelAttention
from recipes.layers.squeeze_excite import SqueezeExcite
from recipes.layers.stochastic_depth import StochasticDepth

# name: class, end of the name of its layers
ATTENTIONS = {
    "squeeze_excite": (SqueezeExcite, "se"),
    "eca": (EfficientChannelAttention, "eca"),
    "cbam": (ConvolutionalBlockAttention, "cbam"),
}


class _Residual(ConvolutionalBlock):
    """What both kinds have in common: everything but the convolutions of the branch."""

    def __init__(
        self,
        filters,
        strides,
        version,
        shortcut,
        attention,
        attention_ratio,
        dropout,
        stochastic_depth,
        zero_init_residual,
        activated_inputs,
        **kwargs,
    ):
        super().__init__(**kwargs)
        checks.positive_integer("filters", filters)
        checks.positive_integer("strides", strides)
        checks.choice("version", version, ("v1", "v1.5", "v2"))
        checks.choice("shortcut", shortcut, ("A", "B", "D", None))
        checks.choice("attention", attention, (None, *ATTENTIONS))
        checks.positive_integer("attention_ratio", attention_ratio)
        checks.rate("dropout", dropout)
        checks.rate("stochastic_depth", stochastic_depth)
        checks.boolean("zero_init_residual", zero_init_residual)
        checks.boolean("activated_inputs", activated_inputs)
        if activated_inputs and version != "v2":
            raise ConfigError(
                f"activated_inputs is for version 'v2', received it with version {version!r}"
            )
        self.filters = filters
        self.strides = strides
        self.version = version
        self.shortcut = shortcut
        self.attention = attention
        self.attention_ratio = attention_ratio
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth
        self.zero_init_residual = zero_init_residual
        self.activated_inputs = activated_inputs

    def _convolutions(self):
        """Return output channels, size and strides of the convolutions of the branch."""
        raise NotImplementedError

    def make(self, input_shape):
        """Make the layers."""
        channels = checks.feature_map(self, input_shape)
        convolutions = self._convolutions()
        outputs = convolutions[-1][0]
        if self.version == "v2":
            self.before = [] if self.activated_inputs else self._activated(1, channels)
            branch, self.after = self._branch_of_v2(convolutions), []
        else:
            self.before = []
            branch, self.after = self._branch_of_v1(convolutions), self.activate()
        self.branch = [*branch, *self._end_of_branch(outputs)]
        if self.shortcut is not None:
            self.reshapes = self.strides > 1 or channels != outputs
            self.side = self._side(channels, outputs) if self.reshapes else []
            self.add = self.sublayer(keras.layers.Add, "add")

    def _activated(self, place, channels):
        return [*self.normalization(place, channels), *self.activate(place)]

    def _branch_of_v1(self, convolutions):
        """Convolution, normalisation, activation; the last activation is after the addition."""
        layers = []
        for place, (filters, size, strides) in enumerate(convolutions, start=1):
            is_last = place == len(convolutions)
            zero = is_last and self.zero_init_residual
            layers += self._dropout() if is_last else []
            layers += self.convolution(
                place, filters, size, strides, zero=zero and self.norm == "none"
            )
            layers += self.normalization(place, filters, zero=zero)
            layers += [] if is_last else self.activate(place)
        return layers

    def _branch_of_v2(self, convolutions):
        """Normalisation, activation, convolution; the first two are in `before`."""
        layers = []
        for place, (filters, size, strides) in enumerate(convolutions, start=1):
            is_last = place == len(convolutions)
            zero = is_last and self.zero_init_residual
            layers += self._dropout() if is_last else []
            layers += self.convolution(place, filters, size, strides, zero=zero)
            layers += [] if is_last else self._activated(place + 1, filters)
        return layers

    def _dropout(self):
        if not self.dropout:
            return []
        return [self.sublayer(keras.layers.Dropout, "dropout", self.dropout)]

    def _end_of_branch(self, channels):
        layers = []
        if self.attention is not None:
            layer_class, suffix = ATTENTIONS[self.attention]
            has_ratio = self.attention != "eca"
            arguments = {"ratio": self.attention_ratio} if has_ratio else {}
            shape = (None, None, None, channels)
            layers.append(self.subblock(shape, layer_class, suffix, **arguments))
        if self.stochastic_depth:
            layers.append(self.sublayer(StochasticDepth, "drop", self.stochastic_depth))
        return layers

    def _side(self, channels, outputs):
        """Return the layers that stand in for the identity where the shape changes."""
        if self.shortcut == "A":
            return self._padded(channels, outputs)
        layers = []
        strides = self.strides
        if self.shortcut == "D" and strides > 1:
            layers.append(
                self.sublayer(
                    keras.layers.AveragePooling2D, "shortcut_pool", strides, padding="same"
                )
            )
            strides = 1
        layers += self.convolution("", outputs, 1, strides, prefix="shortcut_")
        # In v2 the inputs of the projection are normalised already.
        if self.version != "v2":
            layers += self.normalization("", outputs, prefix="shortcut_")
        return layers

    def _padded(self, channels, outputs):
        if outputs < channels:
            raise ConfigError(
                f"shortcut 'A' adds channels of zeros: {self.name} cannot lead from {channels} "
                f"channels to {outputs}"
            )
        layers = []
        if self.strides > 1:
            # Pooling over single pixels takes every second one.
            layers.append(
                self.sublayer(
                    keras.layers.AveragePooling2D, "shortcut_subsample", 1, strides=self.strides
                )
            )
        if outputs > channels:
            extra = outputs - channels
            # Told that the channels come first, the layer pads the last two axes: width, by
            # nothing, and the channels. So a stock layer does it, which every converter knows.
            layers.append(
                self.sublayer(
                    keras.layers.ZeroPadding2D,
                    "shortcut_pad",
                    ((0, 0), (extra // 2, extra - extra // 2)),
                    data_format="channels_first",
                )
            )
        return layers

    def connect(self, inputs, apply):
        """Return the sum of branch and shortcut, or the branch alone."""
        start = chain(self.before, inputs, apply)
        x = chain(self.branch, start, apply)
        if self.shortcut is not None:
            # In v2 a projection takes what the branch takes, the identity what came in.
            side = chain(self.side, start if self.reshapes else inputs, apply)
            x = apply(self.add, [x, side])
        return chain(self.after, x, apply)

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "version": self.version,
            "shortcut": self.shortcut,
            "attention": self.attention,
            "attention_ratio": self.attention_ratio,
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            "zero_init_residual": self.zero_init_residual,
            "activated_inputs": self.activated_inputs,
        }


@keras.saving.register_keras_serializable(package="keras_recipes")
class BasicResidual(_Residual):
    """`activation(shortcut(inputs) + branch(inputs))` with two 3x3 convolutions in the branch.

    The branch of v1 is convolution, normalisation, activation, convolution, normalisation, and
    the activation follows the addition. That of v2 is normalisation, activation, convolution,
    normalisation, activation, convolution, and nothing follows the addition, so that an identity
    leads through the whole network.

    Args:
        filters: Number of output channels of both convolutions.
        strides: Step in both directions, in the first convolution.
        version: "v1" (or "v1.5", which differs in bottlenecks alone) or "v2".
        shortcut: What stands in for the identity where the shape changes: "A", every `strides`-th
            pixel and channels of zeros, no parameters; "B", a 1x1 convolution; "D", an average
            pooling and a 1x1 convolution without strides, so that no pixel is left out. `None`
            for no shortcut at all: a block of the plain networks that residual ones are compared
            with.
        attention: What ends the branch: `None`, "squeeze_excite", "eca" or "cbam".
        attention_ratio: `ratio` of the attention; "eca" has none.
        dropout: Rate of dropout before the last convolution.
        stochastic_depth: Probability of dropping the branch in training; see `StochasticDepth`.
        zero_init_residual: Whether the branch starts at 0: by the `gamma` of its last
            normalisation, or by its last convolution where no normalisation ends it.
        activated_inputs: Whether the inputs are activated already, as behind a stem: then a v2
            block begins with its first convolution. For v2 alone.
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
        >>> layer = BasicResidual(32, strides=2, attention="squeeze_excite")
        >>> layer(keras.ops.ones((2, 8, 8, 16))).shape
        TensorShape([2, 4, 4, 32])

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016, figure 5 left; He et al.,
        "Identity Mappings in Deep Residual Networks", 2016, figure 4 (e), for v2; He et al., "Bag
        of Tricks", 2019, figure 2 (c), for shortcut D; Zagoruyko and Komodakis, "Wide Residual
        Networks", 2016, section 2.4, for `dropout`; Goyal et al., 2017, section 5.1, for
        `zero_init_residual`.
    """

    def __init__(
        self,
        filters,
        strides=1,
        version="v1",
        shortcut="B",
        attention=None,
        attention_ratio=16,
        dropout=0.0,
        stochastic_depth=0.0,
        zero_init_residual=False,
        activated_inputs=False,
        norm="batch",
        norm_groups=32,
        activation="relu",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(
            filters,
            strides,
            version,
            shortcut,
            attention,
            attention_ratio,
            dropout,
            stochastic_depth,
            zero_init_residual,
            activated_inputs,
            norm=norm,
            norm_groups=norm_groups,
            activation=activation,
            initialization=initialization,
            **kwargs,
        )

    def _convolutions(self):
        return [(self.filters, 3, self.strides), (self.filters, 3, 1)]


@keras.saving.register_keras_serializable(package="keras_recipes")
class BottleneckResidual(_Residual):
    """`activation(shortcut(inputs) + branch(inputs))` with 1x1, 3x3 and 1x1 convolutions.

    The last leads to `filters * expansion` channels. Normalisations and activations are placed as
    in `BasicResidual`.

    Args:
        filters: Number of channels of the first two convolutions, before `widening`.
        strides: Step in both directions, in the convolution that `version` says.
        expansion: Output channels for each of `filters`.
        widening: By how much the first two convolutions are wider than `filters`.
        version: "v1", which strides in the first convolution; "v1.5", in the 3x3, which sees every
            pixel; "v2", pre-activation, which strides in the 3x3, too.
        shortcut: See `BasicResidual`.
        attention: See `BasicResidual`.
        attention_ratio: See `BasicResidual`.
        dropout: See `BasicResidual`.
        stochastic_depth: See `BasicResidual`.
        zero_init_residual: See `BasicResidual`.
        activated_inputs: See `BasicResidual`.
        norm: See `ConvNormActivation`.
        norm_groups: See `ConvNormActivation`.
        activation: See `ConvNormActivation`.
        initialization: See `ConvNormActivation`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height / strides, width / strides, filters * expansion)`, sizes rounded
        up, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = BottleneckResidual(16, strides=2, version="v2")
        >>> layer(keras.ops.ones((2, 8, 8, 32))).shape
        TensorShape([2, 4, 4, 64])

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016, figure 5 right; for v1.5
        and `widening` torchvision's `resnet.py`; for the rest see `BasicResidual`.
    """

    def __init__(
        self,
        filters,
        strides=1,
        expansion=4,
        widening=1,
        version="v1.5",
        shortcut="B",
        attention=None,
        attention_ratio=16,
        dropout=0.0,
        stochastic_depth=0.0,
        zero_init_residual=False,
        activated_inputs=False,
        norm="batch",
        norm_groups=32,
        activation="relu",
        initialization="he_fan_out",
        **kwargs,
    ):
        super().__init__(
            filters,
            strides,
            version,
            shortcut,
            attention,
            attention_ratio,
            dropout,
            stochastic_depth,
            zero_init_residual,
            activated_inputs,
            norm=norm,
            norm_groups=norm_groups,
            activation=activation,
            initialization=initialization,
            **kwargs,
        )
        checks.positive_integer("expansion", expansion)
        checks.positive_integer("widening", widening)
        self.expansion = expansion
        self.widening = widening

    def _convolutions(self):
        first, middle = (self.strides, 1) if self.version == "v1" else (1, self.strides)
        inner, outputs = self.filters * self.widening, self.filters * self.expansion
        return [(inner, 1, first), (inner, 3, middle), (outputs, 1, 1)]

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "expansion": self.expansion,
            "widening": self.widening,
        }
