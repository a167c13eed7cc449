"""Generalised-mean pooling: between the average and the maximum."""

import keras
from keras import ops

from recipes.layers import _checks as checks


@keras.saving.register_keras_serializable(package="keras_recipes")
class GeneralizedMeanPooling(keras.layers.Layer):
    """`mean(max(inputs, epsilon) ** power) ** (1 / power)` over height and width, in float32.

    Power 1 is the average of positive inputs, and the larger the power, the nearer is the result
    to the maximum. The values are divided by their maximum before they are raised, and multiplied
    after, which changes nothing but that no power overflows.

    Args:
        power: Number above 0, at which it starts.
        learned: Whether the power is one trainable weight; otherwise it stays.
        epsilon: Number above 0, to which smaller inputs are raised.
        keepdims: Whether height and width stay, as 1.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Feature map, floating point, mostly positive, shape `(batch, height, width,
            channels)`.

    Returns:
        Tensor `(batch, channels)`, or `(batch, 1, 1, channels)` with `keepdims`, in the layer's
        compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> inputs = keras.ops.reshape(keras.ops.array([1.0, 7.0]), (1, 1, 2, 1))
        >>> GeneralizedMeanPooling(power=2.0)(inputs).numpy().round(3).tolist()  # sqrt(50 / 2)
        [[5.0]]

    Source:
        Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018,
        equation 3, with one power for all channels; `epsilon` as in the authors' code.
    """

    def __init__(self, power=3.0, learned=True, epsilon=1e-6, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        checks.finite_number("power", power, above=0)
        checks.boolean("learned", learned)
        checks.finite_number("epsilon", epsilon, above=0)
        checks.boolean("keepdims", keepdims)
        self.power = power
        self.learned = learned
        self.epsilon = epsilon
        self.keepdims = keepdims

    def build(self, input_shape):
        """Make the power."""
        checks.feature_map(self, input_shape)
        self.exponent = self.add_weight(
            name="power",
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(self.power),
            trainable=self.learned,
            autocast=False,
        )

    def call(self, inputs):
        """Return the pooled values."""
        values = ops.maximum(ops.cast(inputs, "float32"), self.epsilon)
        # The result does not depend on what it is scaled by, so no gradient need go through it.
        largest = ops.stop_gradient(ops.max(values, axis=(1, 2), keepdims=True))
        powers = ops.power(values / largest, self.exponent)
        mean = ops.mean(powers, axis=(1, 2), keepdims=True)
        pooled = largest * ops.power(mean, 1.0 / self.exponent)
        if not self.keepdims:
            pooled = ops.squeeze(pooled, axis=(1, 2))
        return ops.cast(pooled, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the shape without height and width, or with both as 1."""
        batch, *_, channels = input_shape
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "power": self.power,
            "learned": self.learned,
            "epsilon": self.epsilon,
            "keepdims": self.keepdims,
        }
