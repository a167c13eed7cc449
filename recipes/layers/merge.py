"""Joining the branches of a network."""

import keras
from keras import ops

from recipes.errors import ConfigError
from recipes.layers import _checks as checks
from recipes.layers.block import Block

MODES = ("sum", "concat", "gated")


@keras.saving.register_keras_serializable(package="keras_recipes")
class Merge(Block):
    """Joins feature maps: their sum, their channels side by side, or their weighted sum.

    The gated sum is `sum_i(a_i * x_i)`. The weights `a_i` of the branches, one a channel, come
    from what all of them show: `a = softmax over i of (W_i relu(W mean(sum_i(x_i)) + b) + b_i)`,
    the mean over height and width and the softmax in float32.

    Args:
        mode: "sum", "concat" or "gated".
        ratio: For "gated": W leads to `channels // ratio` channels, or to `minimum` if that is
            more.
        minimum: For "gated": see `ratio`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: List of two or more feature maps `(batch, height, width, channels)`, floating
            point, of one size, and, but for "concat", of one number of channels.

    Returns:
        Tensor of the shape of each input, with all the channels together for "concat", in the
        layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong, or the feature maps do not fit.

    Example:
        >>> branches = [keras.ops.ones((2, 7, 7, 16)), keras.ops.zeros((2, 7, 7, 16))]
        >>> Merge("gated")(branches).shape, Merge("concat")(branches).shape
        (TensorShape([2, 7, 7, 16]), TensorShape([2, 7, 7, 32]))

    Source:
        Li et al., "Selective Kernel Networks", 2019, equations 1 to 6, without the batch
        normalisation in equation 3, which at one value a channel and image needs large batches.
    """

    def __init__(self, mode="sum", ratio=16, minimum=32, **kwargs):
        super().__init__(**kwargs)
        checks.choice("mode", mode, MODES)
        checks.positive_integer("ratio", ratio)
        checks.positive_integer("minimum", minimum)
        self.mode = mode
        self.ratio = ratio
        self.minimum = minimum

    def make(self, input_shape):
        """Make the layers."""
        channels = self._check(input_shape)
        if self.mode == "concat":
            self.join = self.sublayer(keras.layers.Concatenate, "concat")
            return
        self.join = self.sublayer(keras.layers.Add, "add")
        if self.mode == "sum":
            return
        reduced = max(channels // self.ratio, self.minimum)
        count = len(input_shape)
        self.weigh = [
            self.sublayer(
                keras.layers.GlobalAveragePooling2D, "pool", keepdims=True, dtype=self.exact_dtype
            ),
            self.sublayer(keras.layers.Conv2D, "reduce", reduced, 1),
            self.sublayer(keras.layers.ReLU, "relu"),
            self.sublayer(keras.layers.Conv2D, "expand", count * channels, 1),
        ]
        self.gate = self.sublayer(GatedSum, "gate")

    def _check(self, shapes):
        expected = f"{self.name} takes a list of two or more feature maps"
        if not isinstance(shapes[0], list | tuple) or len(shapes) < 2:
            raise ConfigError(f"{expected}, received the shape {shapes!r}")
        channels = {checks.feature_map(self, shape) for shape in shapes}
        # A side that is not known yet fits any other.
        sizes = [{shape[axis] for shape in shapes} - {None} for axis in (1, 2)]
        if any(len(side) > 1 for side in sizes):
            raise ConfigError(f"{expected} of one size, received the shapes {shapes!r}")
        if self.mode != "concat" and len(channels) > 1:
            raise ConfigError(
                f"{expected} with the same number of channels, received the shapes {shapes!r}"
            )
        return channels.pop()

    def connect(self, inputs, apply):
        """Return the joined feature map."""
        joined = apply(self.join, inputs)
        if self.mode != "gated":
            return joined
        for layer in self.weigh:
            joined = apply(layer, joined)
        return apply(self.gate, [joined, *inputs])

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "ratio": self.ratio,
            "minimum": self.minimum,
        }


@keras.saving.register_keras_serializable(package="keras_recipes")
class GatedSum(keras.layers.Layer):
    """The sum of feature maps, each weighted by a softmax over them; the last part of `Merge`.

    Args:
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: List of the logits `(batch, 1, 1, n * channels)`, all channels of the first
            feature map first, and the `n` feature maps `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of a feature map, in the layer's compute dtype.

    Example:
        >>> maps = [keras.ops.ones((1, 2, 2, 3)), keras.ops.zeros((1, 2, 2, 3))]
        >>> float(GatedSum()([keras.ops.zeros((1, 1, 1, 6)), *maps])[0, 0, 0, 0])
        0.5

    Source:
        Li et al., "Selective Kernel Networks", 2019, equations 5 and 6.
    """

    def call(self, inputs):
        """Return the weighted sum."""
        logits, *maps = inputs
        shape = (-1, len(maps), 1, 1, maps[0].shape[-1])
        weights = ops.softmax(ops.cast(ops.reshape(logits, shape), "float32"), axis=1)
        weights = ops.cast(weights, self.compute_dtype)
        return sum(weights[:, place] * values for place, values in enumerate(maps))

    def compute_output_shape(self, input_shape):
        """Return the shape of the feature maps."""
        return tuple(input_shape[1])

    def get_config(self):
        """Return every argument."""
        # Without a method of its own, a layer that was given a dtype policy cannot be saved.
        return super().get_config()
