"""Self-attention over the pixels of a feature map."""

import keras
from keras import ops

from recipes.layers import _checks as checks
from recipes.layers.block import Block
from recipes.layers.fused_batch_normalization import FusedBatchNormalization


@keras.saving.register_keras_serializable(package="keras_recipes")
class NonLocal(Block):
    """`x_i + norm(W y_i)`, `y_i = sum_j softmax_j(theta(x_i) . phi(x_j)) g(x_j)`.

    Each pixel i looks at all pixels j, however far. Theta, phi, g and W are 1x1 convolutions; the
    products and the softmax are computed in float32. The scale of the normalisation starts at 0,
    so that the block starts as the identity and can be put into a trained network. Time and memory
    grow with the square of the number of pixels: put it behind the strides.

    Args:
        ratio: Theta, phi and g lead to `channels // ratio` channels, at least 1.
        subsample: Whether phi and g are max-pooled over 2x2 pixels, which makes it four times as
            cheap and hardly changes what each pixel sees.
        scaled: Whether the products are divided by the root of their channels, as in transformers.
        zero_init_residual: Whether the block starts as the identity.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, shape `(batch, height, width, channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> layer = NonLocal()
        >>> layer(keras.ops.ones((2, 7, 7, 32))).shape
        TensorShape([2, 7, 7, 32])

    Source:
        Wang et al., "Non-local Neural Networks", 2018, equations 1, 4 and 6 and figure 2
        (embedded Gaussian), section 4.1 for the normalisation; Vaswani et al., "Attention Is All
        You Need", 2017, equation 1, for `scaled`.
    """

    def __init__(self, ratio=2, subsample=False, scaled=False, zero_init_residual=True, **kwargs):
        super().__init__(**kwargs)
        checks.positive_integer("ratio", ratio)
        checks.boolean("subsample", subsample)
        checks.boolean("scaled", scaled)
        checks.boolean("zero_init_residual", zero_init_residual)
        self.ratio = ratio
        self.subsample = subsample
        self.scaled = scaled
        self.zero_init_residual = zero_init_residual

    def make(self, input_shape):
        """Make the convolutions, the attention, the normalisation and the addition."""
        channels = checks.feature_map(self, input_shape)
        inside = max(1, channels // self.ratio)
        self.query = [self.sublayer(keras.layers.Conv2D, "theta", inside, 1)]
        self.key, self.value = (
            [self.sublayer(keras.layers.Conv2D, suffix, inside, 1), *self._pool(suffix)]
            for suffix in ("phi", "g")
        )
        self.attend = self.sublayer(PixelAttention, "attention", scaled=self.scaled)
        self.back = self.sublayer(keras.layers.Conv2D, "conv", channels, 1, use_bias=False)
        self.normalize = self.sublayer(
            FusedBatchNormalization,
            "bn",
            momentum=0.9,
            epsilon=1e-5,
            gamma_initializer="zeros" if self.zero_init_residual else "ones",
        )
        self.add = self.sublayer(keras.layers.Add, "add")

    def _pool(self, suffix):
        if not self.subsample:
            return []
        # A map of odd size, or of one pixel, keeps its last ones.
        return [self.sublayer(keras.layers.MaxPooling2D, f"{suffix}_pool", 2, padding="same")]

    def connect(self, inputs, apply):
        """Return the inputs plus what each pixel sees in the others."""
        seen = []
        for layers in (self.query, self.key, self.value):
            x = inputs
            for layer in layers:
                x = apply(layer, x)
            seen.append(x)
        x = apply(self.normalize, apply(self.back, apply(self.attend, seen)))
        return apply(self.add, [inputs, x])

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "subsample": self.subsample,
            "scaled": self.scaled,
            "zero_init_residual": self.zero_init_residual,
        }


@keras.saving.register_keras_serializable(package="keras_recipes")
class PixelAttention(keras.layers.Layer):
    """`sum_j softmax_j(query_i . key_j) value_j` over pixels j; the heart of `NonLocal`.

    The products and the softmax are float32 whatever the policy: float16 overflows at 65504.

    Args:
        scaled: Whether the products are divided by the root of the number of channels.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: List of query `(batch, height, width, d)`, key `(batch, h, w, d)` and value
            `(batch, h, w, c)`, floating point.

    Returns:
        Tensor `(batch, height, width, c)`, in the layer's compute dtype.

    Example:
        >>> maps = [keras.ops.ones((2, 4, 4, 8)) for _ in range(3)]
        >>> PixelAttention()(maps).shape
        TensorShape([2, 4, 4, 8])

    Source:
        Wang et al., "Non-local Neural Networks", 2018, equation 4.
    """

    def __init__(self, scaled=False, **kwargs):
        super().__init__(**kwargs)
        checks.boolean("scaled", scaled)
        self.scaled = scaled

    def call(self, inputs):
        """Return what each pixel sees."""
        query, key, value = inputs
        products = ops.matmul(
            ops.cast(_pixels(query), "float32"),
            ops.transpose(ops.cast(_pixels(key), "float32"), (0, 2, 1)),
        )
        if self.scaled:
            products = products / query.shape[-1] ** 0.5
        weights = ops.cast(ops.softmax(products, axis=-1), self.compute_dtype)
        height, width = ops.shape(query)[1:3]
        return ops.reshape(
            ops.matmul(weights, _pixels(value)), (-1, height, width, value.shape[-1])
        )

    def compute_output_shape(self, input_shape):
        """Return the size of the query with the channels of the value."""
        query, _, value = input_shape
        return (*query[:-1], value[-1])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "scaled": self.scaled}


def _pixels(inputs):
    """Return `(batch, height * width, channels)`."""
    batch, height, width, channels = ops.shape(inputs)
    if isinstance(height, int) and isinstance(width, int):
        return ops.reshape(inputs, (-1, height * width, channels))
    return ops.reshape(inputs, (batch, -1, channels))
