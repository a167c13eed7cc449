"""Squeeze-and-excitation: channels weighted by what the whole image shows."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.activations import ACTIVATIONS, activation_layer
from recipes.layers.block import Block


@keras.saving.register_keras_serializable(package="keras_recipes")
class SqueezeExcite(Block):
    """`inputs * gate(W2 activation(W1 mean(inputs) + b1) + b2)`, one factor a channel.

    The mean is over height and width, taken in float32. W1 leads to few channels, W2 back to all.
    Both are 1x1 convolutions, as which the matrices are saved by torchvision, too.

    Args:
        ratio: W1 leads to `channels // ratio` channels, at least 1. No effect with `reduced`.
        reduced: Number of these channels, or `None` to use `ratio`.
        activation: Name of the activation between the matrices; see `activation_layer`.
        gate: Name of the last activation: "sigmoid" or "hard_sigmoid".
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = SqueezeExcite(ratio=4)
        >>> layer(keras.ops.ones((2, 7, 7, 32))).shape
        TensorShape([2, 7, 7, 32])
        >>> layer.count_params()  # 32 * 8 + 8 and 8 * 32 + 32
        552

    Source:
        Hu et al., "Squeeze-and-Excitation Networks", 2018, equations 2 to 4. The paper's equation
        has no biases; its parameter counts, and all well-known code, have them.
    """

    def __init__(self, ratio=16, reduced=None, activation="relu", gate="sigmoid", **kwargs):
        super().__init__(**kwargs)
        checks.positive_integer("ratio", ratio)
        if reduced is not None:
            checks.positive_integer("reduced", reduced)
        checks.choice("activation", activation, ACTIVATIONS)
        checks.choice("gate", gate, ("sigmoid", "hard_sigmoid"))
        self.ratio = ratio
        self.reduced = reduced
        self.activation = activation
        self.gate = gate

    def make(self, input_shape):
        """Make the pool, the two matrices, their activations and the product."""
        channels = checks.feature_map(self, input_shape)
        reduced = self.reduced or max(1, channels // self.ratio)
        self.pool = self.sublayer(
            keras.layers.GlobalAveragePooling2D, "pool", keepdims=True, dtype=self.exact_dtype
        )
        self.reduce = self.sublayer(keras.layers.Conv2D, "reduce", reduced, 1)
        self.activate = self.sublayer(activation_layer, "activation", self.activation)
        self.expand = self.sublayer(keras.layers.Conv2D, "expand", channels, 1)
        self.open = self.sublayer(activation_layer, "gate", self.gate)
        self.scale = self.sublayer(keras.layers.Multiply, "scale")

    def connect(self, inputs, apply):
        """Return the inputs times their factors."""
        x = apply(self.pool, inputs)
        for layer in (self.reduce, self.activate, self.expand, self.open):
            x = apply(layer, x)
        return apply(self.scale, [inputs, x])

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "reduced": self.reduced,
            "activation": self.activation,
            "gate": self.gate,
        }
